//! `sealpost seal …`: seals that are kept under a name, for one channel or for all.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::{channel, output};
use crate::api::seals::shown;
use crate::app::App;
use crate::app::seals::{KeptSeal, PICTURE_MM, Seal, WantedSeal};

#[derive(Debug, Subcommand)]
pub(super) enum SealCommand {
    /// Keep a seal; flows name it by the id that is printed
    Add(AddArgs),
    /// List the seals that are kept
    List {
        /// Only those that this channel may use (its name or id)
        #[arg(long)]
        channel: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a picture of a seal
    Preview {
        /// The seal's id
        id: String,
        /// Where the PNG goes
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Its width in pixels
        #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(50..=2400))]
        width: u32,
    },
    /// Forget a seal; flows that use it go on with it
    Remove {
        /// The seal's id
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// What it is listed under, 1 to 64 characters
    label: String,
    /// What kind of seal it is
    #[arg(long, value_enum)]
    kind: Kind,
    /// The organization's or the person's name on it; a picture has none
    #[arg(long, required_unless_present = "picture")]
    name: Option<String>,
    /// Company and oval seals: what stands below
    #[arg(long)]
    legend: Option<String>,
    /// Oval seals: what stands in the middle
    #[arg(long)]
    number: Option<String>,
    /// Your own picture, a PNG
    #[arg(long, value_name = "FILE", required_if_eq("kind", "picture"))]
    picture: Option<PathBuf>,
    /// The picture's width on paper, 5 to 100
    #[arg(long, value_name = "MILLIMETRES", default_value_t = PICTURE_MM)]
    width_mm: f64,
    /// The only channel that may use it (its name or id)
    #[arg(long)]
    channel: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Round, 38 mm
    Company,
    /// 财务专用章, round
    Finance,
    /// 合同专用章, round
    Contract,
    /// 45 × 30 mm
    Oval,
    /// A person's square name seal, 18 mm
    Name,
    /// Your own PNG
    Picture,
}

pub(super) async fn run(command: SealCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        SealCommand::Add(args) => add(args, app).await,
        SealCommand::List { channel, json } => list(channel.as_deref(), json, app).await,
        SealCommand::Preview { id, out, width } => {
            let kept = find(app, &id).await?;
            let png = app.seal_png(&kept.seal, width).await?;
            std::fs::write(&out, png)
                .with_context(|| format!("{} cannot be written", out.display()))?;
            output::line(&format!("written to {}", out.display()))
        }
        SealCommand::Remove { id } => {
            if !app.remove_seal(&id).await? {
                bail!("there is no seal {id:?}");
            }
            output::line("removed")
        }
    }
}

async fn add(args: AddArgs, app: &App) -> anyhow::Result<ExitCode> {
    let channel = match &args.channel {
        Some(channel) => Some(channel::named(app, channel).await?),
        None => None,
    };
    let (as_json, label) = (args.json, args.label.trim().to_owned());
    let wanted = wanted(args)?;
    let owner = channel.as_ref().map(|channel| channel.id.as_str());
    let kept = app.add_seal(owner, &label, &wanted).await?;
    if as_json {
        return output::json(&shown(&kept));
    }
    output::line(&format!("{}  {}", kept.id, kept.label))
}

fn wanted(args: AddArgs) -> anyhow::Result<WantedSeal> {
    let name = args.name.unwrap_or_default();
    let seal = match args.kind {
        Kind::Company => Seal::Company {
            organization: name,
            legend: args.legend,
        },
        Kind::Finance => Seal::Finance { organization: name },
        Kind::Contract => Seal::Contract { organization: name },
        Kind::Oval => Seal::Oval {
            organization: name,
            number: args.number,
            legend: args.legend,
        },
        Kind::Name => Seal::Name { name },
        Kind::Picture => {
            let file = args.picture.context("a picture needs --picture FILE")?;
            let png = std::fs::read(&file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            return Ok(WantedSeal::picture(png.into(), args.width_mm));
        }
    };
    Ok(seal.into())
}

async fn list(channel: Option<&str>, as_json: bool, app: &App) -> anyhow::Result<ExitCode> {
    let channel = match channel {
        Some(channel) => Some(channel::named(app, channel).await?.id),
        None => None,
    };
    let kept = app.seals(channel.as_deref()).await?;
    if as_json {
        return output::json(&kept.iter().map(shown).collect());
    }
    let rows: Vec<Vec<String>> = kept
        .into_iter()
        .map(|kept| {
            let owner = kept.channel_id.unwrap_or_else(|| "all".to_owned());
            vec![kept.label, kept.id, kept.seal.kind().to_owned(), owner]
        })
        .collect();
    output::table(&["LABEL", "ID", "KIND", "CHANNEL"], &rows)
}

async fn find(app: &App, id: &str) -> anyhow::Result<KeptSeal> {
    app.find_seal(None, id)
        .await?
        .with_context(|| format!("there is no seal {id:?}; `sealpost seal list` shows them"))
}
