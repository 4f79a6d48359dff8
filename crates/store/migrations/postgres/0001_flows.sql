-- Channels, their keys, and the sign flows with their events. Times are UTC milliseconds.

CREATE TABLE channels (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL UNIQUE,
    callback_url TEXT,
    schedule     TEXT NOT NULL, -- three waits, as '3m,30m,8h'
    created_at   BIGINT NOT NULL,
    paused_at    BIGINT,        -- NULL: deliveries run
    pause_reason TEXT
);

-- Webhook secrets, encrypted by the server; the newest signs first, an older one also until it retires.
CREATE TABLE channel_secrets (
    channel_id TEXT COLLATE "C" NOT NULL REFERENCES channels (id),
    created_at BIGINT NOT NULL,
    retires_at BIGINT, -- NULL: not yet replaced
    ciphertext BYTEA NOT NULL,
    PRIMARY KEY (channel_id, created_at)
);

CREATE TABLE api_keys (
    hash       BYTEA NOT NULL PRIMARY KEY, -- SHA-256 of the key
    id         TEXT COLLATE "C" NOT NULL UNIQUE,
    channel_id TEXT COLLATE "C" NOT NULL REFERENCES channels (id),
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX api_keys_of_channel ON api_keys (channel_id, created_at);

CREATE TABLE flows (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    channel_id       TEXT COLLATE "C" NOT NULL REFERENCES channels (id),
    version          BIGINT NOT NULL, -- grows by one with each change
    status           TEXT NOT NULL,   -- draft, signing, sealing, completed, revoked, expired, rejected
    code             TEXT NOT NULL,   -- the contract's number for it: 0, 1, 2, 3, 5 or 7
    reference        TEXT COLLATE "C" NOT NULL,
    project          TEXT,
    room             TEXT,
    payer_masked     TEXT,
    callback_url     TEXT,            -- instead of the channel's
    created_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    next_sealing_at  BIGINT,          -- when to seal, or when a worker's claim ends; NULL: nothing to seal
    sealing_failures BIGINT NOT NULL,
    chain_head       BYTEA NOT NULL,
    details          TEXT,            -- JSON of the server's own
    body             TEXT NOT NULL    -- the flow as JSON; the columns above are its searchable part
);
CREATE INDEX flows_by_time ON flows (created_at, id);
CREATE INDEX flows_by_code ON flows (code, created_at, id);
CREATE INDEX flows_by_reference ON flows (reference, created_at, id);
CREATE INDEX flows_of_channel ON flows (channel_id, created_at, id);
CREATE INDEX flows_of_channel_by_code ON flows (channel_id, code, created_at, id);
CREATE INDEX flows_of_channel_by_reference ON flows (channel_id, reference, created_at, id);
CREATE INDEX flows_by_status ON flows (status);
CREATE INDEX flows_to_expire ON flows (expires_at, id) WHERE status = 'signing';
CREATE INDEX flows_to_seal ON flows (next_sealing_at, id, sealing_failures) WHERE next_sealing_at IS NOT NULL;

CREATE FUNCTION refuse_change () RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END$$;

-- Append-only: nothing updates or deletes a row.
CREATE TABLE events (
    flow_id TEXT COLLATE "C" NOT NULL REFERENCES flows (id),
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    body    TEXT NOT NULL,  -- canonical JSON, the very bytes that the chain covers
    chain   BYTEA NOT NULL, -- SHA-256(chain of seq - 1 || body)
    PRIMARY KEY (flow_id, seq)
);
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change ('events are append-only');
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change ('events are append-only');

-- What the tokens in links open; a token itself is never kept.
CREATE TABLE tokens (
    hash    BYTEA NOT NULL PRIMARY KEY, -- SHA-256 of the token
    flow_id TEXT COLLATE "C" NOT NULL REFERENCES flows (id),
    signer  BIGINT                      -- NULL: the link to the file
);

CREATE TABLE idempotency_keys (
    channel_id     TEXT COLLATE "C" NOT NULL REFERENCES channels (id),
    key            TEXT COLLATE "C" NOT NULL,
    request_digest BYTEA NOT NULL,
    resource       TEXT NOT NULL, -- the id of what the request made or changed
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (channel_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Private keys and the like, encrypted by the server, by name.
CREATE TABLE credentials (
    name       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    ciphertext BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
