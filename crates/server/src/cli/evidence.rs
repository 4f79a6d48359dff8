//! `sealpost evidence ID`: everything that an auditor needs to judge a flow without us, as JSON or as a sealed report.

mod check;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use sealpost_contract::SignFlowId;

use super::output;
use crate::api::evidence::{evidence, sealed_report};
use crate::app::App;
use crate::pages::lang::Lang;

pub(super) use check::check;

#[derive(Debug, Args)]
pub(super) struct EvidenceArgs {
    /// The flow's id
    id: String,
    /// Write the report as PDF/A to this file, sealed by the platform, instead of printing JSON
    #[arg(long, value_name = "FILE")]
    pdf: Option<PathBuf>,
    /// The report's language
    #[arg(long, value_enum, default_value_t = Language::Zh)]
    language: Language,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Zh,
    En,
}

pub(super) async fn run(args: EvidenceArgs, app: &App) -> anyhow::Result<ExitCode> {
    let id = SignFlowId::try_from(args.id.clone()).context("that is no flow's id")?;
    let stored = app.store().find_flow(&id).await?;
    let stored = stored.with_context(|| format!("there is no sign flow {id}"))?;
    let Some(path) = args.pdf else {
        return output::json(&evidence(app, &stored).await?);
    };
    let language = match args.language {
        Language::Zh => Lang::Zh,
        Language::En => Lang::En,
    };
    let pdf = sealed_report(app, &stored, language).await?;
    std::fs::write(&path, &pdf).with_context(|| format!("{} cannot be written", path.display()))?;
    output::line(&format!("{}: {} bytes", path.display(), pdf.len()))
}
