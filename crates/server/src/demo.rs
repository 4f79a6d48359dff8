//! `sealpost demo`: the whole story in the terminal, over loopback only, through the same HTTP calls as the signing page, with
//! a real receiver as the channel. Every step is checked; the first that is not as it should be ends the demo with its reason.

mod channel;
mod story;
mod telling;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::config::Config;
use crate::server::Server;
use crate::web::serve::stop_on_signal;
use channel::DemoChannel;
use story::Story;
use telling::Teller;

/// Arguments of `sealpost demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the server running at the end, and print the links to open
    #[arg(long)]
    keep: bool,
    /// Where the signed PDF is written
    #[arg(long, value_name = "FOLDER", default_value = "sealpost-demo")]
    out: PathBuf,
    /// The language it is told in [default: by LC_ALL, LC_MESSAGES or LANG, else Chinese]
    #[arg(long)]
    lang: Option<Lang>,
}

/// A language that the demo speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Lang {
    /// The first of the usual variables that is set decides; no language at all (`C`) and none of ours leave it Chinese.
    fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty());
        match set {
            Some(value) if value.starts_with("en") => Self::En,
            _ => Self::Zh,
        }
    }
}

/// Runs the demo; `listen` is the address from the flags, if any.
pub(crate) async fn run(args: DemoArgs, listen: Option<SocketAddr>) -> anyhow::Result<ExitCode> {
    let lang = args
        .lang
        .unwrap_or_else(|| Lang::of_environment(|name| std::env::var(name).ok()));
    let teller = Teller::new(lang);
    let stop = stop_on_signal();
    let folder = TemporaryFolder::make()?;
    let mut config = Config {
        data: folder.0.clone(),
        listen: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    if let Some(listen) = listen {
        config.listen = listen;
    }
    config.delivery.allow_http = true;
    config.delivery.allow_networks = vec!["127.0.0.1".parse()?];

    let server = Server::start(config, None).await?;
    let told = tokio::select! {
        told = tell(&teller, &server, &args) => told,
        () = stop.cancelled() => Err(anyhow::anyhow!(teller.say("已中断", "interrupted"))),
    };
    let ended = match told {
        Ok(links) if args.keep => {
            teller.links(&links);
            stop.cancelled().await;
            Ok(())
        }
        told => told.map(drop),
    };
    server.stop().await;
    drop(folder);
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            teller.failed(&error);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Tells the story; answers the links for `--keep`.
async fn tell(
    teller: &Teller,
    server: &Server,
    args: &DemoArgs,
) -> anyhow::Result<Vec<(String, String)>> {
    let channel = DemoChannel::start(server.app(), "链家", 0).await?;
    let stubborn = DemoChannel::start(server.app(), "我爱我家", 2).await?;
    let mut story = Story::new(teller, server, &channel, args.out.clone());
    story.opening();
    story.completed().await?;
    story.other_ends().await?;
    story.retries(&stubborn).await?;
    story.ending();
    if !args.keep {
        return Ok(Vec::new());
    }
    story.links().await
}

/// The demo's data folder, removed however it ends.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn make() -> anyhow::Result<Self> {
        let name = format!(
            "sealpost-demo-{}",
            hex::encode(crate::secrets::random::<6>()?)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "the demo's data folder could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::Lang;

    #[test]
    fn the_language_is_that_of_the_environment() {
        let lang = |set: &[(&str, &str)]| {
            Lang::of_environment(|name| {
                set.iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(lang(&[]), Lang::Zh);
        assert_eq!(lang(&[("LANG", "C.UTF-8")]), Lang::Zh);
        assert_eq!(lang(&[("LANG", "zh_CN.UTF-8")]), Lang::Zh);
        assert_eq!(lang(&[("LANG", "en_GB.UTF-8")]), Lang::En);
        assert_eq!(
            lang(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "en_US.UTF-8")]),
            Lang::En
        );
        assert_eq!(lang(&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "")]), Lang::En);
    }
}
