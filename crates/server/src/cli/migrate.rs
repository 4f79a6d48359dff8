//! `sealpost migrate`: moves an installation to another database.
//!
//! Documents, the master secret and everything else in the data folder stay where they are.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use sealpost_store::{CopiedTable, CopyPlan, PostgresOptions, Store};

use super::output;
use crate::clock::Clock;
use crate::config::Config;
use crate::server;

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Where the data is: sqlite:///path/to/data-folder, or postgres://user@host/database
    #[arg(long, value_name = "URL")]
    from: String,
    /// Where it goes: an empty database, or one that an earlier run has not finished
    #[arg(long, value_name = "URL")]
    to: String,
    /// Copy while a server runs over the source: a last run without this, when it is stopped, brings what has changed since
    #[arg(long)]
    running: bool,
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

    /// Opens it. Of a PostgreSQL database the documents are in the data folder.
    fn open(&self, config: &Config) -> anyhow::Result<Store> {
        match self {
            Place::Folder(folder) => Ok(Store::open(folder)?),
            Place::Postgres(url) => {
                let mut options = config
                    .database
                    .clone()
                    .unwrap_or_else(|| PostgresOptions::new(url.as_str()));
                options.url.clone_from(url);
                options.sessions = 2;
                Ok(Store::open_postgres(options, &config.data)?)
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
    let (from, to) = (Place::parse(&args.from)?, Place::parse(&args.to)?);
    if let Place::Folder(folder) = &from {
        ensure!(
            folder.join("sealpost.sqlite").is_file(),
            "there is no database in {}",
            folder.display()
        );
    }
    // Held to the end, so that no server begins meanwhile.
    let _locks = [&from, &to]
        .into_iter()
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
    let target = to.open(config).context("the target cannot be opened")?;
    let plan = CopyPlan {
        source: from.name(),
        last: !args.running,
        now,
    };
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
    output::line(&if args.running {
        format!(
            "copied as of the beginning. {} is not to be used yet: stop the server and run this once more without --running",
            to.name()
        )
    } else {
        format!(
            "moved to {}: every table and every hash chain was compared. Documents and secret.key stay in the data folder",
            to.name()
        )
    })?;
    Ok(ExitCode::SUCCESS)
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
