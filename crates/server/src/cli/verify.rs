//! `sealpost verify FILE.pdf`: who signed, and whether it holds.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use sealpost_pdf::verify::{Clock, SignatureReport};
use sealpost_pdf::{Trust, Verdict};
use serde_json::json;

use super::{evidence, output};
use crate::app::App;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The PDF
    file: PathBuf,
    /// Trust the certificates in this PEM file instead of this installation's built-in authority
    #[arg(long, value_name = "PEM")]
    trust: Vec<PathBuf>,
    /// Recompute this evidence (JSON, from /v1/sign-flows/{id}/evidence) and check it against the PDF
    #[arg(long, value_name = "JSON")]
    evidence: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exits with 0 when every signature is valid and the evidence, where it is given, holds; with 1 otherwise.
pub(super) async fn run(args: VerifyArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let pdf = std::fs::read(&args.file)
        .with_context(|| format!("{} cannot be read", args.file.display()))?;
    let trust = trust(&args, config).await?;
    let now = crate::clock::system_now();
    let report = sealpost_pdf::verify(&pdf, &trust, now)
        .with_context(|| format!("{} cannot be verified", args.file.display()))?;
    let evidence = match &args.evidence {
        None => Ok(()),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            let evidence = serde_json::from_str(&text)
                .with_context(|| format!("{} is no JSON", path.display()))?;
            evidence::check(&evidence, &report)
        }
    };
    if args.json {
        let mut shown = crate::api::verify::shown(&report);
        if args.evidence.is_some() {
            shown["evidence"] =
                json!({ "holds": evidence.is_ok(), "reason": evidence.as_ref().err() });
        }
        output::json(&shown)?;
    } else {
        output::line(&format!(
            "{}: {}\nSHA-256 {}",
            args.file.display(),
            word(report.verdict),
            report.file_sha256
        ))?;
        match &evidence {
            Err(reason) => output::line(&format!("evidence: does not hold: {reason}"))?,
            Ok(()) if args.evidence.is_some() => output::line(
                "evidence: recomputed; it is this PDF's, and nothing in it was changed",
            )?,
            Ok(()) => ExitCode::SUCCESS,
        };
        for signature in &report.signatures {
            let signer = signature
                .signer
                .as_ref()
                .map_or("unknown", |signer| signer.subject.as_str());
            let at = signature
                .signed_at
                .map(crate::api::time)
                .unwrap_or_else(|| "no time".to_owned());
            let clock = match signature.clock {
                Clock::TimestampAuthority => "a timestamp authority's clock",
                Clock::Signer => "the signer's own clock",
                Clock::None => "no clock",
            };
            output::line(&format!(
                "\n{}  {}\n  signer     {signer}\n  signed at  {at}, by {clock}\n  level      {}\n  revoked    {}",
                signature.field,
                word(signature.verdict),
                level(signature),
                word(signature.revocation.status)
            ))?;
            for finding in &signature.findings {
                output::line(&format!("  {}: {}", word(finding.severity), finding.detail))?;
            }
        }
    }
    Ok(if report.verdict == Verdict::Valid && evidence.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The PAdES level as the standard spells it.
pub(crate) fn level(signature: &SignatureReport) -> String {
    word(signature.level)
}

/// A verdict, a state, a level … in the word that the API has for it.
fn word(value: impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).unwrap_or_default();
    word.as_str().unwrap_or("none").replace('_', " ")
}

/// The certificates that are named; else what the server over the data folder trusts, if there is one.
async fn trust(args: &VerifyArgs, config: &Config) -> anyhow::Result<Trust> {
    let mut roots = Vec::new();
    for path in &args.trust {
        let pem =
            std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let found = pem_certificates(&pem);
        anyhow::ensure!(
            !found.is_empty(),
            "{} holds no certificate in PEM",
            path.display()
        );
        roots.extend(found);
    }
    if args.trust.is_empty() && config.data.exists() {
        let app = App::open(config.clone(), super::master_secret().as_deref()).await?;
        // A key that cannot be opened at this moment is only a root less.
        if let Err(error) = app.open_operator_keys().await {
            tracing::warn!(%error, "an own seal key cannot be opened");
        }
        return Ok(app.trust_and_revocations().await?);
    }
    Ok(Trust::roots(roots))
}

fn pem_certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .map(|der| der.to_vec())
        .collect()
}
