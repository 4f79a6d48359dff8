//! `sealpost check URL`: plays the platform against an endpoint and says, rule by rule, whether it keeps the contract.
//!
//! `cases` holds what is sent and what the contract says of it, `probe` sends, `verdict` judges (pure), `report` prints.

mod cases;
mod probe;
mod report;
mod verdict;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::Uri;
use sealpost_contract::webhook::Secret;
use sealpost_delivery::client::{Trust, tls_config};

use super::values;
use probe::Probe;
use report::{Finding, Form};
use verdict::Verdict;

/// Test whether an endpoint keeps the callback contract, by playing the platform against it.
///
/// Everything made up is marked: ids begin with 5ea1c4ec (the shortest with "check"), the file's URL is on the host
/// sealpost-check.invalid, flows ended on 2000-01-01. Only the page's own sample is sent as it stands on the page.
/// Exits with 0 if no rule is broken.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The endpoint, such as http://127.0.0.1:8090/callback
    #[arg(value_parser = values::http_url)]
    url: Uri,
    /// Test an endpoint that is not on this machine. It will be sent about a hundred requests.
    #[arg(long)]
    yes: bool,
    /// Only send what an endpoint must refuse, so that nothing is left behind.
    #[arg(long)]
    read_only: bool,
    /// The endpoint checks signatures with this secret (whsec_…): sign everything, and test that it does check.
    /// Or in WEBHOOK_SECRET.
    #[arg(long, value_name = "SECRET")]
    secret: Option<Secret>,
    /// How long the platform waits for an answer.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Also write the result to this file as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs every case; the exit code is 1 if a rule is broken.
///
/// # Errors
/// The endpoint cannot be reached at all, is not on this machine (without `--yes`), or the JUnit file cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = resolve(&args.url, args.yes).await?;
    let secret =
        values::secrets(args.secret.as_slice())?.and_then(|secrets| secrets.into_iter().next());
    let probe = Probe::new(Endpoint {
        url: args.url.clone(),
        address,
        deadline: args.timeout,
        secret,
        tls: tls_config(&Trust::load(None)?, None)?,
    });
    if let Err(reason) = probe.reach().await {
        bail!("nothing answers at {}: {reason}", args.url);
    }
    let form = if args.json { Form::Json } else { Form::Table };
    report::begin(form, &args.url);
    let mut findings: Vec<Finding> = Vec::new();
    cases::run(&probe, args.read_only, |finding| {
        report::line(form, &finding);
        findings.push(finding);
    })
    .await;
    report::end(form, &args.url, &findings);
    if !probe.signs() && findings.first().is_some_and(Finding::wants_a_signature) {
        eprintln!(
            "hint: the endpoint answers 401. If it checks signatures, give its secret in WEBHOOK_SECRET"
        );
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, report::junit(&args.url, &findings))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let breaks = findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Breaks);
    Ok(if breaks {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Where the cases are sent.
pub(crate) struct Endpoint {
    pub(crate) url: Uri,
    /// The one address that every request goes to, whatever the URL's host says.
    pub(crate) address: SocketAddr,
    /// How long the platform waits for an answer.
    pub(crate) deadline: Duration,
    /// What the endpoint checks signatures with, if it does.
    pub(crate) secret: Option<Secret>,
    /// Whom to believe, and what to show, over https.
    pub(crate) tls: rustls::ClientConfig,
}

/// Runs the cases (with `read_only`, those that leave nothing behind) for the server, and gives each finding to `found` as the
/// command prints it. The error says in words why nothing could be sent.
pub(crate) async fn check_endpoint(
    endpoint: Endpoint,
    read_only: bool,
    mut found: impl FnMut(serde_json::Value) + Send,
) -> Result<(), String> {
    let probe = Probe::new(endpoint);
    probe.reach().await?;
    cases::run(&probe, read_only, |finding| {
        found(report::to_json(&finding))
    })
    .await;
    Ok(())
}

/// The one address that everything is sent to. It is looked up once, so that what was found to be on this machine is
/// what is tested.
async fn resolve(url: &Uri, yes: bool) -> anyhow::Result<SocketAddr> {
    let host = url.host().context("the URL names no host")?;
    let addresses = addresses_of(url)
        .await
        .with_context(|| format!("{host} is not known"))?;
    let address = choose(&addresses).with_context(|| format!("{host} has no address"))?;
    ensure!(
        yes || address.ip().is_loopback(),
        "{host} ({}) is not on this machine. If it is yours to test, say --yes; with --read-only nothing is left behind",
        address.ip()
    );
    Ok(address)
}

/// All addresses of a URL's host.
pub(crate) async fn addresses_of(url: &Uri) -> std::io::Result<Vec<SocketAddr>> {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = url
        .port_u16()
        .unwrap_or(if url.scheme_str() == Some("https") {
            443
        } else {
            80
        });
    Ok(tokio::net::lookup_host((bare, port)).await?.collect())
}

/// IPv4 first: a development server that listens on one of the two usually listens on that.
pub(crate) fn choose(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let first_v4 = addresses.iter().find(|address| address.is_ipv4());
    first_v4.or_else(|| addresses.first()).copied()
}
