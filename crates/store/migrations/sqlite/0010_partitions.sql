-- The one copy of another database that was begun here; without finished_at the database is not to be used.
-- (Over PostgreSQL this step also divides events and attempts by month.)
CREATE TABLE copies (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    source      TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
