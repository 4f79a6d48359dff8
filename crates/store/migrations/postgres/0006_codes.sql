-- One-time codes of signers, and how often something may happen. Rows end by themselves and are cleaned up.

CREATE TABLE codes (
    flow_id    TEXT COLLATE "C" NOT NULL,
    signer     BIGINT NOT NULL,
    digest     BYTEA NOT NULL,  -- of the digits, with a key that is not in the database
    expires_at BIGINT NOT NULL,
    next_at    BIGINT NOT NULL, -- no other code before this
    tries_left BIGINT NOT NULL,
    PRIMARY KEY (flow_id, signer)
);
CREATE INDEX codes_by_end ON codes (expires_at);

-- One window each: it begins with the first count and ends by itself.
CREATE TABLE rates (
    key     BYTEA NOT NULL PRIMARY KEY, -- digest of what is counted
    ends_at BIGINT NOT NULL,
    count   BIGINT NOT NULL
);
CREATE INDEX rates_by_end ON rates (ends_at);
