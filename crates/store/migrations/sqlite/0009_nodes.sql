-- The processes that serve this database at the moment, each under a name made at its start.

CREATE TABLE nodes (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,                     -- host and address, for people
    documents  TEXT NOT NULL,                     -- which bucket or folder it keeps documents in
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL                    -- when it was last heard of
) STRICT, WITHOUT ROWID;
