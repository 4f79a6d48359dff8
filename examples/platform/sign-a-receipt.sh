#!/usr/bin/env bash
# Creates a sign flow from sign-flow.json, shows the buyer's link, waits for the end, and fetches the file and the evidence.
#
#   SEALPOST_URL=http://127.0.0.1:8080 SEALPOST_KEY=sp_… examples/platform/sign-a-receipt.sh
#
# Needs curl and jq.
set -euo pipefail
request=$(dirname "$0")/sign-flow.json
: "${SEALPOST_URL:=http://127.0.0.1:8080}" "${SEALPOST_KEY:?an API key, printed by sealpost channel add}"

call() {
  curl --silent --show-error --fail-with-body --max-time 30 --header "authorization: Bearer $SEALPOST_KEY" "$@"
}

# The idempotency key makes it safe to send this again when the answer was lost: the receipt's number is ours, and unique.
flow=$(call --header 'content-type: application/json' --header "idempotency-key: $(jq -r .document.receipt.number "$request")" \
  --data "@$request" "$SEALPOST_URL/v1/sign-flows")
id=$(jq -r .sign_flow_id <<<"$flow")
echo "sign flow $id"
jq -r '.signers[] | select(.sign_url) | "\(.name) signs at \(.sign_url)"' <<<"$flow"

# In production the callback tells you; polling is for trying out.
for _ in $(seq 600); do
  flow=$(call "$SEALPOST_URL/v1/sign-flows/$id")
  case $(jq -r .sign_flow_status <<<"$flow") in 0 | 1) sleep 1 ;; *) break ;; esac
done
jq '{sign_flow_status, state, sign_end_time, sign_file_url, reason}' <<<"$flow"

call --output "$id.pdf" "$SEALPOST_URL/v1/sign-flows/$id/file"
call --output "$id.evidence.json" "$SEALPOST_URL/v1/sign-flows/$id/evidence"
echo "wrote $id.pdf and $id.evidence.json"
