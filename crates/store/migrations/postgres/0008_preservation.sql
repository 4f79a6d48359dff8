-- Documents whose newest timestamp must be renewed in time, and certificates that are good no longer.

ALTER TABLE flows ADD COLUMN renew_by BIGINT;     -- NULL: the document has no timestamp over the whole
CREATE INDEX flows_to_renew ON flows (renew_by, id) WHERE renew_by IS NOT NULL;

-- Of the built-in authority's certificates: what its revocation list says.
CREATE TABLE revoked_certificates (
    serial     TEXT NOT NULL PRIMARY KEY,         -- lower-case hex
    subject    TEXT NOT NULL,                     -- whose it was, for people
    reason     TEXT,
    revoked_at BIGINT NOT NULL
);
