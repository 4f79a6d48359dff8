-- Programs that operate this installation, who operators are at an OpenID provider, and work that goes on for a while.

-- Who a request comes from is a channel or an operator's key.
ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_channel_id_fkey;
ALTER TABLE idempotency_keys RENAME COLUMN channel_id TO caller_id;

-- Who an operator is at the OpenID provider: its issuer, a line break, and the subject there. NULL: nobody yet.
ALTER TABLE operators ADD COLUMN subject TEXT COLLATE "C";
CREATE UNIQUE INDEX operators_by_subject ON operators (subject);

CREATE TABLE operator_keys (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,         -- what the key is for
    role       TEXT NOT NULL,         -- viewer, operator, administrator
    hash       BYTEA NOT NULL UNIQUE, -- SHA-256 of the key
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at BIGINT
);

-- The last contract check of a channel's endpoint.
CREATE TABLE contract_checks (
    channel_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES channels (id),
    run        TEXT NOT NULL,         -- tells a check from the one before
    started_at BIGINT NOT NULL,
    stepped_at BIGINT NOT NULL,       -- when something of it was last heard
    ended_at   BIGINT,
    report     TEXT NOT NULL          -- JSON, as far as it has come
);
