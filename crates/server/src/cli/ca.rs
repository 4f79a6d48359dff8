//! `sealpost ca …`: the built-in certification authority: its certificate, what it has certified for years, and taking that back.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output;
use crate::api::time;
use crate::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Print the authority's certificate (PEM), which verifiers trust
    Certificate,
    /// Revoke a certificate from now on; the revocation list says so at once
    Revoke(RevokeArgs),
    /// List what was revoked
    Revoked {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct RevokeArgs {
    /// The organization whose certificate is revoked; it gets a new one with its next seal
    #[arg(required_unless_present = "serial", conflicts_with = "serial")]
    organization: Option<String>,
    /// The serial number of any certificate of the authority, in hex, as `flow show` and the evidence have it
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// Why, for the record; superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn and keyCompromise (RFC 5280)
    /// also stand in the published list
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn run(command: CaCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        CaCommand::Certificate => output::line(app.authority_pem().trim_end()),
        CaCommand::Revoke(args) => revoke(args, app).await,
        CaCommand::Revoked { json } => revoked(app, json).await,
    }
}

async fn revoke(args: RevokeArgs, app: &App) -> anyhow::Result<ExitCode> {
    let (serial, subject) = match (args.organization, args.serial) {
        (Some(name), _) => {
            let found = app.find_organization_certificate(&name).await?;
            found.ok_or_else(|| anyhow::anyhow!("{name} has no certificate here"))?
        }
        (None, Some(serial)) => {
            let serial = serial.to_ascii_lowercase();
            let is_hex = hex::decode(&serial).is_ok_and(|bytes| (1..=20).contains(&bytes.len()));
            anyhow::ensure!(is_hex, "{serial} is no serial number in hex");
            (serial, String::new())
        }
        (None, None) => anyhow::bail!("name an organization or a serial number"),
    };
    let is_new = app
        .revoke_certificate(serial.clone(), subject.clone(), args.reason)
        .await?;
    let said = if is_new {
        "is revoked"
    } else {
        "was revoked before"
    };
    output::line(&format!(
        "{serial} {subject} {said}; the list is at {}/pki/root.crl",
        app.public_url()
    ))
}

async fn revoked(app: &App, as_json: bool) -> anyhow::Result<ExitCode> {
    let all = app.store().revoked_certificates().await?;
    if as_json {
        let all = all.iter().map(|one| {
            json!({
                "serial": one.serial,
                "subject": one.subject,
                "reason": one.reason,
                "revoked_at": time(one.revoked_at),
            })
        });
        return output::json(&all.collect());
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|one| {
            vec![
                time(one.revoked_at),
                one.serial,
                one.subject,
                one.reason.unwrap_or_default(),
            ]
        })
        .collect();
    output::table(&["SINCE", "SERIAL", "SUBJECT", "REASON"], &rows)
}
