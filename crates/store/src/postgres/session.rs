//! One session with a PostgreSQL server, and the way of statements and values between SQLite's forms and PostgreSQL's.
//!
//! What an operation costs is how often it waits for the server. So nothing is sent alone that can go together with what comes
//! next: a transaction begins with its first statement, what is only to be done and has nothing to tell goes with the statement
//! after it or with the commit, and the end of a reading is not waited for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, Type as ValueType, Value};
use tokio::runtime::Runtime;
use tokio_postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, Row};

use super::connector::Origin;
use crate::database::Bound;
use crate::error::{Error, Result};

/// A session that has rested for so long is asked whether it is still there. One that the server has closed is noticed without
/// asking; this is for a host that vanished without a word.
const RESTED: Duration = Duration::from_secs(5);

/// Begins a transaction whose commit does not wait for the disk.
const BEGIN_QUICKLY: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// One session with the server, used by the thread that made it.
pub(crate) struct Session {
    client: Arc<Client>,
    /// Drives the connection while a statement runs, and rests with it in between.
    runtime: Runtime,
    statements: RefCell<HashMap<String, Prepared>>,
    transaction: Cell<Transaction>,
    /// What was sent and not yet waited for, in its order.
    under_way: RefCell<Vec<UnderWay>>,
    /// How long any answer is waited for: the server's own limit for statements does not help when the server has stopped.
    patience: Duration,
    /// Whether an answer did not come in time; what might come now belongs to nobody.
    lost: Cell<bool>,
    /// When the server answered last.
    answered_at: Cell<Instant>,
    /// Counts how often an operation has waited for an answer; all sessions of a store share it.
    round_trips: Arc<AtomicU64>,
    origin: Origin,
}

/// What becomes of the session's statements.
#[derive(Debug, Clone, Copy)]
enum Transaction {
    /// Each is a transaction of its own.
    Each,
    /// All are to be one, which begins with the first of them and these words.
    ToBegin(&'static str),
    /// All are one.
    Begun,
}

/// Something sent whose answer tells only whether it failed.
type UnderWay = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;

/// A statement in PostgreSQL's own words, with its values.
pub(crate) type WithArrays<'s> = (&'s str, &'s [&'s (dyn ToSql + Sync)]);

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
    /// Whether it changes nothing, so that it does no harm if it runs without its transaction.
    is_harmless: bool,
}

/// A session for one statement, or for the one thing that is done here, which is a transaction of its own.
pub(crate) struct Single<'s>(&'s Session);

impl<'s> Single<'s> {
    pub(super) fn new(session: &'s Session) -> Single<'s> {
        Single(session)
    }

    /// Rows of a statement in PostgreSQL's own words.
    pub(crate) fn query_arrays(self, statement: WithArrays<'_>) -> Result<Vec<Row>> {
        self.0.query_arrays(statement)
    }

    /// Rows of two statements, of which the second sees what the first did and needs nothing of its answer. They are one
    /// transaction, whose commit does not wait for the disk: for what may be lost with the server's memory.
    pub(crate) fn query_quickly(
        self,
        first: WithArrays<'_>,
        second: WithArrays<'_>,
    ) -> Result<(Vec<Row>, Vec<Row>)> {
        let session = self.0;
        let (one, other) = (session.prepare(first.0)?, session.prepare(second.0)?);
        session.send(simple(&session.client, BEGIN_QUICKLY))?;
        session.wait(async {
            let (one, other, committed) = tokio::join!(
                biased;
                session.client.query(&one.statement, first.1),
                session.client.query(&other.statement, second.1),
                session.client.batch_execute("COMMIT"),
            );
            let rows = (one?, other?);
            committed.map(|()| rows)
        })
    }
}

impl Session {
    /// A session over a client whose connection `runtime` drives.
    pub(super) fn new(
        client: Client,
        runtime: Runtime,
        patience: Duration,
        round_trips: Arc<AtomicU64>,
        origin: Origin,
    ) -> Session {
        Session {
            client: Arc::new(client),
            runtime,
            statements: RefCell::default(),
            transaction: Cell::new(Transaction::Each),
            under_way: RefCell::default(),
            patience,
            lost: Cell::new(false),
            answered_at: Cell::new(Instant::now()),
            round_trips,
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

    /// Whether the server is still there, as far as can be told without asking it; one that was not heard of for a while is asked.
    pub(super) fn is_there(&self) -> bool {
        if self.is_lost() {
            return false;
        }
        self.runtime.block_on(look_around());
        if self.client.is_closed() {
            return false;
        }
        self.answered_at.get().elapsed() < RESTED
            || self.answer(self.client.batch_execute("")).is_ok()
    }

    /// Makes one transaction of the statements that follow, until [`Session::commit`] or [`Session::roll_back`].
    pub(super) fn begin(&self, words: &'static str) {
        self.transaction.set(Transaction::ToBegin(words));
    }

    /// Commits the transaction, if there is one.
    pub(super) fn commit(&self) -> Result<()> {
        match self.transaction.replace(Transaction::Each) {
            Transaction::Begun => self.wait(self.client.batch_execute("COMMIT")),
            Transaction::ToBegin(_) | Transaction::Each => Ok(()),
        }
    }

    /// Ends the transaction, if there is one, which has only read. The server is told and not waited for.
    pub(super) fn end_reading(&self) -> Result<()> {
        match self.transaction.replace(Transaction::Each) {
            Transaction::Begun => {
                let sent = self.send(simple(&self.client, "COMMIT"));
                self.under_way.take();
                self.runtime.block_on(look_around());
                sent
            }
            Transaction::ToBegin(_) | Transaction::Each => Ok(()),
        }
    }

    /// Undoes the transaction, if there is one.
    pub(super) fn roll_back(&self) -> Result<()> {
        self.under_way.take();
        match self.transaction.replace(Transaction::Each) {
            Transaction::Begun => self.wait(self.client.batch_execute("ROLLBACK")),
            Transaction::ToBegin(_) | Transaction::Each => Ok(()),
        }
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
            is_harmless: sql.trim_start().starts_with("SELECT"),
        };
        self.statements
            .borrow_mut()
            .insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    pub(crate) fn execute(&self, prepared: &Prepared, bound: Bound<'_>) -> Result<usize> {
        let values = prepared.values(bound)?;
        self.begin_with(prepared.is_harmless)?;
        let changed = self.wait(self.client.execute_raw(&prepared.statement, &values))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// As [`Session::execute`] within a transaction, but waits for no answer: what comes next does, and fails where this fails.
    pub(crate) fn execute_soon(&self, prepared: &Prepared, bound: Bound<'_>) -> Result<()> {
        let values = prepared.values(bound)?;
        self.begin_with(prepared.is_harmless)?;
        let (client, statement) = (Arc::clone(&self.client), prepared.statement.clone());
        self.send(Box::pin(async move {
            client.execute_raw(&statement, &values).await.map(drop)
        }))
    }

    pub(crate) fn query(&self, prepared: &Prepared, bound: Bound<'_>) -> Result<Vec<Row>> {
        let values = prepared.values(bound)?;
        let values: Vec<_> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        self.begin_with(prepared.is_harmless)?;
        self.wait(self.client.query(&prepared.statement, &values))
    }

    fn query_arrays(&self, (sql, values): WithArrays<'_>) -> Result<Vec<Row>> {
        let prepared = self.prepare(sql)?;
        self.begin_with(prepared.is_harmless)?;
        self.wait(self.client.query(&prepared.statement, values))
    }

    /// Runs statements without parameters whose rows do not matter.
    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        self.begin_with(false)?;
        self.wait(self.client.batch_execute(sql))
    }

    /// As [`Session::batch`]; `slow` is called when it has taken so long, while it goes on.
    pub(super) fn batch_watched(
        &self,
        sql: &str,
        after: Duration,
        slow: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let watch = self.runtime.spawn(async move {
            tokio::time::sleep(after).await;
            slow();
        });
        let done = self.batch(sql);
        watch.abort();
        done
    }

    /// Begins the transaction, if the statement that is about to be sent is its first.
    ///
    /// The two go together only if the statement changes nothing. A server that stood still may find that the time for `BEGIN` is
    /// over when it goes on, and then does what comes behind it all the same, without a transaction.
    fn begin_with(&self, is_harmless: bool) -> Result<()> {
        let Transaction::ToBegin(words) = self.transaction.get() else {
            return Ok(());
        };
        if is_harmless {
            self.send(simple(&self.client, words))?;
        } else {
            self.wait(self.client.batch_execute(words))?;
        }
        self.transaction.set(Transaction::Begun);
        Ok(())
    }

    /// Sends something; the next to wait for an answer waits for this one's, too.
    ///
    /// It is sent at once, not with the next: what cannot be sent must not let a commit go without it.
    fn send(&self, mut message: UnderWay) -> Result<()> {
        match message
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => answer?,
            Poll::Pending => self.under_way.borrow_mut().push(message),
        }
        Ok(())
    }

    /// Waits for an answer, and before it for those of all that was sent before. The first failure is the one that is told.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let before = all(self.under_way.take());
        self.answer(async {
            let (before, answer) = tokio::join!(biased; before, answer);
            before.and(answer)
        })
    }

    fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let limit = match self.lost.get() {
            true => Duration::ZERO,
            false => self.patience,
        };
        let waited = async { tokio::time::timeout(limit, answer).await };
        match self.runtime.block_on(waited) {
            Ok(answer) => {
                self.answered_at.set(Instant::now());
                Ok(answer?)
            }
            Err(elapsed) => {
                self.lost.set(true);
                Err(Error::Unreachable(Arc::new(elapsed)))
            }
        }
    }
}

/// Statements without parameters, to be sent.
fn simple(client: &Arc<Client>, words: &'static str) -> UnderWay {
    let client = Arc::clone(client);
    Box::pin(async move { client.batch_execute(words).await })
}

/// Waits for all; the first failure is told.
async fn all(mut under_way: Vec<UnderWay>) -> Result<(), tokio_postgres::Error> {
    let mut first = Ok(());
    poll_fn(|context| {
        under_way.retain_mut(|each| match each.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                if first.is_ok() {
                    first = answer;
                }
                false
            }
        });
        match under_way.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    first
}

/// Lets the connection send what there is to send and read what has come, without waiting for either: the first turn looks at what
/// has happened, the second acts on it.
async fn look_around() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
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
pub(crate) fn value(row: &Row, index: usize) -> rusqlite::Result<Value> {
    fn read<'r, T>(row: &'r Row, index: usize, make: fn(T) -> Value) -> rusqlite::Result<Value>
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
