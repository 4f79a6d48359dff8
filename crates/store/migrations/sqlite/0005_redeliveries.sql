-- Redeliveries of many callbacks, a list that needs an index, and a row to try writing with. Times are UTC milliseconds.

-- What is redelivered and how far it has got.
CREATE TABLE redeliveries (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    channel_id  TEXT,        -- NULL: all channels
    since_at    INTEGER NOT NULL, -- what was given up from then on …
    until_at    INTEGER NOT NULL, -- … up to then
    after_at    INTEGER NOT NULL, -- the next step goes on behind this end time …
    after_id    INTEGER NOT NULL, -- … and this callback
    total       INTEGER NOT NULL, -- how many there were when it began
    redelivered INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    stepped_at  INTEGER NOT NULL,
    finished_at INTEGER           -- NULL: it goes on
) STRICT;
CREATE INDEX redeliveries_unfinished ON redeliveries (id) WHERE finished_at IS NULL;
CREATE INDEX redeliveries_of_channel ON redeliveries (channel_id, id);

-- A channel's waiting callbacks, newest first, without reading past those that it has acknowledged.
CREATE INDEX callbacks_waiting_of_channel ON callbacks (channel_lane, id) WHERE state = 0;

-- One row, written to see whether the database takes writes.
CREATE TABLE write_proof (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
