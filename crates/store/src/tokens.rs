//! What the tokens in links open. Tokens are derived from the master secret by the server and never kept; here are only
//! their digests.

use rusqlite::params;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Digest, Flow, SignerNo};

use crate::database::{Connection, One, OptionalExtension as _, Row};
use crate::flows::NewToken;
use crate::rows::parsed;
use crate::{Result, Store};

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The flow.
    pub flow_id: SignFlowId,
    /// The signer whose page it opens; `None`: it opens the file.
    pub signer: Option<SignerNo>,
}

impl Store {
    /// What the token of this digest opens.
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn find_token(&self, hash: &Digest) -> Result<Option<Token>> {
        let hash = *hash;
        let find = move |one: One<'_>| {
            let statement =
                one.prepare_cached("SELECT flow_id, signer FROM tokens WHERE hash = ?1")?;
            let token = |row: &Row<'_>| {
                Ok(parsed(row, "flow_id").and_then(|flow_id| {
                    Ok(Token {
                        flow_id,
                        signer: row.get("signer")?,
                    })
                }))
            };
            statement
                .query_row([hash.as_bytes()], token)
                .optional()?
                .transpose()
        };
        self.database.read_one(find).await
    }
}

pub(crate) fn insert(connection: &Connection, flow: &Flow, token: &NewToken) -> Result<()> {
    let sql = "INSERT INTO tokens (hash, flow_id, signer) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute_soon(params![
        token.hash.as_bytes(),
        flow.id.as_str(),
        token.signer
    ])
}
