-- Seals that are kept under a name: one channel's own, or for all channels.

CREATE TABLE seals (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    channel_id TEXT COLLATE "C" REFERENCES channels (id), -- NULL: every channel may use it
    name       TEXT COLLATE "C" NOT NULL,                 -- what it is listed under
    spec       TEXT NOT NULL,                             -- JSON of the server's own: the kind and what is on it
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX seals_by_name ON seals (COALESCE(channel_id, ''), name);
