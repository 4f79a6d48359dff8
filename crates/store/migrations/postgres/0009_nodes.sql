-- The processes that serve this database at the moment, each under a name made at its start.

CREATE TABLE nodes (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,                     -- host and address, for people
    documents  TEXT NOT NULL,                     -- which bucket or folder it keeps documents in
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL                    -- when it was last heard of
);
