//! Contract checks of channels' endpoints: the cases of `sealpost check`, run by the server in the background. The last check
//! of each channel is kept with every finding, so that any node can show how far it has come.
//!
//! The address guard applies: the name is resolved once, all its addresses must be permitted, and every request goes to the
//! one that was chosen.

use std::net::{IpAddr, SocketAddr};

use sealpost_contract::UtcMillis;
use sealpost_delivery::client::{Trust, tls_config};
use sealpost_store::{Channel, ContractCheck};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::App;
use super::rehearsal::no_callback_url;
use crate::channel_side::check::{Endpoint, addresses_of, check_endpoint, choose};
use crate::problem::{Chain, Kind, Problem};
use crate::secrets::random;

/// A check that has not been heard of for so long was cut short: no case takes half of it.
const SILENT: UtcMillis = 90 * 1000;

/// A check as it is shown.
#[derive(Debug)]
pub(crate) struct ShownCheck {
    pub(crate) started_at: UtcMillis,
    pub(crate) ended_at: Option<UtcMillis>,
    pub(crate) state: CheckState,
    /// What was found, as JSON: see [`Report`].
    pub(crate) report: Report,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckState {
    Running,
    Finished,
    /// The process that ran it has stopped.
    CutShort,
}

/// What is kept of a check.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) url: String,
    /// Whether only what an endpoint must refuse is sent.
    pub(crate) read_only: bool,
    pub(crate) started_by: String,
    /// Why no case could be sent.
    pub(crate) failure: Option<String>,
    /// The findings, as `sealpost check --json` prints them.
    pub(crate) cases: Vec<Value>,
}

impl CheckState {
    /// The word in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::CutShort => "cut_short",
        }
    }
}

impl Report {
    /// How many findings have this verdict: `keeps`, `may` or `breaks`.
    pub(crate) fn count(&self, verdict: &str) -> usize {
        let of_it = self.cases.iter().filter(|case| case["verdict"] == verdict);
        of_it.count()
    }
}

impl App {
    /// Begins a check of a channel's own address, unless one is under way.
    pub(super) async fn begin_contract_check(
        &self,
        channel: &Channel,
        read_only: bool,
        by: &str,
    ) -> Result<ContractCheck, Problem> {
        let url = channel.callback_url.clone().ok_or_else(no_callback_url)?;
        let now = self.now();
        let report = Report {
            url,
            read_only,
            started_by: by.to_owned(),
            ..Report::default()
        };
        let check = ContractCheck {
            channel_id: channel.id.clone(),
            run: hex::encode(random::<8>()?),
            started_at: now,
            stepped_at: now,
            ended_at: None,
            report: json!(report).to_string(),
        };
        let begun = self
            .store()
            .begin_contract_check(check.clone(), now - SILENT)
            .await?;
        if !begun {
            let detail = "A check of this channel is under way.";
            return Err(Problem::new(Kind::Refused, detail).code("check_under_way"));
        }
        let (app, channel, running) = (self.clone(), channel.clone(), check.clone());
        tokio::spawn(async move { app.run_contract_check(&channel, running, report).await });
        Ok(check)
    }

    /// The last check of a channel.
    pub(crate) async fn find_contract_check(
        &self,
        channel_id: &str,
    ) -> Result<Option<ShownCheck>, Problem> {
        let found = self.store().find_contract_check(channel_id).await?;
        Ok(found.map(|check| self.shown_check(&check)))
    }

    /// A check as it is shown.
    pub(crate) fn shown_check(&self, check: &ContractCheck) -> ShownCheck {
        ShownCheck {
            started_at: check.started_at,
            ended_at: check.ended_at,
            state: match check.ended_at {
                Some(_) => CheckState::Finished,
                None if check.stepped_at + SILENT < self.now() => CheckState::CutShort,
                None => CheckState::Running,
            },
            report: serde_json::from_str(&check.report).unwrap_or_default(),
        }
    }

    /// Runs the cases, and keeps what is found as it is found.
    async fn run_contract_check(
        &self,
        channel: &Channel,
        check: ContractCheck,
        mut report: Report,
    ) {
        let endpoint = match self.endpoint_of(channel, &report.url).await {
            Ok(endpoint) => endpoint,
            Err(reason) => {
                report.failure = Some(reason);
                self.keep_check(&check, &report, true).await;
                return;
            }
        };
        let (found, mut findings) = mpsc::unbounded_channel();
        let sending = check_endpoint(endpoint, report.read_only, move |finding| {
            // Nobody listens any more when another check has taken this one's place.
            let _ = found.send(finding);
        });
        let keeping = async {
            while let Some(finding) = findings.recv().await {
                report.cases.push(finding);
                while let Ok(finding) = findings.try_recv() {
                    report.cases.push(finding);
                }
                if !self.keep_check(&check, &report, false).await {
                    break;
                }
            }
        };
        let (outcome, ()) = tokio::join!(sending, keeping);
        if let Err(reason) = outcome {
            report.failure = Some(reason);
        }
        self.keep_check(&check, &report, true).await;
    }

    /// Keeps how far a check has come; `false` if that is of no use any more.
    async fn keep_check(&self, check: &ContractCheck, report: &Report, is_over: bool) -> bool {
        let now = self.now();
        let kept = self.store().keep_contract_check(ContractCheck {
            stepped_at: now,
            ended_at: is_over.then_some(now),
            report: json!(report).to_string(),
            ..check.clone()
        });
        kept.await.unwrap_or_else(|error| {
            tracing::error!(error = %Chain(&error), "a contract check cannot be kept");
            false
        })
    }

    /// Where a check goes, once the guard has seen it. The error is in words.
    async fn endpoint_of(&self, channel: &Channel, url: &str) -> Result<Endpoint, String> {
        let settings = &self.config().delivery;
        let target = self
            .check_callback_url(url)
            .map_err(|refused| refused.to_string())?;
        let addresses = addresses_of(target.uri())
            .await
            .map_err(|error| error.to_string())?;
        let bare: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
        self.callback_policy()
            .check_addresses(&bare)
            .map_err(|refused| refused.to_string())?;
        let trust = Trust::load(settings.ca_file.as_deref()).map_err(|error| error.to_string())?;
        let identity = self.find_client_certificate(&channel.id).await;
        let identity = identity.map_err(|error| error.to_string())?;
        let tls = tls_config(&trust, identity.as_ref()).map_err(|error| error.to_string())?;
        let newest = channel.secrets.first();
        Ok(Endpoint {
            url: target.uri().clone(),
            address: choose(&addresses).ok_or("the host name has no address")?,
            deadline: settings.attempt_timeout,
            secret: newest
                .and_then(|sealed| self.open_webhook_secret(&channel.id, &sealed.ciphertext)),
            tls,
        })
    }
}
