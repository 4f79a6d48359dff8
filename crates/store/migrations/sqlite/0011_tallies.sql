-- How many flows there are of each status, without counting them.
CREATE TABLE flow_tallies (
    status TEXT NOT NULL PRIMARY KEY,
    flows  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO flow_tallies (status, flows) SELECT status, count(*) FROM flows GROUP BY status;
CREATE TRIGGER flows_are_tallied AFTER INSERT ON flows BEGIN
    INSERT INTO flow_tallies (status, flows) VALUES (NEW.status, 1) ON CONFLICT (status) DO UPDATE SET flows = flows + 1;
END;
CREATE TRIGGER changed_flows_are_tallied AFTER UPDATE OF status ON flows WHEN NEW.status <> OLD.status BEGIN
    UPDATE flow_tallies SET flows = flows - 1 WHERE status = OLD.status;
    INSERT INTO flow_tallies (status, flows) VALUES (NEW.status, 1) ON CONFLICT (status) DO UPDATE SET flows = flows + 1;
END;
