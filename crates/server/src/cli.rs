//! The command line: what can be typed, where the configuration comes from, and which part runs.
//!
//! `channel`, `flow` and `callbacks` open the data folder themselves, beside a running server or without one. Everything
//! that a program may want to read has `--json`. Errors go to standard error with their sources, and the exit code is 1.

mod archive;
mod ca;
mod callbacks;
mod channel;
mod evidence;
mod flow;
mod migrate;
mod operator;
mod output;
mod seal;
mod serve;
mod tsa;
pub(crate) mod verify;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::app::App;
use crate::channel_side;
use crate::config::{Config, SETTINGS, Sources};
use crate::{demo, doctor};

pub(crate) use output::{json as print_json, line as print_line, width};

/// Signs property receipts (新房收据) and tells the channels how each sign flow ended.
#[derive(Debug, Parser)]
#[command(name = "sealpost", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    settings: Flags,
    #[command(subcommand)]
    command: Command,
}

/// Settings as flags; every other one is in the file or a variable (see `sealpost settings`).
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct Flags {
    /// Configuration file [default: sealpost.toml if there is one] [variable: SEALPOST_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder [default: ./sealpost-data]
    // `receive` and `listen` have their own `--data` and `--listen`; clap wants one type for each name.
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// PostgreSQL instead of an SQLite file in the data folder: postgres://user:password@host/database
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// S3 instead of a folder for documents: s3://bucket/prefix
    #[arg(long, global = true, value_name = "URL")]
    documents: Option<String>,
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// What people and channels reach this server under
    #[arg(long, global = true, value_name = "URL")]
    public_url: Option<String>,
    /// What is logged, in tracing's filter syntax [default: info; for commands that print: warn]
    #[arg(long = "log", global = true, value_name = "FILTER")]
    log_filter: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell the whole story in the terminal: a receipt is signed and its channel is told
    Demo(demo::DemoArgs),
    /// Run the server: API, signing pages, workers and delivery
    Serve,
    /// Channel participants (渠道参与方): who creates flows and is told how they ended
    #[command(subcommand)]
    Channel(channel::ChannelCommand),
    /// Sign flows
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// Seals that are kept under a name
    #[command(subcommand)]
    Seal(seal::SealCommand),
    /// Callbacks: what is told to channels, each attempt, and sending again
    #[command(subcommand)]
    Callbacks(callbacks::CallbacksCommand),
    /// Who may use the console
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// A channel's receiver: keep callbacks, fetch and verify the file, hand it on
    Receive(Box<channel_side::receive::Args>),
    /// Does this endpoint keep the callback contract?
    Check(channel_side::check::Args),
    /// Show callbacks as they come, and forward them, while developing
    Listen(channel_side::listen::Args),
    /// Check the signatures of a PDF
    Verify(verify::VerifyArgs),
    /// Move an installation to another database, and its documents to another place
    Migrate(migrate::MigrateArgs),
    /// Renew the timestamps over completed documents before they age
    Archive(archive::ArchiveArgs),
    /// The built-in certification authority
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// The evidence of a sign flow: as JSON, or as a sealed report in Chinese or English
    Evidence(evidence::EvidenceArgs),
    /// Be a small timestamp authority (RFC 3161), for closed networks and for trying out
    Tsa(tsa::TsaArgs),
    /// Is this configuration fit to run?
    Doctor(doctor::DoctorArgs),
    /// List every setting with its variable and default
    Settings {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sealpost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    let Cli { settings, command } = cli;
    match command {
        Command::Settings { json } => output::settings(SETTINGS, json),
        Command::Demo(args) => runtime.block_on(async {
            start_log(settings.log_filter.as_deref().unwrap_or("error"), false)?;
            demo::run(args, settings.listen).await
        }),
        Command::Receive(args) => runtime.block_on(async {
            start_log(settings.log_filter.as_deref().unwrap_or("info"), false)?;
            channel_side::receive::run(*args).await
        }),
        Command::Check(args) => runtime.block_on(async {
            start_log(settings.log_filter.as_deref().unwrap_or("warn"), false)?;
            channel_side::check::run(args).await
        }),
        Command::Listen(args) => runtime.block_on(async {
            start_log(settings.log_filter.as_deref().unwrap_or("warn"), false)?;
            channel_side::listen::run(args).await
        }),
        Command::Serve => {
            let config = settings.load()?;
            start_log(&config.log.filter, config.log.json)?;
            runtime.block_on(serve::run(config))
        }
        Command::Verify(args) => {
            let config = settings.load()?;
            start_log(settings.log_filter.as_deref().unwrap_or("warn"), false)?;
            runtime.block_on(verify::run(args, &config))
        }
        Command::Migrate(args) => {
            let mut settings = settings;
            // The bucket that is named is reached as the settings say.
            if let Some(bucket) = args.bucket() {
                settings.documents = Some(bucket.to_owned());
            }
            let config = settings.load()?;
            start_log(settings.log_filter.as_deref().unwrap_or("warn"), false)?;
            runtime.block_on(migrate::run(args, &config))
        }
        Command::Doctor(args) => {
            start_log(settings.log_filter.as_deref().unwrap_or("error"), false)?;
            runtime.block_on(doctor::run(args, settings.load()))
        }
        Command::Tsa(args) => {
            runtime.block_on(async { tsa::run(args, settings.open().await?).await })
        }
        Command::Archive(args) => {
            runtime.block_on(async { archive::run(args, &settings.open().await?).await })
        }
        Command::Ca(command) => {
            runtime.block_on(async { ca::run(command, &settings.open().await?).await })
        }
        Command::Evidence(args) => {
            runtime.block_on(async { evidence::run(args, &settings.open().await?).await })
        }
        Command::Channel(command) => {
            runtime.block_on(async { channel::run(command, &settings.open().await?).await })
        }
        Command::Flow(command) => {
            runtime.block_on(async { flow::run(command, &settings.open().await?).await })
        }
        Command::Seal(command) => {
            runtime.block_on(async { seal::run(command, &settings.open().await?).await })
        }
        Command::Operator(command) => {
            runtime.block_on(async { operator::run(command, &settings.open().await?).await })
        }
        Command::Callbacks(command) => {
            runtime.block_on(async { callbacks::run(command, &settings.open().await?).await })
        }
    }
}

/// Variables that are no settings: the master secret, and what the scripts under `examples/platform` read, which one has
/// exported in the shell where one runs the program.
const NO_SETTINGS: [&str; 3] = ["SEALPOST_SECRET", "SEALPOST_KEY", "SEALPOST_URL"];

impl Flags {
    /// The configuration from the file, the environment and these flags.
    fn load(&self) -> anyhow::Result<Config> {
        let mut variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| {
                name.starts_with("SEALPOST_") && !NO_SETTINGS.contains(&name.as_str())
            })
            .collect();
        let named = variables.remove("SEALPOST_CONFIG").map(PathBuf::from);
        let flags = [
            (
                "data",
                self.data
                    .as_ref()
                    .map(|folder| folder.display().to_string()),
            ),
            ("database.url", self.database.clone()),
            ("documents.url", self.documents.clone()),
            ("listen", self.listen.as_ref().map(SocketAddr::to_string)),
            ("public_url", self.public_url.clone()),
            ("log.filter", self.log_filter.clone()),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        Ok(Config::load(&Sources {
            file: self.config.clone().or(named),
            variables,
            flags,
        })?)
    }

    /// The data folder, opened for a command that prints and ends.
    async fn open(&self) -> anyhow::Result<App> {
        start_log(self.log_filter.as_deref().unwrap_or("warn"), false)?;
        Ok(App::open(self.load()?, master_secret().as_deref()).await?)
    }
}

/// The master secret from the environment; else it is in the data folder.
pub(crate) fn master_secret() -> Option<String> {
    std::env::var("SEALPOST_SECRET").ok()
}

/// Starts logging to standard error.
fn start_log(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .with_context(|| format!("the log filter {filter:?} is wrong"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = if json {
        log.json().try_init()
    } else {
        log.try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
