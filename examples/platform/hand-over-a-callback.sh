#!/usr/bin/env bash
# For a platform that signs elsewhere: hands over the four members of a flow that has ended. Sealpost delivers them.
#
#   SEALPOST_KEY=sp_… examples/platform/hand-over-a-callback.sh \
#     '2021-03-22 18:24:29' 2 587a2f4738d44391835198df570b6ee6 https://files.example/r/1
#
# Needs curl and jq. Safe to run again: the same members of the same flow are answered as before.
set -euo pipefail
: "${SEALPOST_URL:=http://127.0.0.1:8080}" "${SEALPOST_KEY:?an API key, printed by sealpost channel add}"
ended=${1:?sign_end_time} status=${2:?sign_flow_status: 2, 3, 5 or 7} id=${3:?sign_flow_id} file=${4:?sign_file_url}

jq --null-input --arg ended "$ended" --arg status "$status" --arg id "$id" --arg file "$file" \
  '{sign_end_time: $ended, sign_flow_status: $status, sign_flow_id: $id, sign_file_url: $file}' |
  curl --silent --show-error --fail-with-body --max-time 30 --header "authorization: Bearer $SEALPOST_KEY" \
    --header 'content-type: application/json' --data @- "$SEALPOST_URL/v1/callbacks" | jq .
