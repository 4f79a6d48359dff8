//! `sealpost tsa`: a small timestamp authority (RFC 3161), for closed networks and for trying out.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use sealpost_pdf::Responder;

use super::output;
use crate::app::App;
use crate::web::serve::{serve, stop_on_signal};

#[derive(Debug, Args)]
pub(super) struct TsaArgs {
    /// Address and port to answer on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8318")]
    on: SocketAddr,
    /// The policy that its timestamps state, an object identifier
    #[arg(long, value_name = "OID", default_value = "1.3.6.1.4.1.32473.1.1")]
    policy: String,
}

pub(super) async fn run(args: TsaArgs, app: App) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal();
    let credential = app.timestamp_credential().await?;
    let responder = Responder::new(credential, &args.policy).context("--policy")?;
    let listener = tokio::net::TcpListener::bind(args.on)
        .await
        .with_context(|| format!("{} cannot be listened on", args.on))?;
    let address = listener.local_addr()?;
    output::line(&format!(
        "timestamps at http://{address}/, by the built-in authority, which is not a licensed one"
    ))?;
    serve(listener, crate::tsa::router(app, responder), stop).await;
    Ok(ExitCode::SUCCESS)
}
