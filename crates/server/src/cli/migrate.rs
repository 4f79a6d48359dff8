//! `sealpost migrate`: moves an installation to another database, its documents to another place, or both.
//!
//! The master secret and everything else in the data folder stay where they are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use sealpost_store::{
    BucketOptions, CopiedTable, CopyPlan, DocumentsAt, MovedDocuments, PostgresOptions, Store,
};

use super::output;
use crate::bucket;
use crate::clock::Clock;
use crate::config::Config;
use crate::server;

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").args(["from", "documents_from"]).required(true).multiple(true)))]
pub(super) struct MigrateArgs {
    /// Where the data is: sqlite:///path/to/data-folder, or postgres://user@host/database
    #[arg(long, value_name = "URL", requires = "to")]
    from: Option<String>,
    /// Where it goes: an empty database, or one that an earlier run has not finished
    #[arg(long, value_name = "URL", requires = "from")]
    to: Option<String>,
    /// Where the documents are (it is only read): a folder, or s3://bucket/prefix, reached as the settings documents.* say
    #[arg(long, value_name = "PLACE", requires = "documents_to")]
    documents_from: Option<String>,
    /// Where they go, likewise: those that the database (of --from, or else of the settings) names
    #[arg(long, value_name = "PLACE", requires = "documents_from")]
    documents_to: Option<String>,
    /// Copy while a server runs over the source: a last run without this, when it is stopped, brings what has changed since
    #[arg(long)]
    running: bool,
}

impl MigrateArgs {
    /// The bucket that documents go to, or else come from.
    pub(super) fn bucket(&self) -> Option<&str> {
        [&self.documents_to, &self.documents_from]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .find(|place| place.starts_with("s3://"))
    }
}

/// The documents that are moved.
struct Documents {
    from: DocumentsAt,
    to: DocumentsAt,
}

impl Documents {
    fn parse(from: &str, to: &str, config: &Config) -> anyhow::Result<Documents> {
        let from = documents_at(from, config)?;
        if let DocumentsAt::Folder(folder) = &from {
            ensure!(folder.is_dir(), "there is no folder {}", folder.display());
        }
        let to = documents_at(to, config)?;
        Ok(Documents { from, to })
    }
}

fn documents_at(place: &str, config: &Config) -> anyhow::Result<DocumentsAt> {
    if place.starts_with("s3://") {
        let named = BucketOptions::parse(place)
            .with_context(|| format!("{place:?} is no place for documents"))?;
        let mut options = config.documents.clone().unwrap_or_else(|| named.clone());
        (options.bucket, options.prefix) = (named.bucket, named.prefix);
        return Ok(DocumentsAt::Bucket(options));
    }
    let folder = Path::new(place);
    ensure!(
        !place.contains("://"),
        "documents are in a folder or in s3://bucket/prefix"
    );
    ensure!(
        !folder.join("sealpost.sqlite").exists() && !folder.join("secret.key").exists(),
        "{place} is a data folder; its documents are in {}",
        folder.join("documents").display()
    );
    Ok(DocumentsAt::Folder(folder.to_owned()))
}

/// A database as it is named on the command line.
enum Place {
    Folder(PathBuf),
    Postgres(String),
}

impl Place {
    fn parse(url: &str) -> anyhow::Result<Place> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            let path = Path::new(path);
            let folder = match path.file_name() {
                Some(name) if name == "sealpost.sqlite" => path.parent().unwrap_or(path),
                _ => path,
            };
            ensure!(
                folder.as_os_str() != "",
                "sqlite:// must be followed by the data folder"
            );
            return Ok(Place::Folder(folder.to_owned()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Place::Postgres(url.to_owned()));
        }
        // What was given may hold a password, so it is not repeated.
        bail!("a database is named by sqlite:// and its folder, or by postgres://")
    }

    /// Opens it. Documents are neither read nor kept through it.
    fn open(&self, config: &Config) -> anyhow::Result<Store> {
        let bucket = config.documents.as_ref();
        match self {
            Place::Folder(folder) => Ok(Store::open_with(folder, None, bucket)?),
            Place::Postgres(url) => {
                let mut options = config
                    .database
                    .clone()
                    .unwrap_or_else(|| PostgresOptions::new(url.as_str()));
                options.url.clone_from(url);
                options.sessions = 2;
                Ok(Store::open_with(&config.data, Some(options), bucket)?)
            }
        }
    }

    /// For people; without a password.
    fn name(&self) -> String {
        match self {
            Place::Folder(folder) => folder.join("sealpost.sqlite").display().to_string(),
            Place::Postgres(url) => {
                let server = url.rsplit_once('@').map_or("", |(_, server)| server);
                format!("PostgreSQL {}", server.split('?').next().unwrap_or(""))
            }
        }
    }
}

pub(super) async fn run(args: MigrateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let from = match &args.from {
        Some(url) => Place::parse(url)?,
        None => match &config.database {
            Some(options) => Place::Postgres(options.url.clone()),
            None => Place::Folder(config.data.clone()),
        },
    };
    let to = args.to.as_deref().map(Place::parse).transpose()?;
    let documents = match (&args.documents_from, &args.documents_to) {
        (Some(from), Some(to)) => Some(Documents::parse(from, to, config)?),
        _ => None,
    };
    if let Place::Folder(folder) = &from {
        ensure!(
            folder.join("sealpost.sqlite").is_file(),
            "there is no database in {}",
            folder.display()
        );
    }
    // Held to the end, so that no server begins meanwhile.
    let _locks = [Some(&from), to.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|place| match place {
            Place::Folder(folder) if folder.is_dir() && !args.running => Some(folder),
            _ => None,
        })
        .map(|folder| server::lock(folder))
        .collect::<Result<Vec<_>, _>>()
        .context("stop it first, or say --running and run this once more when it is stopped")?;
    let source = from.open(config).context("the source cannot be opened")?;
    let now = Clock::default().now();
    if !args.running
        && let Some(node) = source.nodes(now).await?.first()
    {
        bail!(
            "{} is running over the source: stop it first, or say --running and run this once more when it is stopped",
            node.name
        );
    }
    // First the documents: what the database names must be there once it is used.
    if let Some(documents) = documents
        && !move_documents(&source, &documents, args.running).await?
    {
        return Ok(ExitCode::FAILURE);
    }
    if let Some(to) = to {
        let plan = CopyPlan {
            source: from.name(),
            last: !args.running,
            now,
        };
        move_data(&source, &to, plan, config).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn move_data(
    source: &Store,
    to: &Place,
    plan: CopyPlan,
    config: &Config,
) -> anyhow::Result<()> {
    let target = to.open(config).context("the target cannot be opened")?;
    let last = plan.last;
    let told = |table: &CopiedTable| {
        let CopiedTable {
            table,
            rows,
            written,
            digest,
        } = table;
        // Whoever reads along may have gone; the copy goes on.
        let _ = output::line(&format!(
            "{table:<22}{rows:>12} rows{written:>12} written  {digest}"
        ));
    };
    source.copy_into(&target, plan, told).await?;
    let told = if last {
        format!(
            "moved to {}: every table and every hash chain was compared. secret.key stays in the data folder, and documents where they are now",
            to.name()
        )
    } else {
        format!(
            "copied as of the beginning. {} is not to be used yet: stop the server and run this once more without --running",
            to.name()
        )
    };
    output::line(&told)?;
    Ok(())
}

/// Whether all are there now.
async fn move_documents(
    source: &Store,
    documents: &Documents,
    running: bool,
) -> anyhow::Result<bool> {
    let told = |moved: &MovedDocuments| {
        let MovedDocuments {
            flows,
            copied,
            bytes,
            there,
            ..
        } = moved;
        // As above.
        let _ = output::line(&format!(
            "{flows:>12} flows{copied:>12} documents copied ({bytes} bytes){there:>12} were there"
        ));
    };
    let moved = source
        .move_documents(&documents.from, &documents.to, told)
        .await
        .map_err(|error| match error.refused_for() {
            "" => anyhow::Error::new(error),
            reason => anyhow!("{error}; {}", bucket::advice(reason)),
        })
        .context("the documents are not all moved; run the same again")?;
    for lost in &moved.lost_first {
        output::line(&format!("lost: {lost}"))?;
    }
    if moved.lost > 0 {
        let lost = moved.lost;
        output::line(&format!(
            "{lost} documents that the database names are missing or damaged in both places; every other is there"
        ))?;
        return Ok(false);
    }
    output::line(if running {
        "every document that the database named is there. Stop the server and run this once more without --running"
    } else {
        "every document that the database names is there, and was compared with its digest"
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_password_is_not_shown() {
        let place = Place::parse("postgres://a:hush@host:5432/db?sslmode=require").unwrap();
        assert_eq!(place.name(), "PostgreSQL host:5432/db");
        let error = Place::parse("mysql://a:hush@host/db").err().unwrap();
        assert!(!error.to_string().contains("hush"));
    }

    #[test]
    fn a_folder_or_the_file_in_it() {
        for url in ["sqlite:///a/b", "sqlite:///a/b/sealpost.sqlite"] {
            assert_eq!(Place::parse(url).unwrap().name(), "/a/b/sealpost.sqlite");
        }
        assert!(Place::parse("sqlite://").is_err());
    }
}
