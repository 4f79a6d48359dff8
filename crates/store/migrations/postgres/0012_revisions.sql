-- Grows with every change to channels, their secrets and keys, and credentials, so that whoever remembers them asks for one number.
-- It grows at the commit, after all other locks are taken: two changes wait for each other there and nowhere else.
CREATE TABLE revisions (
    subject  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO revisions (subject, revision) VALUES ('channels', 1);

CREATE FUNCTION revise_channels () RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels';
    RETURN NULL;
END$$;
CREATE CONSTRAINT TRIGGER channels_are_revised AFTER INSERT OR UPDATE OR DELETE ON channels
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION revise_channels ();
CREATE CONSTRAINT TRIGGER secrets_are_revised AFTER INSERT OR UPDATE OR DELETE ON channel_secrets
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION revise_channels ();
CREATE CONSTRAINT TRIGGER keys_are_revised AFTER INSERT OR UPDATE OR DELETE ON api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION revise_channels ();
CREATE CONSTRAINT TRIGGER credentials_are_revised AFTER INSERT OR UPDATE OR DELETE ON credentials
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION revise_channels ();
