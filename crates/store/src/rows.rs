//! From rows to values and back.

use std::str::FromStr;

use sealpost_flow::Digest;
use serde::Serialize;

use crate::database::Row;
use crate::error::{Error, Result};

/// A value that is kept as text.
pub(crate) fn parsed<T>(row: &Row<'_>, column: &'static str) -> Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| Error::undecodable(column, error))
}

/// A digest that is kept as its 32 bytes.
pub(crate) fn digest(row: &Row<'_>, column: &'static str) -> Result<Digest> {
    Ok(Digest::from_bytes(row.get(column)?))
}

/// A value as JSON text.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::undecodable("value", error))
}
