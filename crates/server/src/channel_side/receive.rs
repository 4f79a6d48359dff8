//! `sealpost receive`: a channel's receiver without writing code.
//!
//! A callback is kept on disk before it is answered `000`. Afterwards, in the background and for as long as it takes:
//! the signed file is fetched, its signatures are verified, the verdict is recorded, and the result is handed on.

mod faults;
mod folder;
mod pipeline;
mod record;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Uri};
use hyper::body::Incoming;
use sealpost_contract::webhook::Secret;
use sealpost_delivery::guard::{IpRange, Policy};
use sealpost_receiver::{Receiver, SqliteInbox};
use tower::Service as _;

use super::{values, wire};
use faults::Faults;
use folder::Folder;
use pipeline::Pipeline;

/// Receive callbacks: keep each on disk, fetch and verify its file, hand it on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The path that callbacks are sent to.
    #[arg(long, value_name = "PATH", default_value = "/callback", value_parser = values::path)]
    path: String,
    /// The folder that keeps everything; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "sealpost-received")]
    data: PathBuf,
    /// Only accept callbacks signed with this secret (whsec_…); twice while it is being rotated. Better given in
    /// WEBHOOK_SECRET (separated by spaces), where other users of the machine cannot see it.
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<Secret>,

    /// Do not fetch the signed file.
    #[arg(long)]
    no_fetch: bool,
    /// The largest file to fetch, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_file: u16,
    /// How long fetching may take at each attempt.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::duration)]
    fetch_timeout: Duration,
    /// Attempts at fetching before the result is handed on without the file (1 s, 2 s, 4 s, … up to 10 minutes apart).
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    fetch_attempts: u32,
    /// Also fetch from addresses in this range (127.0.0.0/8, 10.0.0.0/8, …). Unless allowed, addresses that are not
    /// public are refused, since the URL comes from outside.
    #[arg(long = "allow", value_name = "RANGE")]
    allow: Vec<IpRange>,
    /// Fetch from this port, and from no other that is not given as well; else from every port but those on which something
    /// else than HTTP listens (mail, shells, … the bad ports of the Fetch Standard).
    #[arg(long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// Certificates (PEM) of authorities whose signatures count as valid; may be given several times.
    #[arg(long = "trust", value_name = "FILE")]
    trust: Vec<PathBuf>,

    /// POST each result as JSON to this URL, until it answers 2xx.
    #[arg(long, value_name = "URL", value_parser = values::http_url)]
    forward: Option<Uri>,
    /// Run this command (by `sh -c`) for each result, with the JSON on its standard input, until it exits with 0.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,

    /// Show what is kept, what waits and what failed; do not listen.
    #[arg(long)]
    status: bool,
    /// With --status: print JSON.
    #[arg(long, requires = "status")]
    json: bool,
    /// Before listening: fetch again what could not be fetched.
    #[arg(long, conflicts_with = "status")]
    retry_failed: bool,

    #[command(flatten)]
    faults: faults::FaultArgs,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// What stops it from starting: the folder is in use or unusable, the address is taken, a certificate is none.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.status {
        status::print(&args.data, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = Folder::open(&args.data)?;
    let inbox = SqliteInbox::open(folder.inbox())
        .with_context(|| format!("cannot open the inbox {}", folder.inbox().display()))?;
    // The folder's lock says that no other process is at work here.
    inbox
        .release_claims()
        .await
        .context("cannot write to the inbox")?;
    if args.retry_failed {
        retry_failed(&folder, &inbox).await?;
    }

    let pipeline = Pipeline::new(&args, folder.clone())?;
    let mut receiver = Receiver::new(inbox, pipeline)
        .answer_once_kept()
        // Fetching, verifying and handing on have limits of their own; this one is for what nobody thought of.
        .handler_limit(args.fetch_timeout + Duration::from_secs(180));
    if let Some(secrets) = values::secrets(&args.secrets)? {
        receiver = receiver.require_signature(secrets);
    }

    let (listener, address) = wire::listen(args.listen).await?;
    let stop = crate::web::serve::stop_on_signal();
    values::print(format_args!("listening on http://{address}{}", args.path));
    values::print(format_args!(
        "keeping everything in {}",
        folder.root().display()
    ));

    let work = tokio::spawn(receiver.clone().work(stop.clone().cancelled_owned()));
    let faults = Faults::new(args.faults);
    let path = args.path;
    let answer = move |request: Request<Incoming>| {
        let (mut receiver, faults, path) = (receiver.clone(), faults.clone(), path.clone());
        async move {
            if request.uri().path() != path {
                return Ok(wire::not_found());
            }
            if let Some(fault) = faults.next() {
                return fault.play(request).await;
            }
            let answer = receiver
                .call(request)
                .await
                .unwrap_or_else(|never| match never {});
            tokio::time::sleep(faults.delay()).await;
            Ok(answer)
        }
    };
    wire::serve(listener, answer, stop).await;
    work.await.context("the background work ended badly")?;
    drop(folder);
    Ok(ExitCode::SUCCESS)
}

/// Makes everything due again whose file was given up.
async fn retry_failed(folder: &Folder, inbox: &SqliteInbox) -> anyhow::Result<()> {
    let mut count = 0;
    for mut record in folder.records()? {
        if let record::File::GivenUp { .. } = record.file {
            record.file = record::File::Wanted {
                attempts: 0,
                failure: None,
            };
            // The result will be another one, so it is handed on again.
            record.forwarded_at = None;
            record.executed_at = None;
            folder.write_record(&record)?;
            inbox
                .handle_again(&record.callback.sign_flow_id, values::now())
                .await?;
            count += 1;
        }
    }
    values::print(format_args!("fetching {count} files again"));
    Ok(())
}

fn fetch_policy(args: &Args) -> Policy {
    // Plain http is let pass because the page's own sample is http; the signatures in the file prove what it is.
    Policy {
        allow: args.allow.clone(),
        allow_http: true,
        ports: args.ports.clone(),
    }
}
