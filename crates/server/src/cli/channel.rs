//! `sealpost channel …`: who creates flows and is told how they ended.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use sealpost_contract::Schedule;
use sealpost_store::Channel;
use serde_json::{Value, json};

use super::output;
use crate::api::time;
use crate::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum ChannelCommand {
    /// Make a channel; prints its API key and webhook secret, which are shown only now
    Add(AddArgs),
    /// List the channels
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change where and when a channel is told
    Set(SetArgs),
    /// Make a new webhook secret; the former one signs along for another day
    RotateSecret(NameArgs),
    /// Show a channel's endpoint a client certificate of ours (mTLS)
    ClientCertificate(ClientCertificateArgs),
    /// Make another API key, which is shown only now
    AddKey(NameArgs),
    /// Revoke an API key by its id
    RevokeKey {
        /// The key's id, as `channel list --json` shows it
        key_id: String,
    },
    /// Let a channel's deliveries rest; nothing is dropped
    Pause {
        /// The channel's name or id
        channel: String,
        /// Why, for whoever looks at it later
        #[arg(long, default_value = "paused by an operator")]
        reason: String,
    },
    /// Let a channel's deliveries run again
    Resume {
        /// The channel's name or id
        channel: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The channel's name, 1 to 64 characters
    name: String,
    /// Where its callbacks go; without it they wait until it has one
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// The waits before the three retries
    #[arg(long, value_name = "WAITS", default_value_t)]
    schedule: Schedule,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The channel's name or id
    channel: String,
    /// Where its callbacks go
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// The waits before the three retries, as in 3m,30m,8h
    #[arg(long, value_name = "WAITS")]
    schedule: Option<Schedule>,
}

#[derive(Debug, Args)]
pub(super) struct ClientCertificateArgs {
    /// The channel's name or id
    channel: String,
    /// The certificate and its chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Show none any more
    #[arg(
        long,
        conflicts_with = "certificate",
        required_unless_present = "certificate"
    )]
    remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The channel's name or id
    channel: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: ChannelCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        ChannelCommand::Add(args) => add(args, app).await,
        ChannelCommand::List { json } => list(json, app).await,
        ChannelCommand::Set(args) => {
            let channel = named(app, &args.channel).await?;
            let url = args.callback_url.or(channel.callback_url);
            app.set_channel_delivery(
                &channel.id,
                url.as_deref(),
                args.schedule.unwrap_or(channel.schedule),
            )
            .await?;
            output::line("changed")
        }
        ChannelCommand::RotateSecret(args) => {
            let channel = named(app, &args.channel).await?;
            let secret = app.rotate_webhook_secret(&channel.id).await?;
            if args.json {
                return output::json(
                    &json!({ "channel_id": channel.id, "webhook_secret": secret }),
                );
            }
            output::line(&format!(
                "new webhook secret (shown only now; the former one signs along for 24 hours):\n{secret}"
            ))
        }
        ChannelCommand::ClientCertificate(args) => {
            let channel = named(app, &args.channel).await?;
            let read = |path: &Path| {
                std::fs::read_to_string(path)
                    .with_context(|| format!("{} cannot be read", path.display()))
            };
            let identity = match (&args.certificate, &args.key) {
                (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
                _ => None,
            };
            let shown = identity.is_some();
            app.set_client_certificate(&channel.id, identity).await?;
            output::line(if shown {
                "shown from now on"
            } else {
                "no longer shown"
            })
        }
        ChannelCommand::AddKey(args) => {
            let channel = named(app, &args.channel).await?;
            let api_key = app.add_api_key(&channel.id).await?;
            if args.json {
                return output::json(&json!({ "channel_id": channel.id, "api_key": api_key }));
            }
            output::line(&format!("new API key (shown only now):\n{api_key}"))
        }
        ChannelCommand::RevokeKey { key_id } => {
            app.revoke_api_key(&key_id).await?;
            output::line("revoked")
        }
        ChannelCommand::Pause { channel, reason } => {
            app.pause_channel(&named(app, &channel).await?.id, &reason)
                .await?;
            output::line("paused; its callbacks wait")
        }
        ChannelCommand::Resume { channel } => {
            app.resume_channel(&named(app, &channel).await?.id).await?;
            output::line("resumed")
        }
    }
}

async fn add(args: AddArgs, app: &App) -> anyhow::Result<ExitCode> {
    let new = app
        .add_channel(&args.name, args.callback_url.as_deref(), args.schedule)
        .await?;
    if args.json {
        return output::json(&json!({
            "id": new.channel.id,
            "name": new.channel.name,
            "callback_url": new.channel.callback_url,
            "schedule": new.channel.schedule.to_string(),
            "api_key": new.api_key,
            "webhook_secret": new.webhook_secret,
        }));
    }
    let url = new
        .channel
        .callback_url
        .as_deref()
        .unwrap_or("none: its callbacks wait until it has one");
    output::line(&format!(
        "channel         {} ({})\ncallback URL    {url}\nretries after   {}\n\nShown only now; keep them safe:\nAPI key         {}\nwebhook secret  {}",
        new.channel.name, new.channel.id, new.channel.schedule, new.api_key, new.webhook_secret
    ))
}

async fn list(as_json: bool, app: &App) -> anyhow::Result<ExitCode> {
    let channels = app.channels().await?;
    if !as_json {
        let rows: Vec<Vec<String>> = channels
            .into_iter()
            .map(|channel| {
                let url = channel.callback_url.unwrap_or_else(|| "-".to_owned());
                let state = channel.paused.map_or_else(
                    || "running".to_owned(),
                    |pause| format!("paused: {}", pause.reason),
                );
                vec![
                    channel.name,
                    channel.id,
                    channel.schedule.to_string(),
                    state,
                    url,
                ]
            })
            .collect();
        return output::table(
            &["NAME", "ID", "RETRIES AFTER", "DELIVERY", "CALLBACK URL"],
            &rows,
        );
    }
    let mut shown = Vec::new();
    for channel in channels {
        let keys = app.api_keys(&channel.id).await?;
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| json!({ "id": key.id, "created_at": time(key.created_at), "revoked_at": key.revoked_at.map(time) }))
            .collect();
        shown.push(json!({
            "id": channel.id,
            "name": channel.name,
            "callback_url": channel.callback_url,
            "schedule": channel.schedule.to_string(),
            "created_at": time(channel.created_at),
            "paused": channel.paused.map(|pause| json!({ "at": time(pause.at), "reason": pause.reason })),
            "api_keys": keys,
        }));
    }
    output::json(&shown.into())
}

/// The channel of this name or id.
pub(super) async fn named(app: &App, channel: &str) -> anyhow::Result<Channel> {
    app.find_channel(channel).await?.with_context(|| {
        format!("there is no channel {channel:?}; `sealpost channel list` shows them")
    })
}
