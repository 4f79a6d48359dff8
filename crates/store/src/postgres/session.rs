//! One session with a PostgreSQL server, and the way of statements and values between SQLite's forms and PostgreSQL's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Type as ValueType, Value};
use tokio::runtime::Runtime;
use tokio_postgres::Client;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use super::connector::Origin;
use crate::database::Bound;
use crate::error::{Error, Result};

/// One session with the server, used by the thread that made it.
pub(crate) struct Session {
    client: Client,
    /// Drives the connection while a statement runs, and rests with it in between.
    runtime: Runtime,
    statements: RefCell<HashMap<String, Prepared>>,
    /// How long any answer is waited for: the server's own limit for statements does not help when the server has stopped.
    patience: Duration,
    /// Whether an answer did not come in time; what might come now belongs to nobody.
    lost: Cell<bool>,
    origin: Origin,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// A prepared statement with the names of its parameters, if it names them.
#[derive(Clone)]
pub(crate) struct Prepared {
    statement: tokio_postgres::Statement,
    names: Arc<[String]>,
}

impl Session {
    /// A session over a client whose connection `runtime` drives.
    pub(super) fn new(
        client: Client,
        runtime: Runtime,
        patience: Duration,
        origin: Origin,
    ) -> Session {
        Session {
            client,
            runtime,
            statements: RefCell::default(),
            patience,
            lost: Cell::new(false),
            origin,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether an answer did not come in time.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    pub(crate) fn prepare(&self, sql: &str) -> Result<Prepared> {
        if let Some(prepared) = self.statements.borrow().get(sql) {
            return Ok(prepared.clone());
        }
        let (translated, names) = translate(sql);
        let mut statement = self.wait(self.client.prepare(&translated))?;
        let columns: Vec<&str> = statement.columns().iter().map(|each| each.name()).collect();
        if let Some(named) = name_columns(&translated, &columns) {
            statement = self.wait(self.client.prepare(&named))?;
        }
        let prepared = Prepared {
            statement,
            names: names.into(),
        };
        self.statements
            .borrow_mut()
            .insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    pub(crate) fn execute(&self, prepared: &Prepared, bound: Bound<'_>) -> Result<usize> {
        let values = prepared.values(bound)?;
        let changed = self.wait(self.client.execute_raw(&prepared.statement, &values))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(crate) fn query(
        &self,
        prepared: &Prepared,
        bound: Bound<'_>,
    ) -> Result<Vec<tokio_postgres::Row>> {
        let values = prepared.values(bound)?;
        let values: Vec<_> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        self.wait(self.client.query(&prepared.statement, &values))
    }

    /// Rows of a statement in PostgreSQL's own words, for what needs arrays.
    pub(crate) fn query_arrays(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let prepared = self.prepare(sql)?;
        self.wait(self.client.query(&prepared.statement, values))
    }

    /// Runs statements without parameters whose rows do not matter.
    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        let limit = match self.lost.get() {
            true => Duration::ZERO,
            false => self.patience,
        };
        let waited = async { tokio::time::timeout(limit, answer).await };
        match self.runtime.block_on(waited) {
            Ok(answer) => Ok(answer?),
            Err(elapsed) => {
                self.lost.set(true);
                Err(Error::Unreachable(Arc::new(elapsed)))
            }
        }
    }
}

impl Prepared {
    /// The values in the order of the statement's parameters.
    fn values(&self, bound: Bound<'_>) -> Result<Vec<Parameter>> {
        let value = |value: &dyn rusqlite::ToSql| Ok(Parameter(owned(value.to_sql()?)?));
        match bound {
            Bound::Positional(values) => values.iter().map(|each| value(*each)).collect(),
            Bound::Named(values) => {
                let named = |name: &String| {
                    let found = values.iter().find(|(each, _)| each == name);
                    let missing = || rusqlite::Error::InvalidParameterName(name.clone());
                    value(found.ok_or_else(missing)?.1)
                };
                self.names.iter().map(named).collect()
            }
        }
    }
}

fn owned(value: ToSqlOutput<'_>) -> rusqlite::Result<Value> {
    match value {
        ToSqlOutput::Owned(value) => Ok(value),
        ToSqlOutput::Borrowed(value) => Ok(value.try_into()?),
        _ => Err(rusqlite::Error::ToSqlConversionFailure(
            "a value of a kind that only SQLite has".into(),
        )),
    }
}

/// Rewrites SQLite's parameters as PostgreSQL's: `?2` becomes `$2`, `:name` the number of its first appearance. A colon
/// before a colon is PostgreSQL's cast. Our statements have neither sign inside a string.
fn translate(sql: &str) -> (String, Vec<String>) {
    let mut translated = String::with_capacity(sql.len() + 16);
    let mut names: Vec<String> = Vec::new();
    let mut rest = sql;
    while let Some(at) = rest.find(['?', ':']) {
        let (before, from) = rest.split_at(at);
        translated.push_str(before);
        let end = from[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (parameter, after) = from.split_at(end.map_or(from.len(), |end| end + 1));
        if parameter.len() == 1 {
            // Not a parameter: `::`, whose second colon must not begin one either.
            let (sign, after) = from.split_at(2.min(from.len()));
            translated.push_str(sign);
            rest = after;
            continue;
        }
        if let Some(number) = parameter.strip_prefix('?') {
            translated.push('$');
            translated.push_str(number);
        } else {
            let known = names.iter().position(|name| name == parameter);
            let index = known.unwrap_or_else(|| {
                names.push(parameter.to_owned());
                names.len() - 1
            });
            translated.push('$');
            translated.push_str(&(index + 1).to_string());
        }
        rest = after;
    }
    translated.push_str(rest);
    (translated, names)
}

/// Writes the columns that there are now for the `*` of a statement that asks for all. When a newer version of the program adds one,
/// PostgreSQL refuses a prepared `*` from then on, since its answer would have another form.
fn name_columns(sql: &str, columns: &[&str]) -> Option<String> {
    if columns.is_empty() {
        return None;
    }
    let names = || columns.join(", ");
    if let Some(rest) = sql.trim_start().strip_prefix("SELECT * FROM ") {
        return Some(format!("SELECT {} FROM {rest}", names()));
    }
    let changing = sql.trim_end().strip_suffix("RETURNING *")?;
    Some(format!("{changing}RETURNING {}", names()))
}

/// A value on its way to the server, in whichever type the server wants it.
#[derive(Debug)]
struct Parameter(Value);

impl ToSql for Parameter {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(value) => match *ty {
                Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
                Type::BOOL => (*value != 0).to_sql(ty, out),
                Type::INT8 => value.to_sql(ty, out),
                _ => Err(format!("an integer where the statement wants {ty}").into()),
            },
            Value::Real(value) => value.to_sql(ty, out),
            Value::Text(value) => value.to_sql(ty, out),
            Value::Blob(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column's value as SQLite would give it.
pub(crate) fn value(row: &tokio_postgres::Row, index: usize) -> rusqlite::Result<Value> {
    fn read<'r, T>(
        row: &'r tokio_postgres::Row,
        index: usize,
        make: fn(T) -> Value,
    ) -> rusqlite::Result<Value>
    where
        T: tokio_postgres::types::FromSql<'r>,
    {
        let value = row.try_get::<_, Option<T>>(index);
        let value = value.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(index, ValueType::Null, Box::new(error))
        })?;
        Ok(value.map_or(Value::Null, make))
    }
    match *row.columns()[index].type_() {
        Type::INT4 => read(row, index, |value: i32| Value::Integer(value.into())),
        Type::BOOL => read(row, index, |value: bool| Value::Integer(value.into())),
        Type::BYTEA => read(row, index, Value::Blob),
        Type::TEXT => read(row, index, Value::Text),
        Type::FLOAT8 => read(row, index, Value::Real),
        _ => read(row, index, Value::Integer),
    }
}

#[cfg(test)]
mod tests {
    use super::{name_columns, translate};

    #[test]
    fn parameters_are_rewritten() {
        let check = |sql: &str, expected: &str, names: &[&str]| {
            let (translated, found) = translate(sql);
            assert_eq!(
                (
                    translated.as_str(),
                    found.iter().map(String::as_str).collect()
                ),
                (expected, names.to_vec())
            );
        };
        check("SELECT 1", "SELECT 1", &[]);
        check(
            "a = ?1 AND (b, c) < (?2, ?10)",
            "a = $1 AND (b, c) < ($2, $10)",
            &[],
        );
        check(
            "a = :a AND b = :b_c OR :a IS NULL",
            "a = $1 AND b = $2 OR $1 IS NULL",
            &[":a", ":b_c"],
        );
        check("?1::text", "$1::text", &[]);
        check("a = ?1", "a = $1", &[]);
    }
    #[test]
    fn the_columns_of_a_star_are_named() {
        let check = |sql: &str, expected: Option<&str>| {
            assert_eq!(name_columns(sql, &["a", "b"]).as_deref(), expected);
        };
        check(
            "SELECT * FROM t WHERE a = $1",
            Some("SELECT a, b FROM t WHERE a = $1"),
        );
        check(
            "UPDATE t SET a = 1 RETURNING *",
            Some("UPDATE t SET a = 1 RETURNING a, b"),
        );
        check("SELECT a, b FROM t", None);
        check("SELECT a, count(*) FROM t", None);
        let inserting = "INSERT INTO t SELECT * FROM unnest($1)";
        assert_eq!(name_columns(inserting, &[]), None);
    }
}
