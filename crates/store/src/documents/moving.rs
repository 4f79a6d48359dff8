//! Moving an installation's documents: folder to bucket, bucket to folder, or between two of a kind.
//!
//! The database says which there are: those that flows, their events and the kept seals name. Each is read from where it is to
//! go, and if it is not there, or not whole, it is read from where it was, compared with its name, and put. So a move that was
//! broken off is simply begun again, and afterwards every document that a row names is known to be there whole.
//!
//! Nothing is written where they were.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::params;
use sealpost_contract::SignFlowId;
use sealpost_flow::{Digest, Flow, Happening, Step};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{BucketOptions, Documents};
use crate::Store;
use crate::database::Connection;
use crate::error::{Error, Result};

/// Flows whose documents are looked up at once; after each such step `heard` is told.
const STEP: u32 = 200;

/// Documents on their way at one moment; each is held in memory.
const AT_ONCE: usize = 8;

/// Digests that are remembered as done: a seal's picture is named by every flow that it is on.
const REMEMBERED: usize = 10_000;

/// Documents that a source may refuse before it has given any.
const IN_DOUBT: usize = 100;

/// Lost documents that are named; there may be more.
const NAMED: usize = 20;

/// A place for documents.
#[derive(Debug, Clone)]
pub enum DocumentsAt {
    /// A folder; where documents go, it is made if it is missing.
    Folder(PathBuf),
    /// A bucket.
    Bucket(BucketOptions),
}

impl DocumentsAt {
    fn open_to_read(&self) -> Result<Arc<Documents>> {
        let documents = match self {
            DocumentsAt::Folder(folder) => Documents::folder_to_read(folder),
            DocumentsAt::Bucket(options) => Documents::bucket(options),
        };
        documents.map(Arc::new)
    }

    fn open_to_write(&self) -> Result<Arc<Documents>> {
        let documents = match self {
            DocumentsAt::Folder(folder) => Documents::folder(folder),
            DocumentsAt::Bucket(options) => Documents::bucket(options),
        };
        documents.map(Arc::new)
    }

    /// Whether both are one, however they are written. A copy of a folder is another folder, although the file by which nodes know
    /// theirs is copied with it.
    fn is(&self, other: &DocumentsAt) -> Result<bool> {
        let canonical = |folder: &Path| {
            let found = fs::canonicalize(folder);
            found.map_err(|error| Error::file("find", folder, error))
        };
        match (self, other) {
            (DocumentsAt::Folder(one), DocumentsAt::Folder(two)) => {
                Ok(canonical(one)? == canonical(two)?)
            }
            (DocumentsAt::Bucket(one), DocumentsAt::Bucket(two)) => Ok(one.place() == two.place()),
            (DocumentsAt::Folder(_), DocumentsAt::Bucket(_))
            | (DocumentsAt::Bucket(_), DocumentsAt::Folder(_)) => Ok(false),
        }
    }
}

/// How far a move has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MovedDocuments {
    /// Flows gone through.
    pub flows: u64,
    /// Documents that were put where they go.
    pub copied: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Documents that were there whole.
    pub there: u64,
    /// Documents that a row names and that are missing or damaged in both places. A bucket that denies access to a document and
    /// gives others has not got it.
    pub lost: u64,
    /// The first of these, with what is wrong.
    pub lost_first: Vec<String>,
}

impl Store {
    /// Puts every document that this store's database names from one place into another. `heard` is told how far it has come.
    /// What this store itself keeps documents in does not matter. The first place is only read.
    ///
    /// # Errors
    /// Either place or the database fails, or both places are one, or a bucket refuses. Then it can be done again. Documents that
    /// are lost are no error but counted.
    pub async fn move_documents(
        &self,
        from: &DocumentsAt,
        to: &DocumentsAt,
        mut heard: impl FnMut(&MovedDocuments) + Send,
    ) -> Result<MovedDocuments> {
        let (source, target) = (from.open_to_read()?, to.open_to_write()?);
        if from.is(to)? {
            return Err(Error::SamePlace);
        }
        let mut moving = Moving {
            from: source,
            to: target,
            answers: false,
            whole: None,
            in_doubt: Vec::new(),
            done: HashSet::new(),
            moved: MovedDocuments::default(),
            under_way: JoinSet::new(),
        };
        for digest in self.documents_of_seals().await? {
            moving.bring(digest).await?;
        }
        let mut after = String::new();
        loop {
            let flows = self.flows_with_documents(after, STEP).await?;
            let last = flows.len() < STEP as usize;
            after = flows
                .last()
                .map_or_else(String::new, |named| named.flow.as_str().to_owned());
            for named in flows {
                let mut documents = named.documents;
                for event in self.events(&named.flow).await? {
                    documents.extend(of_event(&event.event.what));
                }
                for digest in documents {
                    moving.bring(digest).await?;
                }
                moving.moved.flows += 1;
            }
            // What is told is done.
            moving.settle(0).await?;
            moving.judge(last).await?;
            heard(&moving.moved);
            if last {
                return Ok(moving.moved);
            }
        }
    }

    async fn flows_with_documents(&self, after: String, limit: u32) -> Result<Vec<Named>> {
        let read = move |connection: &Connection| {
            let sql = "SELECT body, details FROM flows WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_and_then(params![after, limit], |row| {
                let body: String = row.get("body")?;
                let flow: Flow = serde_json::from_str(&body)
                    .map_err(|error| Error::undecodable("flow", error))?;
                let mut documents = of_flow(&flow);
                let details: Option<String> = row.get("details")?;
                documents.extend(details.as_deref().map(pictures_in).unwrap_or_default());
                Ok(Named {
                    documents,
                    flow: flow.id,
                })
            })?;
            rows.collect()
        };
        self.database.read(read).await
    }

    async fn documents_of_seals(&self) -> Result<BTreeSet<Digest>> {
        let seals = self.seals(None).await?;
        Ok(seals
            .iter()
            .flat_map(|seal| pictures_in(&seal.spec))
            .collect())
    }
}

/// The documents that a flow names, but for those that only its events do.
struct Named {
    flow: SignFlowId,
    documents: BTreeSet<Digest>,
}

fn of_flow(flow: &Flow) -> BTreeSet<Digest> {
    let mut named = BTreeSet::from([flow.original, flow.document]);
    named.extend(flow.archived);
    for signer in &flow.signers {
        match &signer.step {
            Step::Signed { intent } => named.extend(intent.mark),
            Step::Applied {
                intent, document, ..
            } => {
                named.insert(*document);
                named.extend(intent.mark);
            }
            Step::Waiting | Step::Open { .. } | Step::Rejected { .. } => {}
        }
    }
    named
}

fn of_event(what: &Happening) -> Vec<Digest> {
    match what {
        Happening::Created { document, .. }
        | Happening::Applied { document, .. }
        | Happening::Preserved { document, .. }
        | Happening::Completed { document } => vec![*document],
        Happening::Signed { mark, document, .. } => {
            mark.iter().chain([document]).copied().collect()
        }
        // Named one by one, so that whoever adds an event thinks of its documents.
        Happening::Started
        | Happening::Opened { .. }
        | Happening::Viewed { .. }
        | Happening::Reminded { .. }
        | Happening::Notified { .. }
        | Happening::Authenticated { .. }
        | Happening::Agreed { .. }
        | Happening::Downgraded { .. }
        | Happening::SealingFailed { .. }
        | Happening::Revoked { .. }
        | Happening::Expired
        | Happening::Rejected { .. } => Vec::new(),
    }
}

/// The pictures of seals in what the server keeps as JSON: every member `png`. Other texts may look like a digest and be a channel's
/// own words. Nothing of what is no JSON.
fn pictures_in(json: &str) -> BTreeSet<Digest> {
    fn walk(value: &Value, found: &mut BTreeSet<Digest>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            Value::Object(members) => {
                let picture = members.get("png").and_then(Value::as_str);
                found.extend(picture.and_then(|text| text.parse::<Digest>().ok()));
                members.values().for_each(|value| walk(value, found));
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    if let Ok(value) = serde_json::from_str(json) {
        walk(&value, &mut found);
    }
    found
}

/// A move under way.
struct Moving {
    from: Arc<Documents>,
    to: Arc<Documents>,
    /// The source has been found to give what it has.
    answers: bool,
    /// A document that is whole where it goes, and so perhaps where it was.
    whole: Option<Digest>,
    /// What the source refused before that, at most [`IN_DOUBT`].
    in_doubt: Vec<(Digest, Error)>,
    done: HashSet<Digest>,
    moved: MovedDocuments,
    under_way: JoinSet<Result<Brought>>,
}

/// What became of a document.
enum Brought {
    There(Digest),
    Copied(u64),
    Lost(String),
    /// The source denies access to it, which S3 also says of what is not there to whoever may not list the bucket.
    Denied(Digest, Error),
}

impl Moving {
    /// Begins to bring a document, once there is room for one more.
    async fn bring(&mut self, digest: Digest) -> Result<()> {
        if self.done.len() >= REMEMBERED {
            self.done.clear();
        }
        if !self.done.insert(digest) {
            return Ok(());
        }
        self.settle(AT_ONCE - 1).await?;
        let (from, to) = (Arc::clone(&self.from), Arc::clone(&self.to));
        self.under_way
            .spawn(async move { bring(&from, &to, digest).await });
        Ok(())
    }

    /// Waits until no more than so many are on their way.
    async fn settle(&mut self, left: usize) -> Result<()> {
        while self.under_way.len() > left {
            let Some(brought) = self.under_way.join_next().await else {
                return Ok(());
            };
            match brought.map_err(|_| Error::Stopped)?? {
                Brought::There(digest) => {
                    self.whole = Some(digest);
                    self.moved.there += 1;
                }
                Brought::Copied(bytes) => {
                    self.answers = true;
                    self.moved.copied += 1;
                    self.moved.bytes += bytes;
                }
                Brought::Lost(what) => {
                    self.answers = true;
                    self.lose(what);
                }
                Brought::Denied(digest, error) => {
                    self.in_doubt.push((digest, error));
                    if self.in_doubt.len() >= IN_DOUBT {
                        self.judge(true).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What the source has refused is lost once it has given something else. If it is not known to, and it is `time` to know, the
    /// whole of it is taken to be refused.
    async fn judge(&mut self, time: bool) -> Result<()> {
        if self.in_doubt.is_empty() {
            return Ok(());
        }
        if let (false, Some(whole)) = (self.answers, self.whole) {
            self.answers = self.from.read(&whole).await.is_ok();
        }
        if self.answers {
            for (digest, error) in std::mem::take(&mut self.in_doubt) {
                self.lose(format!("document {digest} is missing: {error}"));
            }
        } else if time {
            return Err(self.in_doubt.swap_remove(0).1);
        }
        Ok(())
    }

    fn lose(&mut self, what: String) {
        self.moved.lost += 1;
        if self.moved.lost_first.len() < NAMED {
            self.moved.lost_first.push(what);
        }
    }
}

async fn bring(from: &Documents, to: &Documents, digest: Digest) -> Result<Brought> {
    match to.read(&digest).await {
        Ok(_) => return Ok(Brought::There(digest)),
        Err(Error::DocumentMissing(_) | Error::DocumentDamaged(_)) => {}
        // Whether it is forbidden indeed, putting shows.
        Err(error) if error.is_access_denied() => {}
        Err(error) => return Err(error),
    }
    let bytes = match from.read(&digest).await {
        Ok(bytes) => bytes,
        Err(error @ (Error::DocumentMissing(_) | Error::DocumentDamaged(_))) => {
            return Ok(Brought::Lost(error.to_string()));
        }
        Err(error) if error.is_access_denied() => return Ok(Brought::Denied(digest, error)),
        Err(error) => return Err(error),
    };
    let length = bytes.len() as u64;
    to.put(bytes).await?;
    Ok(Brought::Copied(length))
}
