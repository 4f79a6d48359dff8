-- One-time codes of signers, and how often something may happen. Rows end by themselves and are cleaned up.

CREATE TABLE codes (
    flow_id    TEXT NOT NULL,
    signer     INTEGER NOT NULL,
    digest     BLOB NOT NULL,                 -- of the digits, with a key that is not in the database
    expires_at INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,              -- no other code before this
    tries_left INTEGER NOT NULL,
    PRIMARY KEY (flow_id, signer)
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_by_end ON codes (expires_at);

-- One window each: it begins with the first count and ends by itself.
CREATE TABLE rates (
    key     BLOB NOT NULL PRIMARY KEY,        -- digest of what is counted
    ends_at INTEGER NOT NULL,
    count   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rates_by_end ON rates (ends_at);
