-- How many flows there are of each status, without counting them. Each session adds to rows of its own, as far as 32 are enough,
-- so that nobody waits for whoever ends another flow.
CREATE TABLE flow_tallies (
    status TEXT NOT NULL,
    shard  BIGINT NOT NULL,
    flows  BIGINT NOT NULL, -- may be negative: of one status a session may have ended what another began
    PRIMARY KEY (status, shard)
) WITH (fillfactor = 50);

CREATE FUNCTION tally_new_flows () RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO flow_tallies (status, shard, flows)
        SELECT status, pg_backend_pid() % 32, count(*) FROM made GROUP BY status ORDER BY status
        ON CONFLICT (status, shard) DO UPDATE SET flows = flow_tallies.flows + excluded.flows;
    RETURN NULL;
END$$;
CREATE FUNCTION tally_changed_flows () RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In one order, so that of two sessions with the same rows one waits for the other and never each for each.
    INSERT INTO flow_tallies (status, shard, flows)
        SELECT status, pg_backend_pid() % 32, sum(n) FROM
            (SELECT status, 1 AS n FROM after UNION ALL SELECT status, -1 FROM before) AS changes
        GROUP BY status HAVING sum(n) <> 0 ORDER BY status
        ON CONFLICT (status, shard) DO UPDATE SET flows = flow_tallies.flows + excluded.flows;
    RETURN NULL;
END$$;
LOCK TABLE flows IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO flow_tallies (status, shard, flows) SELECT status, 0, count(*) FROM flows GROUP BY status;
CREATE TRIGGER flows_are_tallied AFTER INSERT ON flows REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION tally_new_flows ();
CREATE TRIGGER changed_flows_are_tallied AFTER UPDATE ON flows REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tally_changed_flows ();
