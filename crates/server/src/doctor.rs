//! `sealpost doctor`: is this configuration fit to run? Looks at everything that would fail later, when it hurts, and changes
//! nothing but making a data folder that is missing.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use sealpost_delivery::client::Trust;
use serde_json::{Value, json};

use crate::api::time;
use crate::app::keys::expiry::SOON;
use crate::app::nodes::CLOCK_OFF;
use crate::app::renewal::COUNTED;
use crate::app::{App, make_folder};
use crate::bucket;
use crate::cli::{master_secret, print_json, print_line};
use crate::config::Config;
use crate::problem::{Chain, Problem};
use crate::secrets::SECRET_FILE;

/// How long a timestamp over a document may be due before something seems to be wrong, in milliseconds: three days, in which an
/// authority comes back.
const PATIENCE: i64 = 3 * 24 * 60 * 60 * 1000;

/// Arguments of `sealpost doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found about one thing.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    says: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Fit.
    Good,
    /// It runs, but should be known.
    Mind,
    /// It does not run, or not as it should.
    Bad,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Mind => "mind",
            Self::Bad => "bad",
        }
    }
}

/// Exits with 0 when nothing is bad.
pub(crate) async fn run(
    args: DoctorArgs,
    config: anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let findings = examine(config).await;
    let fit = findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Bad);
    if args.json {
        let shown: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "verdict": finding.verdict.name(), "says": finding.says }))
            .collect();
        print_json(&json!({ "fit": fit, "findings": shown }))?;
    } else {
        for finding in &findings {
            print_line(&format!(
                "{:<5} {:<14} {}",
                finding.verdict.name(),
                finding.what,
                finding.says
            ))?;
        }
        print_line(if fit {
            "\nfit to run"
        } else {
            "\nnot fit to run"
        })?;
    }
    Ok(if fit {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn examine(config: anyhow::Result<Config>) -> Vec<Finding> {
    let mut examination = Examination(Vec::new());
    match config {
        Err(error) => examination.bad("configuration", format!("{error:#}")),
        Ok(config) => {
            examination.good("configuration", "read; every key is known".to_owned());
            examination.public_url(&config);
            examination.address(&config).await;
            examination.trust(&config);
            examination.codes(&config);
            examination.folder(&config.data);
            match App::open(config, master_secret().as_deref()).await {
                Err(error) => examination.bad("data", Chain(&error).to_string()),
                Ok(app) => {
                    examination.documents(&app).await;
                    examination.database(&app).await;
                    examination.nodes(&app).await;
                    examination.clock(&app).await;
                    examination.keys(&app).await;
                    examination.kept(&app).await;
                }
            }
        }
    }
    examination.0
}

struct Examination(Vec<Finding>);

impl Examination {
    fn good(&mut self, what: &'static str, says: String) {
        self.0.push(Finding {
            what,
            verdict: Verdict::Good,
            says,
        });
    }

    fn mind(&mut self, what: &'static str, says: String) {
        self.0.push(Finding {
            what,
            verdict: Verdict::Mind,
            says,
        });
    }

    fn bad(&mut self, what: &'static str, says: String) {
        self.0.push(Finding {
            what,
            verdict: Verdict::Bad,
            says,
        });
    }

    /// Links go to phones, and signatures over plain http can be read and changed on the way.
    fn public_url(&mut self, config: &Config) {
        match &config.public_url {
            None => self.mind(
                "public_url",
                "not set: links work on this machine only".to_owned(),
            ),
            Some(url) if url.is_https() => self.good(
                "public_url",
                format!("{url}, {} characters", url.as_str().chars().count()),
            ),
            Some(url) => self.mind(
                "public_url",
                format!("{url} is not https: links and signatures can be read on the way"),
            ),
        }
        // Who has a public URL has a proxy, which may be on this machine.
        let is_reached = config.public_url.is_some() || !config.listen.ip().is_loopback();
        if is_reached && config.trusted_proxies.is_empty() {
            self.mind("proxies", "no trusted_proxies: behind a proxy, the evidence would name its address for every signer, and limits on addresses would count everybody as one".to_owned());
        }
    }

    async fn address(&mut self, config: &Config) {
        match TcpListener::bind(config.listen) {
            Ok(_) => self.good("listen", format!("{} is free", config.listen)),
            Err(error) => {
                let url = format!("http://{}/healthz", config.listen);
                match crate::http_client::HttpClient::default()
                    .get(&url, None)
                    .await
                {
                    Ok(answer) if answer.body == "ok\n" => {
                        self.good("listen", format!("{}: a server is running", config.listen))
                    }
                    _ => self.bad("listen", format!("{}: {error}", config.listen)),
                }
            }
        }
    }

    fn trust(&mut self, config: &Config) {
        match Trust::load(config.delivery.ca_file.as_deref()) {
            Err(error) => self.bad("roots", Chain(&error).to_string()),
            Ok(trust) if trust.is_empty() => {
                self.bad("roots", "this machine trusts no certificate at all: every https callback would fail (install ca-certificates)".to_owned());
            }
            Ok(_) => self.good(
                "roots",
                "certificates for https callbacks are there".to_owned(),
            ),
        }
        if config.delivery.allow_http {
            self.mind(
                "delivery",
                "allow_http: callbacks may be read and changed on the way".to_owned(),
            );
        }
    }

    fn codes(&mut self, config: &Config) {
        let notify = &config.notify;
        if notify.to_log {
            self.mind(
                "codes",
                "codes.to_log: signing codes are written to the log: for trying out only"
                    .to_owned(),
            );
        }
        match &notify.sms {
            Some(gateway) => self.good("sms", format!("codes and reminders go by {}", gateway.url)),
            None => self.good(
                "sms",
                "no gateway: no flow can ask for a code by SMS".to_owned(),
            ),
        }
        match &notify.mail {
            Some(mail) => self.good(
                "mail",
                format!("codes and reminders come from {}", mail.from),
            ),
            None => self.good(
                "mail",
                "no server: no flow can ask for a code by mail".to_owned(),
            ),
        }
    }

    fn folder(&mut self, data: &Path) {
        let probe = data.join(".doctor");
        let written = make_folder(data)
            .and_then(|()| fs::write(&probe, b""))
            .and_then(|()| fs::remove_file(&probe));
        match written {
            Ok(()) => self.good("folder", format!("{} can be written", data.display())),
            Err(error) => self.bad("folder", format!("{}: {error}", data.display())),
        }
        #[cfg(unix)]
        for path in [data.to_owned(), data.join(SECRET_FILE)] {
            use std::os::unix::fs::PermissionsExt as _;
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.permissions().mode() & 0o077 != 0
            {
                self.mind(
                    "folder",
                    format!(
                        "{} can be read by others; it should be its owner's alone",
                        path.display()
                    ),
                );
            }
        }
    }

    /// One is kept and read back, since a key may permit the one and not the other.
    async fn documents(&mut self, app: &App) {
        let config = app.config();
        let place = match &config.documents {
            None => config.data.join("documents").display().to_string(),
            Some(bucket) => bucket.to_string(),
        };
        match app.store().prove_documents().await {
            Ok(()) if app.store().documents_are_put_unconditionally() => self.good(
                "documents",
                format!("{place} keeps and gives, but knows no If-None-Match: each document is looked for before it is put"),
            ),
            Ok(()) => self.good("documents", format!("{place} keeps and gives")),
            // The storage's own words say no more, and repeat what was signed.
            Err(error @ sealpost_store::Error::BucketRefused { .. }) => {
                let advice = bucket::advice(error.refused_for());
                self.bad("documents", format!("{place}: {error}; {advice}"));
            }
            Err(error) => self.bad("documents", format!("{place}: {}", Chain(&error))),
        }
        if config.documents.is_none() && config.database.is_some() {
            let says = format!("{place}: with several nodes, this folder must be shared by all");
            self.mind("documents", says);
        }
    }

    /// Whether the PostgreSQL server keeps what it acknowledges, and any text.
    async fn database(&mut self, app: &App) {
        let server = match app.store().database_server().await {
            Err(error) => return self.bad("database", Chain(&error).to_string()),
            Ok(None) => return,
            Ok(Some(server)) => server,
        };
        let version = format!("PostgreSQL {}", server.version);
        if !server.careless.is_empty() {
            let off = server.careless.join(", ");
            self.bad("database", format!("{version}: {off} off: what was acknowledged can be lost when the server crashes"));
        }
        if server.encoding != "UTF8" {
            self.bad("database", format!("{version}: the database is encoded as {} and cannot keep every name: it must be made anew WITH ENCODING 'UTF8'", server.encoding));
        }
        if server.careless.is_empty() && server.encoding == "UTF8" {
            self.good("database", version);
        }
        let Some(options) = &app.config().database else {
            return;
        };
        // Each way, and one to listen.
        let each = 2 * options.sessions as u64 + 1;
        let nodes = app
            .nodes()
            .await
            .map_or(1, |nodes| nodes.len().max(1) as u64);
        let says = format!(
            "the server gives {} in all, a node takes up to {each}, and {nodes} {}",
            server.connections,
            if nodes == 1 { "serves" } else { "serve" },
        );
        // One more, for a node is replaced by one that starts before it ends, and for the command line.
        if (nodes + 1) * each > server.connections {
            self.mind("connections", format!("{says}: too few for one node more, as in a rolling upgrade; raise max_connections or lower database.sessions"));
        } else {
            self.good("connections", says);
        }
    }

    /// Whose clock is right cannot be said, but that they differ.
    async fn clock(&mut self, app: &App) {
        if app.config().database.is_none() {
            return;
        }
        match app.clock_ahead().await {
            Err(error) => self.bad("clock", Chain(&error).to_string()),
            Ok(ahead) if ahead.abs() > CLOCK_OFF => {
                let (seconds, way) = (
                    ahead.abs() as f64 / 1000.0,
                    if ahead > 0 { "ahead of" } else { "behind" },
                );
                self.bad("clock", format!("{seconds:.1} s {way} the database server's: flows would expire and leases end at the wrong time; is NTP running on both?"));
            }
            Ok(_) => self.good("clock", "agrees with the database server's".to_owned()),
        }
    }

    /// Who else serves this database.
    async fn nodes(&mut self, app: &App) {
        if app.config().database.is_none() {
            return;
        }
        match app.nodes().await {
            Err(problem) => self.bad("nodes", problem.to_string()),
            Ok(nodes) => {
                let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                let says = match names.as_slice() {
                    [] => "none serves this database at the moment".to_owned(),
                    names => format!("{} serve: {}", names.len(), names.join(", ")),
                };
                self.good("nodes", says);
            }
        }
    }

    /// What signs: whether it can be had, and until when it is valid.
    async fn keys(&mut self, app: &App) {
        if let Err(error) = app.open_operator_keys().await {
            self.bad("seal keys", Chain(&error).to_string());
        }
        for (n, watched) in app.watched_certificates().into_iter().enumerate() {
            let (what, until) = match n {
                0 => ("authority", time(watched.not_after)),
                _ => ("seal keys", time(watched.not_after)),
            };
            let whose = watched.whose;
            if watched.not_after < app.now() + SOON {
                let says = format!("the certificate of {whose} expires on {until}");
                self.bad(what, says);
            } else if n == 0 {
                self.mind(what, format!("persons, and organizations without a key of yours, sign by the built-in authority, which is not a licensed one: {}, until {until}", watched.subject));
            } else {
                self.good(what, format!("{whose}: {}, until {until}", watched.subject));
            }
        }
    }

    /// Timestamps over completed documents that end soon, and whether somebody renews them.
    async fn timestamps(&mut self, app: &App) {
        let window = app.renewal_window();
        let until = app.now().saturating_add(window.unwrap_or(SOON));
        let due = async {
            let first = app.store().flows_to_renew((i64::MIN, None), until, 1);
            let Some((at, id)) = first.await?.into_iter().next() else {
                return Ok(None);
            };
            let count = app.store().count_flows_to_renew(until, COUNTED).await?;
            let due_at = match window {
                Some(window) => app.renewal_due_at(&id, at, window).await?,
                None => at,
            };
            Ok::<_, Problem>(Some((at, due_at, count)))
        };
        let (at, due_at, count) = match due.await {
            Err(problem) => return self.bad("timestamps", problem.to_string()),
            Ok(Some(due)) => due,
            Ok(None) if window.is_some() => {
                return self.good(
                    "timestamps",
                    "those over documents are renewed; none ends soon".to_owned(),
                );
            }
            Ok(None) => return,
        };
        let more = if count == COUNTED { " or more" } else { "" };
        let says = format!(
            "those over {count}{more} documents end soon, the first on {}",
            time(at)
        );
        let signatures = &app.config().signatures;
        match window {
            None if signatures.renew_within.is_zero() => self.bad(
                "timestamps",
                format!("{says}: signatures.renew_days is 0, so that only sealpost archive renews them; run it"),
            ),
            None => self.bad(
                "timestamps",
                format!("{says}: nothing renews them; set signatures.level to b-lta with timestamps.authorities, or run sealpost archive"),
            ),
            Some(_) if due_at.saturating_add(PATIENCE) < app.now() => self.bad(
                "timestamps",
                format!("{says}: by signatures.renew_days it was to be renewed on {}, and renewing seems to fail; sealpost archive says why", time(due_at)),
            ),
            Some(_) => self.mind(
                "timestamps",
                format!("{says}: the server renews them, signatures.renew_days before or at half their life, the first on {}", time(due_at)),
            ),
        }
    }

    /// What is in the database: channels that cannot be told, work that is left lying.
    async fn kept(&mut self, app: &App) {
        match app.channels().await {
            Err(problem) => return self.bad("data", problem.to_string()),
            Ok(channels) if channels.is_empty() => self.mind(
                "channels",
                "there is none yet: sealpost channel add NAME".to_owned(),
            ),
            Ok(channels) => {
                for channel in channels {
                    match (&channel.paused, &channel.callback_url) {
                        (Some(pause), _) => self.mind(
                            "channels",
                            format!(
                                "{} is paused since {}: {}",
                                channel.name,
                                time(pause.at),
                                pause.reason
                            ),
                        ),
                        (None, None) => self.mind(
                            "channels",
                            format!("{} has no callback URL; its callbacks wait", channel.name),
                        ),
                        (None, Some(url)) => match app.check_callback_url(url) {
                            Ok(_) => {
                                self.good("channels", format!("{} is told at {url}", channel.name))
                            }
                            Err(refused) => self.bad(
                                "channels",
                                format!("{}: {url} is not permitted: {refused}", channel.name),
                            ),
                        },
                    }
                }
            }
        }
        match app.store().backlog(app.now()).await {
            Err(error) => self.bad("callbacks", Chain(&error).to_string()),
            Ok(backlog) if backlog.failed > 0 => {
                self.mind(
                    "callbacks",
                    format!(
                        "{} wait, {} have failed: sealpost callbacks list --state failed",
                        backlog.waiting, backlog.failed
                    ),
                );
            }
            Ok(backlog) => self.good(
                "callbacks",
                format!("{} wait, none has failed", backlog.waiting),
            ),
        }
        self.timestamps(app).await;
        match app.store().sealing_backlog().await {
            Err(error) => self.bad("sealing", Chain(&error).to_string()),
            Ok(backlog) if backlog.failing > 0 => self.mind(
                "sealing",
                format!(
                    "{} flows wait, {} of them after a failure",
                    backlog.waiting, backlog.failing
                ),
            ),
            Ok(backlog) => self.good("sealing", format!("{} flows wait", backlog.waiting)),
        }
    }
}
