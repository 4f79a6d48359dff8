-- Who may use the console, their sessions, and what they did. Times are UTC milliseconds.

CREATE TABLE operators (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    role          TEXT NOT NULL,              -- viewer, operator, administrator
    password_hash TEXT NOT NULL,              -- Argon2id, in PHC form
    totp_secret   BLOB,                       -- ciphertext; NULL: no second factor
    totp_step     INTEGER NOT NULL,           -- the last time step whose code was used; each is good once
    failures      INTEGER NOT NULL,           -- sign-ins in a row that failed
    locked_until  INTEGER NOT NULL,           -- no sign-in before this
    created_at    INTEGER NOT NULL,
    disabled_at   INTEGER
) STRICT;

CREATE TABLE operator_sessions (
    hash        BLOB NOT NULL PRIMARY KEY,    -- SHA-256 of what the cookie holds
    operator_id TEXT NOT NULL REFERENCES operators (id),
    created_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    address     TEXT NOT NULL,
    user_agent  TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX operator_sessions_of_operator ON operator_sessions (operator_id, created_at);
CREATE INDEX operator_sessions_by_end ON operator_sessions (expires_at);

-- Append-only: nothing updates or deletes a row.
CREATE TABLE audit (
    id       INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    operator TEXT NOT NULL,                   -- the name, as it was then; 'command line' for the machine's own
    action   TEXT NOT NULL,                   -- a stable word, for example flow.revoke
    subject  TEXT,                            -- the id of what it was done to
    detail   TEXT,
    address  TEXT
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;
