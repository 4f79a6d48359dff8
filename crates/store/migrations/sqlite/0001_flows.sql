-- Channels, their keys, and the sign flows with their events. Times are UTC milliseconds.

CREATE TABLE channels (
    id           TEXT NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    callback_url TEXT,
    schedule     TEXT NOT NULL,               -- three waits, as '3m,30m,8h'
    created_at   INTEGER NOT NULL,
    paused_at    INTEGER,                     -- NULL: deliveries run
    pause_reason TEXT
) STRICT;

-- Webhook secrets, encrypted by the server; the newest signs first, an older one also until it retires.
CREATE TABLE channel_secrets (
    channel_id TEXT NOT NULL REFERENCES channels (id),
    created_at INTEGER NOT NULL,
    retires_at INTEGER,                       -- NULL: not yet replaced
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (channel_id, created_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    hash       BLOB NOT NULL PRIMARY KEY,     -- SHA-256 of the key
    id         TEXT NOT NULL UNIQUE,
    channel_id TEXT NOT NULL REFERENCES channels (id),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_of_channel ON api_keys (channel_id, created_at);

CREATE TABLE flows (
    id               TEXT NOT NULL PRIMARY KEY,
    channel_id       TEXT NOT NULL REFERENCES channels (id),
    version          INTEGER NOT NULL,        -- grows by one with each change
    status           TEXT NOT NULL,           -- draft, signing, sealing, completed, revoked, expired, rejected
    code             TEXT NOT NULL,           -- the contract's number for it: 0, 1, 2, 3, 5 or 7
    reference        TEXT NOT NULL,
    project          TEXT,
    room             TEXT,
    payer_masked     TEXT,
    callback_url     TEXT,                    -- instead of the channel's
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    next_sealing_at  INTEGER,                 -- when to seal, or when a worker's claim ends; NULL: nothing to seal
    sealing_failures INTEGER NOT NULL,
    chain_head       BLOB NOT NULL,
    details          TEXT,                    -- JSON of the server's own
    body             TEXT NOT NULL            -- the flow as JSON; the columns above are its searchable part
) STRICT;
CREATE INDEX flows_by_time ON flows (created_at, id);
CREATE INDEX flows_by_code ON flows (code, created_at, id);
CREATE INDEX flows_by_reference ON flows (reference, created_at, id);
CREATE INDEX flows_of_channel ON flows (channel_id, created_at, id);
CREATE INDEX flows_of_channel_by_code ON flows (channel_id, code, created_at, id);
CREATE INDEX flows_of_channel_by_reference ON flows (channel_id, reference, created_at, id);
CREATE INDEX flows_by_status ON flows (status);
CREATE INDEX flows_to_expire ON flows (expires_at, id) WHERE status = 'signing';
CREATE INDEX flows_to_seal ON flows (next_sealing_at, id, sealing_failures) WHERE next_sealing_at IS NOT NULL;

-- Append-only: nothing updates or deletes a row.
CREATE TABLE events (
    flow_id TEXT NOT NULL REFERENCES flows (id),
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    body    TEXT NOT NULL,                    -- canonical JSON, the very bytes that the chain covers
    chain   BLOB NOT NULL,                    -- SHA-256(chain of seq - 1 || body)
    PRIMARY KEY (flow_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE (ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE (ABORT, 'events are append-only'); END;

-- What the tokens in links open; a token itself is never kept.
CREATE TABLE tokens (
    hash    BLOB NOT NULL PRIMARY KEY,        -- SHA-256 of the token
    flow_id TEXT NOT NULL REFERENCES flows (id),
    signer  INTEGER                           -- NULL: the link to the file
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    channel_id     TEXT NOT NULL REFERENCES channels (id),
    key            TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    resource       TEXT NOT NULL,             -- the id of what the request made or changed
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (channel_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Private keys and the like, encrypted by the server, by name.
CREATE TABLE credentials (
    name       TEXT NOT NULL PRIMARY KEY,
    ciphertext BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
