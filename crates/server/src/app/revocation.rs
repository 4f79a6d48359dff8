//! Which certificates were revoked: our own authority's list, and what other authorities say of theirs.
//!
//! Our list is made of what the store has revoked, anew before it grows old, by each node for itself: its number is the time at
//! which it was made, so that they agree on which is newer. What other authorities say is asked for at the addresses that
//! their certificates name, when a document is to be checkable without them, and kept until they know more.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{StatusCode, Uri};
use sealpost_contract::UtcMillis;
use sealpost_delivery::client::{Client, Reply, Trust};
use sealpost_delivery::connector::Resolver;
use sealpost_delivery::guard::Policy;
use sealpost_pdf::verify::RevocationReason;
use sealpost_pdf::{Authority, Evidence, NeededEvidence, Revocation, Validity, needed_evidence};
use sealpost_store::RevokedCertificate;

use super::App;
use super::notify::everywhere;
use crate::problem::{Chain, Problem};
use crate::secrets::{random, sha256};

const HOUR: i64 = 60 * 60 * 1000;

/// When our list is made anew although nothing was revoked.
const REFRESH: i64 = 12 * HOUR;

/// How long our list is good for.
const LIST_LIFE: i64 = 7 * 24 * HOUR;

/// Clocks of others may be behind ours by this much.
const SLACK: i64 = 5 * 60 * 1000;

/// How long one authority may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest revocation list of another authority, in bytes; it becomes part of the documents.
const MAX_LIST: usize = 1024 * 1024;

/// Answers of other authorities that are kept.
const KEPT: usize = 256;

/// How long an answer is kept that does not say when the next comes.
const UNSTATED: i64 = HOUR;

const OCSP_REQUEST: HeaderValue = HeaderValue::from_static("application/ocsp-request");

/// What is known of revocations.
pub(crate) struct Revocations {
    client: Client,
    own: Mutex<Option<OwnList>>,
    answers: Mutex<HashMap<[u8; 32], Answer>>,
}

struct OwnList {
    der: Bytes,
    made_at: UtcMillis,
    revoked: usize,
}

/// What another authority said, in DER.
#[derive(Clone)]
enum Answer {
    List(Vec<u8>, UtcMillis),
    Ocsp(Vec<u8>, UtcMillis),
}

/// What is known of a document's certificates.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) evidence: Evidence,
    /// Why of others nothing is known, in words for the record.
    pub(crate) unanswered: Vec<String>,
}

impl Answer {
    fn is_good_until(&self) -> UtcMillis {
        match self {
            Self::List(_, until) | Self::Ocsp(_, until) => *until,
        }
    }
}

impl Revocations {
    /// The certificates in `ca_file` are believed beside the system's when an authority is called over TLS.
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let failed = |error| format!("certificates of authorities: {error}");
        // Plain http is the rule here (RFC 5280 section 8): what is fetched is signed. Whom to call is said by certificates that
        // lead to roots which the operator trusts, and these authorities may stand in the operator's network.
        let policy = Policy {
            allow: everywhere(),
            allow_http: true,
            ports: Vec::new(),
        };
        let trust = Trust::load(ca_file).map_err(failed)?;
        let client =
            Client::new(Arc::new(policy), Resolver::System, &trust, None).map_err(failed)?;
        Ok(Self {
            client,
            own: Mutex::default(),
            answers: Mutex::default(),
        })
    }

    fn find_answer(&self, needed: &NeededEvidence, now: UtcMillis) -> Option<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = answers.get(&sha256(&needed.certificate))?;
        (found.is_good_until() > now).then(|| found.clone())
    }

    fn keep_answer(&self, needed: &NeededEvidence, answer: &Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KEPT {
            answers.clear();
        }
        answers.insert(sha256(&needed.certificate), answer.clone());
    }

    /// What the certificate's authority says of it: its responders are asked first, then its lists are fetched.
    async fn ask(&self, needed: &NeededEvidence, now: UtcMillis) -> Result<Answer, String> {
        let mut reasons = Vec::new();
        for url in &needed.ocsp {
            match self.ask_responder(url, needed, now).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => reasons.push(format!("{url}: {reason}")),
            }
        }
        for url in &needed.revocation_lists {
            match self.fetch_list(url, needed, now).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => reasons.push(format!("{url}: {reason}")),
            }
        }
        if reasons.is_empty() {
            reasons.push("it names nobody who says so".to_owned());
        }
        Err(format!(
            "it cannot be known whether the certificate of {} was revoked: {}",
            needed.subject(),
            reasons.join("; ")
        ))
    }

    async fn ask_responder(
        &self,
        url: &str,
        needed: &NeededEvidence,
        now: UtcMillis,
    ) -> Result<Answer, String> {
        let nonce = random::<16>().map_err(|error| Chain(&error).to_string())?;
        let question = needed
            .question(Some(nonce))
            .map_err(|error| Chain(&error).to_string())?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, OCSP_REQUEST)]);
        let body = Bytes::copy_from_slice(question.der());
        let reply = self.client.post(address(url)?, headers, body, DEADLINE);
        let reply = good(reply.await)?;
        let answer = question.accept(&reply, now);
        let answer = answer.map_err(|error| error.to_string())?;
        let until = answer.next_update().unwrap_or(now + UNSTATED);
        Ok(Answer::Ocsp(answer.der().to_vec(), until))
    }

    async fn fetch_list(
        &self,
        url: &str,
        needed: &NeededEvidence,
        now: UtcMillis,
    ) -> Result<Answer, String> {
        let reply = self.client.fetch(address(url)?, MAX_LIST, DEADLINE);
        let list = good(reply.await)?;
        let next = needed.accept_list(&list, now)?;
        Ok(Answer::List(list.to_vec(), next.unwrap_or(now + UNSTATED)))
    }
}

fn address(url: &str) -> Result<Uri, String> {
    url.parse::<Uri>().map_err(|error| error.to_string())
}

fn good(reply: Result<Reply, sealpost_delivery::client::Failure>) -> Result<Bytes, String> {
    let reply = reply.map_err(|failure| format!("{failure:?}"))?;
    match reply.status {
        StatusCode::OK => Ok(reply.body),
        status => Err(format!("HTTP {}", status.as_u16())),
    }
}

impl App {
    /// Our authority's revocation list in DER.
    pub(crate) async fn revocation_list(&self) -> Result<Bytes, Problem> {
        let now = self.now();
        let revoked = self.store().revoked_certificates().await?;
        let own = &self.0.revocations.own;
        if let Some(list) = &*own.lock().unwrap_or_else(PoisonError::into_inner)
            && list.revoked == revoked.len()
            && (list.made_at..list.made_at + REFRESH).contains(&now)
        {
            return Ok(list.der.clone());
        }
        let der = self.list_by(self.0.keys.authority(), &revoked, now)?;
        *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(OwnList {
            der: der.clone(),
            made_at: now,
            revoked: revoked.len(),
        });
        Ok(der)
    }

    /// The list of the built-in authority with this certificate, in DER, which may be one that was replaced; `None`: it is not ours.
    async fn own_list(&self, certificate: &[u8]) -> Result<Option<Bytes>, Problem> {
        let keys = &self.0.keys;
        if certificate == keys.authority_der() {
            return Ok(Some(self.revocation_list().await?));
        }
        let Some(earlier) = keys.find_authority(certificate) else {
            return Ok(None);
        };
        let revoked = self.store().revoked_certificates().await?;
        Ok(Some(self.list_by(earlier, &revoked, self.now())?))
    }

    fn list_by(
        &self,
        authority: &Authority,
        revoked: &[RevokedCertificate],
        now: UtcMillis,
    ) -> Result<Bytes, Problem> {
        let entries: Vec<Revocation> = revoked
            .iter()
            .map(|revoked| Revocation {
                serial: revoked.serial.clone(),
                since: revoked.revoked_at,
                reason: revoked.reason.as_deref().and_then(RevocationReason::named),
            })
            .collect();
        let validity = Validity {
            not_before: now - SLACK,
            not_after: now + LIST_LIFE,
        };
        let number = u64::try_from(now).unwrap_or_default();
        let list = authority.revocation_list(&entries, number, validity);
        let list =
            list.map_err(|error| Problem::internal("the revocation list cannot be made", &error))?;
        Ok(list.into())
    }

    /// Whom verification trusts, with what our authority, and those that it has replaced, have revoked by now.
    pub(crate) async fn trust_and_revocations(&self) -> Result<sealpost_pdf::Trust, Problem> {
        let mut trust = self.trust();
        let list = self.revocation_list().await?;
        trust.revocation_lists.push(list.to_vec());
        let earlier = self.0.keys.earlier_authorities();
        if !earlier.is_empty() {
            let revoked = self.store().revoked_certificates().await?;
            for authority in earlier.iter().filter(|_| !revoked.is_empty()) {
                let list = self.list_by(authority, &revoked, self.now())?;
                trust.revocation_lists.push(list.to_vec());
            }
        }
        Ok(trust)
    }

    /// The serial number and the subject of an organization's certificate that is kept here.
    pub(crate) async fn find_organization_certificate(
        &self,
        name: &str,
    ) -> Result<Option<(String, String)>, Problem> {
        let keys = &self.0.keys;
        let found = keys.find_organization(self.store(), self.secrets(), name);
        let found = found.await;
        let found = found.map_err(|error| Problem::internal("the key cannot be read", &error))?;
        Ok(found.map(|credential| (credential.serial_hex(), credential.subject())))
    }

    /// Revokes a certificate of our authority, from now on; false if it was already.
    pub(crate) async fn revoke_certificate(
        &self,
        serial: String,
        subject: String,
        reason: Option<String>,
    ) -> Result<bool, Problem> {
        let revoked = RevokedCertificate {
            serial,
            subject,
            reason,
            revoked_at: self.now(),
        };
        Ok(self.store().revoke_certificate(revoked).await?)
    }

    /// What says of the certificates in the chains of a document's signatures whether they were revoked, as far as the document
    /// does not say it itself. Of its newest timestamp all must be known; the error is in words for the record.
    pub(crate) async fn evidence_for(&self, pdf: Bytes) -> Result<Found, String> {
        let trust = self.trust();
        let needed = self.on_paper(move || needed_evidence(&pdf, &trust)).await;
        let needed = needed
            .map_err(|problem| problem.detail().to_owned())?
            .map_err(|error| Chain(&error).to_string())?;
        let mut found = Found::default();
        for needed in &needed {
            found.evidence.certificates.push(needed.issuer.clone());
            let own = self.own_list(&needed.issuer).await;
            if let Some(list) = own.map_err(|problem| problem.detail().to_owned())? {
                found.evidence.revocation_lists.push(list.to_vec());
                continue;
            }
            match self.answer(needed).await {
                Ok(Answer::List(der, _)) => found.evidence.revocation_lists.push(der),
                Ok(Answer::Ocsp(der, _)) => found.evidence.ocsp_responses.push(der),
                Err(reason) if needed.of_newest_timestamp => return Err(reason),
                Err(reason) => found.unanswered.push(reason),
            }
        }
        Ok(found)
    }

    /// What is remembered of a certificate, or what its authority says.
    async fn answer(&self, needed: &NeededEvidence) -> Result<Answer, String> {
        let (now, revocations) = (self.now(), &self.0.revocations);
        if let Some(answer) = revocations.find_answer(needed, now) {
            return Ok(answer);
        }
        let answer = revocations.ask(needed, now).await?;
        revocations.keep_answer(needed, &answer);
        Ok(answer)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revocations(…)")
    }
}
