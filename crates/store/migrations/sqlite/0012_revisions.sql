-- Grows with every change to channels, their secrets and keys, and credentials, so that whoever remembers them asks for one number.
CREATE TABLE revisions (
    subject  TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO revisions (subject, revision) VALUES ('channels', 1);
CREATE TRIGGER channels_revised_by_insert AFTER INSERT ON channels BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER channels_revised_by_update AFTER UPDATE ON channels BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER channels_revised_by_delete AFTER DELETE ON channels BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER secrets_revised_by_insert AFTER INSERT ON channel_secrets BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER secrets_revised_by_update AFTER UPDATE ON channel_secrets BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER secrets_revised_by_delete AFTER DELETE ON channel_secrets BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER keys_revised_by_insert AFTER INSERT ON api_keys BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER keys_revised_by_update AFTER UPDATE ON api_keys BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER keys_revised_by_delete AFTER DELETE ON api_keys BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER credentials_revised_by_insert AFTER INSERT ON credentials BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER credentials_revised_by_update AFTER UPDATE ON credentials BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
CREATE TRIGGER credentials_revised_by_delete AFTER DELETE ON credentials BEGIN UPDATE revisions SET revision = revision + 1 WHERE subject = 'channels'; END;
