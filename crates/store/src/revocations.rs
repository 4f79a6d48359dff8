//! Certificates of the built-in authority that are good no longer: what its revocation list says. None is ever taken back.

use rusqlite::params;
use sealpost_contract::UtcMillis;

use crate::Store;
use crate::database::One;
use crate::error::Result;

/// A certificate that is good no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Its serial number in lower-case hex.
    pub serial: String,
    /// Whose it was, for people.
    pub subject: String,
    /// Why, in an operator's words.
    pub reason: Option<String>,
    /// Since when.
    pub revoked_at: UtcMillis,
}

impl Store {
    /// Keeps that a certificate is revoked; false if it was already, which stays as it was.
    ///
    /// # Errors
    /// Whatever keeps the store from writing.
    pub async fn revoke_certificate(&self, revoked: RevokedCertificate) -> Result<bool> {
        let sql = "INSERT INTO revoked_certificates (serial, subject, reason, revoked_at) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO NOTHING";
        let keep = move |one: One<'_>| {
            let RevokedCertificate {
                serial,
                subject,
                reason,
                revoked_at,
            } = &revoked;
            let row = params![serial, subject, reason, revoked_at];
            Ok(one.prepare_cached(sql)?.execute(row)? > 0)
        };
        self.database.write_one(keep).await
    }

    /// Whether a certificate is revoked.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn is_revoked(&self, serial: &str) -> Result<bool> {
        let serial = serial.to_owned();
        let sql = "SELECT 1 FROM revoked_certificates WHERE serial = ?1";
        self.database
            .read_one(move |one| one.prepare_cached(sql)?.exists([serial.as_str()]))
            .await
    }

    /// All certificates that are revoked, the first first.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn revoked_certificates(&self) -> Result<Vec<RevokedCertificate>> {
        let sql = "SELECT serial, subject, reason, revoked_at FROM revoked_certificates ORDER BY revoked_at, serial";
        let read = move |one: One<'_>| {
            let statement = one.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(RevokedCertificate {
                    serial: row.get("serial")?,
                    subject: row.get("subject")?,
                    reason: row.get("reason")?,
                    revoked_at: row.get("revoked_at")?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        };
        self.database.read_one(read).await
    }
}
