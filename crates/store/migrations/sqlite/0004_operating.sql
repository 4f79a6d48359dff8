-- Programs that operate this installation, who operators are at an OpenID provider, and work that goes on for a while.

-- Who a request comes from is a channel or an operator's key.
CREATE TABLE request_keys (
    caller_id      TEXT NOT NULL,
    key            TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    resource       TEXT NOT NULL,             -- the id of what the request made or changed
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (caller_id, key)
) STRICT, WITHOUT ROWID;
INSERT INTO request_keys (caller_id, key, request_digest, resource, created_at)
    SELECT channel_id, key, request_digest, resource, created_at FROM idempotency_keys;
DROP TABLE idempotency_keys;
ALTER TABLE request_keys RENAME TO idempotency_keys;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Who an operator is at the OpenID provider: its issuer, a line break, and the subject there. NULL: nobody yet.
ALTER TABLE operators ADD COLUMN subject TEXT;
CREATE UNIQUE INDEX operators_by_subject ON operators (subject);

CREATE TABLE operator_keys (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,                 -- what the key is for
    role       TEXT NOT NULL,                 -- viewer, operator, administrator
    hash       BLOB NOT NULL UNIQUE,          -- SHA-256 of the key
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER
) STRICT;

-- The last contract check of a channel's endpoint.
CREATE TABLE contract_checks (
    channel_id TEXT NOT NULL PRIMARY KEY REFERENCES channels (id),
    run        TEXT NOT NULL,                 -- tells a check from the one before
    started_at INTEGER NOT NULL,
    stepped_at INTEGER NOT NULL,              -- when something of it was last heard
    ended_at   INTEGER,
    report     TEXT NOT NULL                  -- JSON, as far as it has come
) STRICT, WITHOUT ROWID;
