//! Lists in pages: newest first, each page begun by the cursor that the one before it gave. A cursor names a place in the order
//! and not a count, so rows that come or go between two pages neither repeat nor skip others.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::named_params;
use sealpost_contract::UtcMillis;
use sealpost_flow::Status;

use crate::database::One;
use crate::flows::{StoredFlow, stored};
use crate::{Result, Store};

/// Rows on one page at most.
pub const PAGE_LIMIT: u32 = 200;

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What begins the next page; `None` on the last.
    pub next: Option<Cursor>,
}

/// A place in a list, opaque to clients: what comes after it is older. As text at most 128 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    at: UtcMillis,
    id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{} {}", self.at, self.id)))
    }
}

/// The text is no cursor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that a list has given")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Cursor, NotACursor> {
        if text.len() > 128 {
            return Err(NotACursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let text = String::from_utf8(bytes).map_err(|_| NotACursor)?;
        let (at, id) = text.split_once(' ').ok_or(NotACursor)?;
        Ok(Cursor {
            at: at.parse().map_err(|_| NotACursor)?,
            id: id.to_owned(),
        })
    }
}

/// Which flows to list; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Of one channel.
    pub channel_id: Option<String>,
    /// Of one status as the contract counts, in which sealing is `1` like signing.
    pub status: Option<Status>,
    /// Of one reference.
    pub reference: Option<String>,
    /// Created at this moment or later.
    pub created_from: Option<UtcMillis>,
    /// Created before this moment.
    pub created_before: Option<UtcMillis>,
    /// With this text in its reference, project, room or masked payer. No index helps here: the rows are read, newest first,
    /// until the page is full, so a search over many should be bounded in time.
    pub text: Option<String>,
}

impl Store {
    /// A page of flows, newest first: those after the cursor, `limit` of them, but 1 to [`PAGE_LIMIT`].
    ///
    /// # Errors
    /// Whatever keeps the store from reading.
    pub async fn list_flows(
        &self,
        filter: FlowFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<StoredFlow>> {
        let list = move |one: One<'_>| list_flows(one, &filter, after.as_ref(), limit);
        self.database.read_one(list).await
    }
}

fn list_flows(
    one: One<'_>,
    filter: &FlowFilter,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<StoredFlow>> {
    let limit = limit.clamp(1, PAGE_LIMIT);
    let sql = list_sql(filter, one.is_postgres());
    let statement = one.prepare_cached(&sql)?;
    // What is before the cursor and before the moment asked for is before the earlier of the two.
    let before = (filter.created_before.unwrap_or(UtcMillis::MAX), "");
    let (before_at, before_id) = after.map_or(before, |cursor| before.min((cursor.at, &cursor.id)));
    let rows = statement.query_and_then(
        named_params! {
            ":channel_id": filter.channel_id,
            ":code": filter.status.map(Status::code),
            ":reference": filter.reference,
            ":text": filter.text,
            ":from": filter.created_from.unwrap_or(UtcMillis::MIN),
            ":before_at": before_at,
            ":before_id": before_id,
            ":limit": limit + 1,
        },
        stored,
    )?;
    let mut items = rows.collect::<Result<Vec<_>>>()?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let place = |last: &StoredFlow| Cursor {
        at: last.flow.created_at,
        id: last.flow.id.as_str().to_owned(),
    };
    let next = items.last().filter(|_| more).map(place);
    Ok(Page { items, next })
}

/// The statement for a filter. A condition that is not asked for still names its parameter, since the statement must have
/// them all, and is always true.
fn list_sql(filter: &FlowFilter, is_postgres: bool) -> String {
    let (channel, code, reference) = (
        filter.channel_id.is_some(),
        filter.status.is_some(),
        filter.reference.is_some(),
    );
    // Without statistics SQLite guesses which index is best, and guesses badly, so it is told. PostgreSQL has statistics.
    let index = match (channel, reference, code) {
        _ if is_postgres => "",
        (true, true, _) => "INDEXED BY flows_of_channel_by_reference",
        (true, false, true) => "INDEXED BY flows_of_channel_by_code",
        (true, false, false) => "INDEXED BY flows_of_channel",
        (false, true, _) => "INDEXED BY flows_by_reference",
        (false, false, true) => "INDEXED BY flows_by_code",
        (false, false, false) => "INDEXED BY flows_by_time",
    };
    let channel = condition(
        channel,
        "channel_id = :channel_id",
        "CAST(:channel_id AS TEXT) IS NULL",
    );
    let code = condition(code, "code = :code", "CAST(:code AS TEXT) IS NULL");
    let reference = condition(
        reference,
        "reference = :reference",
        "CAST(:reference AS TEXT) IS NULL",
    );
    let text = condition(
        filter.text.is_some(),
        CONTAINS_TEXT,
        "CAST(:text AS TEXT) IS NULL",
    );
    format!(
        "SELECT * FROM flows {index} WHERE {channel} AND {code} AND {reference} AND {text}
            AND created_at >= :from AND (created_at, id) < (:before_at, :before_id)
        ORDER BY created_at DESC, id DESC LIMIT :limit"
    )
}

/// Text that something is taken out of contained it. (SQLite and PostgreSQL have no other way to ask in common.)
const CONTAINS_TEXT: &str =
    "(replace(reference, :text, '') <> reference OR replace(project, :text, '') <> project
    OR replace(room, :text, '') <> room OR replace(payer_masked, :text, '') <> payer_masked)";

fn condition(asked: bool, when_asked: &'static str, otherwise: &'static str) -> &'static str {
    if asked { when_asked } else { otherwise }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{Cursor, FlowFilter, NotACursor, Status, Store, list_sql};

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor {
            at: 1_790_000_000_123,
            id: "587a2f4738d44391835198df570b6ee6".into(),
        };
        let text = cursor.to_string();
        assert!(text.len() <= 128);
        assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
        assert_eq!("nonsense".parse::<Cursor>(), Err(NotACursor));
        assert_eq!("".parse::<Cursor>(), Err(NotACursor));
    }

    #[test]
    fn no_filter_scans_or_sorts_the_flows() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join("sealpost.sqlite")).unwrap();
        for asked in 0..8 {
            let filter = FlowFilter {
                channel_id: (asked & 1 != 0).then(String::new),
                status: (asked & 2 != 0).then_some(Status::Signing),
                reference: (asked & 4 != 0).then(String::new),
                ..FlowFilter::default()
            };
            let mut explain = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {}", list_sql(&filter, false)))
                .unwrap();
            let mut rows = explain.raw_query();
            let mut plan = String::new();
            while let Some(step) = rows.next().unwrap() {
                plan += &step.get::<_, String>("detail").unwrap();
            }
            assert!(
                plan.contains("SEARCH flows USING INDEX"),
                "{filter:?}: {plan}"
            );
            assert!(plan.contains("(created_at,id)<(?,?)"), "{filter:?}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
    }
}
