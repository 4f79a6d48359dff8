-- Attempts and events by month. Nothing is copied: what is there becomes the first partition, as it is. The version before goes
-- on as if nothing had happened: it reads all partitions, and what it writes without flow_at lands in the first.
-- Every table has a default partition, so that a month whose partition is missing is slower and never an error.

-- A callback's id begins with its time (milliseconds << 22), so a month is a range of ids.
CREATE FUNCTION first_callback_of (month TIMESTAMP) RETURNS BIGINT LANGUAGE sql IMMUTABLE AS
    $$SELECT CAST(EXTRACT(EPOCH FROM month) AS BIGINT) * 1000 * 4194304$$;

ALTER TABLE attempts RENAME TO attempts_before;
ALTER TABLE attempts_before RENAME CONSTRAINT attempts_pkey TO attempts_before_pkey;
CREATE TABLE attempts (LIKE attempts_before INCLUDING DEFAULTS, PRIMARY KEY (callback_id, round, number))
    PARTITION BY RANGE (callback_id);
DO $$
DECLARE
    -- Behind this month and behind whatever is there, for a clock may have been wrong.
    next_month TIMESTAMP := date_trunc('month', greatest(now() AT TIME ZONE 'UTC',
        (SELECT to_timestamp((max(callback_id) / 4194304 / 1000)::float8) AT TIME ZONE 'UTC' FROM attempts_before))) + INTERVAL '1 month';
BEGIN
    EXECUTE format('ALTER TABLE attempts ATTACH PARTITION attempts_before FOR VALUES FROM (MINVALUE) TO (%s)',
        first_callback_of(next_month));
END$$;
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- A flow's events stay together, in the month in which the flow was made.
ALTER TABLE events RENAME TO events_before;
ALTER TABLE events_before DROP CONSTRAINT events_pkey;
ALTER TABLE events_before ADD COLUMN flow_at BIGINT NOT NULL DEFAULT 0; -- the flow's created_at; 0: written by the version before
DROP TRIGGER events_are_never_changed ON events_before;
DROP TRIGGER events_are_never_deleted ON events_before;
ALTER TABLE events_before ADD PRIMARY KEY (flow_id, seq, flow_at);
CREATE TABLE events (LIKE events_before INCLUDING DEFAULTS, PRIMARY KEY (flow_id, seq, flow_at),
    FOREIGN KEY (flow_id) REFERENCES flows (id)) PARTITION BY RANGE (flow_at);
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change ('events are append-only');
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change ('events are append-only');
ALTER TABLE events ATTACH PARTITION events_before FOR VALUES FROM (0) TO (1);
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- Makes the partition of a month for one of the tables, unless it is there or its range is taken. Attaching, unlike creating in
-- place, lets those who read and write the table go on.
CREATE FUNCTION make_partition (parent TEXT, month TIMESTAMP, from_key BIGINT, to_key BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    name TEXT := parent || to_char(month, '_YYYY_MM');
BEGIN
    IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', name, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, name, from_key, to_key);
    END IF;
EXCEPTION
    -- The range overlaps the first partition, or the default one holds rows of it: those places do as well.
    WHEN invalid_object_definition OR check_violation THEN NULL;
END$$;

-- Makes the partitions of this month and of the three after it.
CREATE FUNCTION make_partitions (at TIMESTAMP) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    month TIMESTAMP;
    next_month TIMESTAMP;
BEGIN
    FOR ahead IN 0..3 LOOP
        month := date_trunc('month', at) + make_interval(months => ahead);
        next_month := month + INTERVAL '1 month';
        PERFORM make_partition('attempts', month, first_callback_of(month), first_callback_of(next_month));
        PERFORM make_partition('events', month, CAST(EXTRACT(EPOCH FROM month) AS BIGINT) * 1000,
            CAST(EXTRACT(EPOCH FROM next_month) AS BIGINT) * 1000);
    END LOOP;
END$$;
SELECT make_partitions(CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP));

-- The one copy of another database that was begun here; without finished_at the database is not to be used.
CREATE TABLE copies (
    id          BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    source      TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT
);
