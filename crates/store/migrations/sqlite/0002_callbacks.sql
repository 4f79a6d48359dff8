-- Callbacks, the queue of what is still to be delivered, and every attempt. Times are UTC milliseconds.

-- A lane is what one endpoint's deliveries queue in. Rows are made as callbacks need them and stay.
CREATE TABLE lanes (
    id         INTEGER NOT NULL PRIMARY KEY,
    channel_id TEXT NOT NULL REFERENCES channels (id),
    origin     TEXT NOT NULL,                 -- '': the channel's callback_url; else scheme://host:port of an own address
    UNIQUE (channel_id, origin)
) STRICT;

CREATE TABLE callbacks (
    id           INTEGER NOT NULL PRIMARY KEY, -- milliseconds since 1970 << 22, and 22 bits that make it unique: ordered by time
    channel_lane INTEGER NOT NULL REFERENCES lanes (id), -- the channel, as its own lane (the one whose origin is '')
    lane_id      INTEGER NOT NULL REFERENCES lanes (id),
    sign_flow_id TEXT NOT NULL,
    url          TEXT,                         -- NULL: the channel's callback_url as it is at the attempt
    body         BLOB NOT NULL,                -- the bytes that every attempt sends
    state        INTEGER NOT NULL,             -- 0 waiting, 1 acknowledged, 2 failed
    round        INTEGER NOT NULL,             -- 1, and one more for each redelivery
    attempts     INTEGER NOT NULL,             -- attempts made in this round
    due_at       INTEGER NOT NULL,             -- waiting: when the next attempt is due; under a lease: when the lease ends
    holder       INTEGER,                      -- who holds the lease; NULL: nobody
    fence        INTEGER NOT NULL,             -- grows with every lease; an outcome counts only with the fence it was leased under
    ended_at     INTEGER                       -- when it was acknowledged or given up
) STRICT;
CREATE UNIQUE INDEX callbacks_of_flow ON callbacks (sign_flow_id, channel_lane);
CREATE INDEX callbacks_of_channel ON callbacks (channel_lane, id);
CREATE INDEX callbacks_due ON callbacks (lane_id, due_at, holder) WHERE state = 0;
CREATE INDEX callbacks_failed ON callbacks (ended_at, id) WHERE state = 2;
CREATE INDEX callbacks_failed_of_channel ON callbacks (channel_lane, id) WHERE state = 2;

CREATE TABLE attempts (
    callback_id INTEGER NOT NULL REFERENCES callbacks (id),
    round       INTEGER NOT NULL,
    number      INTEGER NOT NULL,              -- 1 to 4 within its round
    at          INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    http_status INTEGER,                       -- NULL: no answer's head came
    reason      TEXT,                          -- NULL: acknowledged; else the stable code of what it failed of
    detail      TEXT,                          -- beyond the reason, for a person
    answer      BLOB,                          -- the answer's first 4 KiB
    PRIMARY KEY (callback_id, round, number)
) STRICT, WITHOUT ROWID;
