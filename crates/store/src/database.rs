//! One way to speak to either database.
//!
//! Every statement of the store is written once, in the SQL that SQLite and PostgreSQL have in common, and every operation is
//! one closure: over a [`Connection`] that runs inside a transaction, or over [`One`] if it is a single statement. The few
//! statements that must differ ask [`Connection::is_postgres`]. Parameters are written as SQLite does, `?1` or `:name`.
//!
//! The types here have the shape of rusqlite's and use its conversions of values; with SQLite they are nothing but a veil.

use std::path::Path;

use rusqlite::types::{FromSql, ToSql};

use crate::error::{Error, Result};
use crate::postgres::{self, Postgres, PostgresOptions};
use crate::sqlite::{self, Sqlite};

/// The database of a store.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Database {
    /// Opens an SQLite file, making it if it is missing.
    pub(crate) fn sqlite(path: &Path) -> Result<Database> {
        Sqlite::open(path).map(Database::Sqlite)
    }

    /// Connects to a PostgreSQL server.
    pub(crate) fn postgres(options: PostgresOptions) -> Result<Database> {
        Postgres::open(options).map(Database::Postgres)
    }

    /// Whether it is PostgreSQL, which other nodes may be using, too.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Database::Postgres(_))
    }

    /// Runs `work` in a transaction and answers after its commit. An `Err` from `work` undoes what it did, and nothing else. A
    /// caller that stops waiting does not stop the operation. `work` must be quick (statements only; no file, no network).
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        match self {
            Database::Sqlite(sqlite) => sqlite.write(work).await,
            Database::Postgres(postgres) => postgres.write(work).await,
        }
    }

    /// As [`Database::write`], for a single statement: over PostgreSQL it needs no more than one round trip. An `Err` that comes
    /// after the statement, from reading what it answered, undoes nothing.
    pub(crate) async fn write_one<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(One<'_>) -> Result<T> + Send + 'static,
    {
        let work = move |connection: &Connection| work(connection.one());
        match self {
            Database::Sqlite(sqlite) => sqlite.write_whole(work).await,
            Database::Postgres(postgres) => postgres.write_singly(work).await,
        }
    }

    /// Runs `work`, which only reads, over one snapshot. It sees every commit that was answered before.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        match self {
            Database::Sqlite(sqlite) => sqlite.read(work).await,
            Database::Postgres(postgres) => postgres.read(work).await,
        }
    }

    /// As [`Database::read`], for a single statement, which is a snapshot by itself: over PostgreSQL it needs no more than one
    /// round trip.
    pub(crate) async fn read_one<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(One<'_>) -> Result<T> + Send + 'static,
    {
        let work = move |connection: &Connection| work(connection.one());
        match self {
            Database::Sqlite(sqlite) => sqlite.read(work).await,
            Database::Postgres(postgres) => postgres.read_singly(work).await,
        }
    }
}

/// A connection to either database, inside a transaction.
#[derive(Debug)]
pub(crate) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Box<postgres::Session>),
}

impl Connection {
    /// Whether statements that must differ are to be PostgreSQL's.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Connection::Postgres(_))
    }

    /// What ends the query of a claim: rows that another node is claiming are passed over. SQLite has one writer and needs none.
    pub(crate) fn skip_locked(&self) -> &'static str {
        if self.is_postgres() {
            "FOR UPDATE SKIP LOCKED"
        } else {
            ""
        }
    }

    /// The version of the schema, and the newest that this program knows. PostgreSQL's may be above it: see `postgres::OLDEST`.
    pub(crate) fn schema_version(&self) -> Result<(i64, i64)> {
        let (sql, known) = if self.is_postgres() {
            ("SELECT max(version) FROM sealpost_schema", postgres::KNOWN)
        } else {
            (
                "SELECT user_version FROM pragma_user_version",
                sqlite::KNOWN,
            )
        };
        let found = self.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok((found, known))
    }

    /// For what needs one statement, here one of the transaction's.
    pub(crate) fn one(&self) -> One<'_> {
        One(self)
    }

    /// Whether the transaction is still there: a full disk and the like make SQLite roll it back by itself.
    pub(crate) fn is_in_transaction(&self) -> bool {
        match self {
            Connection::Sqlite(connection) => !connection.is_autocommit(),
            Connection::Postgres(_) => true,
        }
    }

    /// Runs a statement that has neither parameters nor rows.
    pub(crate) fn run(&self, sql: &str) -> Result<()> {
        self.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Prepares a statement, or finds it prepared.
    pub(crate) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Connection::Sqlite(connection) => {
                #[cfg(test)]
                crate::plans::hear(connection, sql);
                Statement::Sqlite(connection.prepare_cached(sql)?)
            }
            Connection::Postgres(session) => Statement::Postgres(session, session.prepare(sql)?),
        })
    }
}

/// A prepared statement.
pub(crate) enum Statement<'c> {
    Sqlite(rusqlite::CachedStatement<'c>),
    Postgres(&'c postgres::Session, postgres::Prepared),
}

impl Statement<'_> {
    /// Runs a statement; returns how many rows it changed.
    pub(crate) fn execute(&mut self, params: impl Params) -> Result<usize> {
        params.bind(|bound| self.execute_bound(bound))
    }

    fn execute_bound(&mut self, bound: Bound<'_>) -> Result<usize> {
        match self {
            Statement::Sqlite(statement) => Ok(match bound {
                Bound::Positional(values) => statement.execute(values)?,
                Bound::Named(values) => statement.execute(values)?,
            }),
            Statement::Postgres(session, prepared) => session.execute(prepared, bound),
        }
    }

    /// As [`Statement::execute`], where neither the answer nor a failure is of account by itself: over PostgreSQL this need not
    /// wait for it. If it fails, so does what comes next in the transaction, its commit at the latest.
    pub(crate) fn execute_soon(&mut self, params: impl Params) -> Result<()> {
        params.bind(|bound| match self {
            Statement::Sqlite(_) => self.execute_bound(bound).map(drop),
            Statement::Postgres(session, prepared) => session.execute_soon(prepared, bound),
        })
    }

    /// The rows, each read by `read`.
    pub(crate) fn query_and_then<T, E, F>(
        &mut self,
        params: impl Params,
        mut read: F,
    ) -> Result<std::vec::IntoIter<Result<T, E>>>
    where
        F: FnMut(&Row<'_>) -> Result<T, E>,
    {
        params.bind(|bound| {
            let mut results = Vec::new();
            match self {
                Statement::Sqlite(statement) => {
                    let mut rows = match bound {
                        Bound::Positional(values) => statement.query(values)?,
                        Bound::Named(values) => statement.query(values)?,
                    };
                    while let Some(row) = rows.next()? {
                        results.push(read(&Row::Sqlite(row)));
                    }
                }
                Statement::Postgres(session, prepared) => {
                    for row in &session.query(prepared, bound)? {
                        results.push(read(&Row::Postgres(row)));
                    }
                }
            }
            Ok(results.into_iter())
        })
    }

    /// The rows, each read by `read`, whose only errors are those of [`Row::get`].
    pub(crate) fn query_map<T, F>(
        &mut self,
        params: impl Params,
        read: F,
    ) -> Result<std::vec::IntoIter<rusqlite::Result<T>>>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        self.query_and_then(params, read)
    }

    /// The first row; without one an error that [`OptionalExtension::optional`] turns into `None`.
    pub(crate) fn query_row<T, F>(&mut self, params: impl Params, read: F) -> Result<T>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        let first = self.query_and_then(params, read)?.next();
        Ok(first.unwrap_or(Err(rusqlite::Error::QueryReturnedNoRows))?)
    }

    /// Whether there is a row.
    pub(crate) fn exists(&mut self, params: impl Params) -> Result<bool> {
        Ok(self.query_map(params, |_| Ok(()))?.next().is_some())
    }
}

/// A connection to either database for one statement, and by its type for no more than one: see [`Database::read_one`].
pub(crate) struct One<'c>(&'c Connection);

impl<'c> One<'c> {
    /// See [`Connection::is_postgres`].
    pub(crate) fn is_postgres(&self) -> bool {
        self.0.is_postgres()
    }

    /// See [`Connection::skip_locked`].
    pub(crate) fn skip_locked(&self) -> &'static str {
        self.0.skip_locked()
    }

    /// See [`Connection::prepare_cached`].
    pub(crate) fn prepare_cached(self, sql: &str) -> Result<OneStatement<'c>> {
        self.0.prepare_cached(sql).map(OneStatement)
    }
}

/// A prepared statement that is run once.
pub(crate) struct OneStatement<'c>(Statement<'c>);

impl OneStatement<'_> {
    /// See [`Statement::execute`].
    pub(crate) fn execute(mut self, params: impl Params) -> Result<usize> {
        self.0.execute(params)
    }

    /// See [`Statement::query_and_then`].
    pub(crate) fn query_and_then<T, E, F>(
        mut self,
        params: impl Params,
        read: F,
    ) -> Result<std::vec::IntoIter<Result<T, E>>>
    where
        F: FnMut(&Row<'_>) -> Result<T, E>,
    {
        self.0.query_and_then(params, read)
    }

    /// See [`Statement::query_map`].
    pub(crate) fn query_map<T, F>(
        mut self,
        params: impl Params,
        read: F,
    ) -> Result<std::vec::IntoIter<rusqlite::Result<T>>>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        self.0.query_map(params, read)
    }

    /// See [`Statement::query_row`].
    pub(crate) fn query_row<T, F>(mut self, params: impl Params, read: F) -> Result<T>
    where
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        self.0.query_row(params, read)
    }

    /// See [`Statement::exists`].
    pub(crate) fn exists(mut self, params: impl Params) -> Result<bool> {
        self.0.exists(params)
    }
}

/// A row of an answer.
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl Row<'_> {
    /// A column's value, by its place from 0 or its name.
    pub(crate) fn get<C: Column, T: FromSql>(&self, column: C) -> rusqlite::Result<T> {
        match self {
            Row::Sqlite(row) => row.get(column),
            Row::Postgres(row) => {
                let index = column.index_in(row)?;
                let value = postgres::value(row, index)?;
                let read = T::column_result((&value).into());
                read.map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(
                        index,
                        value.data_type(),
                        Box::new(error),
                    )
                })
            }
        }
    }
}

/// Names a column of a row.
pub(crate) trait Column: rusqlite::RowIndex {
    fn index_in(&self, row: &tokio_postgres::Row) -> rusqlite::Result<usize>;
}

impl Column for usize {
    fn index_in(&self, row: &tokio_postgres::Row) -> rusqlite::Result<usize> {
        if *self < row.len() {
            Ok(*self)
        } else {
            Err(rusqlite::Error::InvalidColumnIndex(*self))
        }
    }
}

impl Column for &str {
    fn index_in(&self, row: &tokio_postgres::Row) -> rusqlite::Result<usize> {
        let found = row
            .columns()
            .iter()
            .position(|column| column.name() == *self);
        found.ok_or_else(|| rusqlite::Error::InvalidColumnName((*self).to_owned()))
    }
}

/// The parameters of a statement.
pub(crate) trait Params {
    /// Hands the values to `run`.
    fn bind<R>(self, run: impl FnOnce(Bound<'_>) -> R) -> R;
}

/// Values for the parameters of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Bound<'p> {
    /// For `?1`, `?2` …
    Positional(&'p [&'p dyn ToSql]),
    /// For `:name`.
    Named(&'p [(&'p str, &'p dyn ToSql)]),
}

impl Params for &[&dyn ToSql] {
    fn bind<R>(self, run: impl FnOnce(Bound<'_>) -> R) -> R {
        run(Bound::Positional(self))
    }
}

impl Params for &[(&'static str, &dyn ToSql)] {
    fn bind<R>(self, run: impl FnOnce(Bound<'_>) -> R) -> R {
        run(Bound::Named(self))
    }
}

impl Params for [(); 0] {
    fn bind<R>(self, run: impl FnOnce(Bound<'_>) -> R) -> R {
        run(Bound::Positional(&[]))
    }
}

/// Arrays of some lengths: for all of them, an empty one's element would have no type.
macro_rules! params_of_arrays {
    ($($length:literal),*) => {$(
        impl<T: ToSql> Params for [T; $length] {
            fn bind<R>(self, run: impl FnOnce(Bound<'_>) -> R) -> R {
                run(Bound::Positional(&self.each_ref().map(|value| value as &dyn ToSql)))
            }
        }
    )*};
}

params_of_arrays!(1, 2, 3);

/// A row that may be missing.
pub(crate) trait OptionalExtension<T> {
    /// `None` where [`Statement::query_row`] found no row.
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::Database(source))
                if matches!(
                    source.downcast_ref(),
                    Some(rusqlite::Error::QueryReturnedNoRows)
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
