//! What happens to a callback after it was answered: fetch, verify, record, hand on. Every step leaves its result on
//! disk before the next begins, so that a restart goes on where it stopped; a step that fails is an error of the
//! handler, and the receiver runs it again later.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sealpost_contract::Callback;
use sealpost_delivery::client::{Client, Failure};
use sealpost_delivery::guard::Refused;
use sealpost_pdf::{Trust, Verdict, verify};
use sealpost_receiver::{Handler, HandlerError};
use tokio::io::AsyncWriteExt as _;

use super::folder::{Folder, file_stem};
use super::record::{File, Record, Signatures};
use crate::channel_side::{values, wire};

/// How long handing on may take at each attempt.
const HAND_ON_LIMIT: Duration = Duration::from_secs(60);
/// The same for each attempt at the same result, so that the other end can tell that it has it already.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Fetch, verify, record, hand on.
pub(super) struct Pipeline {
    folder: Folder,
    /// How to fetch; `None` when the file is not wanted.
    fetch: Option<Fetch>,
    trust: Arc<Trust>,
    forward: Option<(Client, Uri)>,
    exec: Option<String>,
}

struct Fetch {
    client: Client,
    max_bytes: usize,
    limit: Duration,
    max_attempts: u32,
}

impl Pipeline {
    pub(super) fn new(args: &super::Args, folder: Folder) -> anyhow::Result<Self> {
        let fetch = if args.no_fetch {
            None
        } else {
            Some(Fetch {
                client: wire::client(super::fetch_policy(args))?,
                max_bytes: usize::from(args.max_file) * 1024 * 1024,
                limit: args.fetch_timeout,
                max_attempts: args.fetch_attempts,
            })
        };
        let mut roots = Vec::new();
        for path in &args.trust {
            let pem =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate =
                    certificate.with_context(|| format!("{} is damaged", path.display()))?;
                roots.push(certificate.to_vec());
            }
            ensure!(
                roots.len() > before,
                "{} holds no certificate (PEM)",
                path.display()
            );
        }
        let forward = match &args.forward {
            Some(url) => Some((wire::client(wire::anywhere()?)?, url.clone())),
            None => None,
        };
        Ok(Self {
            folder,
            fetch,
            trust: Arc::new(Trust::roots(roots)),
            forward,
            exec: args.exec.clone(),
        })
    }

    async fn run(&self, callback: Callback) -> anyhow::Result<()> {
        let found = self.folder.find_record(&callback.sign_flow_id)?;
        let mut record = found.unwrap_or_else(|| Record::new(callback, self.fetch.is_some()));
        if let (File::Wanted { attempts, .. }, Some(fetch)) = (&record.file, &self.fetch) {
            let attempts = attempts.saturating_add(1);
            let fetched = self.fetch_and_verify(fetch, &record.callback).await;
            let (file, retry) = match fetched {
                Ok(file) => (file, None),
                Err(NotFetched::Never(failure)) => (File::GivenUp { attempts, failure }, None),
                Err(NotFetched::Yet(failure)) if attempts >= fetch.max_attempts => {
                    (File::GivenUp { attempts, failure }, None)
                }
                Err(NotFetched::Yet(failure)) => (
                    File::Wanted {
                        attempts,
                        failure: Some(failure.clone()),
                    },
                    Some(failure),
                ),
            };
            record.file = file;
            self.save(&record).await?;
            if let Some(failure) = retry {
                bail!("the file could not be fetched: {failure}");
            }
            self.log(&record);
        }
        self.hand_on(&mut record).await
    }

    async fn save(&self, record: &Record) -> anyhow::Result<()> {
        let (folder, record) = (self.folder.clone(), record.clone());
        tokio::task::spawn_blocking(move || folder.write_record(&record))
            .await
            .context("writing failed")?
    }

    async fn fetch_and_verify(
        &self,
        fetch: &Fetch,
        callback: &Callback,
    ) -> Result<File, NotFetched> {
        let url = callback.sign_file_url.as_str();
        let target = fetch.client.policy().check_url(url).map_err(|refused| {
            let why = match refused {
                Refused::Port(port) => format!("port {port} is not permitted by --port"),
                refused => refused.to_string(),
            };
            NotFetched::Never(format!("sign_file_url is not fetched: {why}"))
        })?;
        let url: Uri = target
            .as_str()
            .parse()
            .map_err(|_| NotFetched::Never("sign_file_url is no URL".to_owned()))?;
        // What `sealpost check` makes up is not asked for in vain (RFC 6761, 6.4).
        if url.host().is_some_and(|host| host.ends_with(".invalid")) {
            return Err(NotFetched::Never(
                "the host of sign_file_url never exists".to_owned(),
            ));
        }
        let reply = fetch.client.fetch(url, fetch.max_bytes, fetch.limit).await;
        let reply = reply.map_err(|failure| not_fetched(&failure))?;
        if reply.status != http::StatusCode::OK {
            return Err(NotFetched::Yet(format!(
                "HTTP status {}",
                reply.status.as_u16()
            )));
        }
        let name = format!("{}.pdf", file_stem(&callback.sign_flow_id));
        self.store_and_verify(name, reply.body)
            .await
            .map_err(|error| NotFetched::Yet(format!("{error:#}")))
    }

    /// Digests, verification and synced writes are not for the async threads.
    async fn store_and_verify(&self, name: String, body: Bytes) -> anyhow::Result<File> {
        let (folder, trust) = (self.folder.clone(), Arc::clone(&self.trust));
        let work = move || {
            folder.write(&name, &body)?;
            let now = values::now();
            Ok(File::Fetched {
                name,
                bytes: body.len() as u64,
                sha256: hex::encode(digest::digest(&digest::SHA256, &body)),
                fetched_at: now,
                signatures: judge(&body, &trust, now),
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .context("verifying the file failed")?
    }

    fn log(&self, record: &Record) {
        let id = &record.callback.sign_flow_id;
        match &record.file {
            File::Fetched {
                name, signatures, ..
            } => {
                tracing::info!(sign_flow_id = %id, file = name, verdict = signatures.verdict, "file fetched and verified");
            }
            File::GivenUp { attempts, failure } => {
                tracing::error!(sign_flow_id = %id, attempts, %failure, "the file is not to be had");
            }
            File::Wanted { .. } | File::Skipped => {}
        }
    }

    async fn hand_on(&self, record: &mut Record) -> anyhow::Result<()> {
        let body = record.to_result(self.folder.files()).to_string();
        if let (Some((client, url)), None) = (&self.forward, record.forwarded_at) {
            let key = file_stem(&record.callback.sign_flow_id);
            let headers = HeaderMap::from_iter([
                (
                    CONTENT_TYPE,
                    HeaderValue::from_static(sealpost_contract::CONTENT_TYPE),
                ),
                (
                    IDEMPOTENCY_KEY,
                    HeaderValue::from_str(&key).context("the key is no header")?,
                ),
            ]);
            match client
                .post(
                    url.clone(),
                    headers,
                    Bytes::from(body.clone()),
                    HAND_ON_LIMIT,
                )
                .await
            {
                Ok(reply) if reply.status.is_success() => {}
                Ok(reply) => bail!("forwarding: HTTP status {}", reply.status.as_u16()),
                Err(failure) => bail!("forwarding: {}", wire::explain(&failure)),
            }
            record.forwarded_at = Some(values::now());
            self.save(record).await?;
        }
        if let (Some(command), None) = (&self.exec, record.executed_at) {
            tokio::time::timeout(HAND_ON_LIMIT, execute(command, body.as_bytes()))
                .await
                .with_context(|| {
                    format!("the command took longer than {} s", HAND_ON_LIMIT.as_secs())
                })??;
            record.executed_at = Some(values::now());
            self.save(record).await?;
        }
        Ok(())
    }
}

impl Handler for Pipeline {
    async fn handle(&self, callback: Callback) -> Result<(), HandlerError> {
        self.run(callback).await.map_err(Into::into)
    }
}

/// Why there is no file.
enum NotFetched {
    /// Trying again may help.
    Yet(String),
    /// It will never be.
    Never(String),
}

fn not_fetched(failure: &Failure) -> NotFetched {
    use sealpost_delivery::Reason::{AnswerTooLarge, BlockedAddress, BlockedUrl};
    let text = wire::explain(failure);
    match failure {
        Failure::Theirs {
            reason: AnswerTooLarge | BlockedAddress | BlockedUrl,
            ..
        } => NotFetched::Never(text),
        Failure::Theirs { .. } | Failure::Ours(_) => NotFetched::Yet(text),
    }
}

fn judge(pdf: &[u8], trust: &Trust, now: i64) -> Signatures {
    let (verdict, report) = match verify(pdf, trust, now) {
        Ok(report) => {
            let verdict = match report.verdict {
                Verdict::Valid => "valid",
                Verdict::Indeterminate => "indeterminate",
                Verdict::Invalid => "invalid",
                Verdict::Unsigned => "unsigned",
            };
            (verdict, crate::api::verify::shown(&report))
        }
        Err(error) => ("unreadable", error.to_string().into()),
    };
    Signatures {
        verdict: verdict.to_owned(),
        verified_at: now,
        report,
    }
}

/// Runs the command with `input` on its standard input. Its output goes where ours goes.
async fn execute(command: &str, input: &[u8]) -> anyhow::Result<()> {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the command cannot be started")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command may end without reading everything; what counts is how it ends.
        let _ = stdin.write_all(input).await;
    }
    let status = child
        .wait()
        .await
        .context("the command cannot be waited for")?;
    ensure!(status.success(), "the command ended with {status}");
    Ok(())
}
