//! What happened to a flow, as an append-only, hash-chained record.
//!
//! # How an auditor recomputes the chain
//! 1. Take the flow's events in the order of `seq`, which counts 1, 2, 3 … without gaps.
//! 2. Write each as canonical JSON after RFC 8785 (members sorted by name, no white space, UTF-8).
//! 3. Begin with 32 zero bytes ([`GENESIS`]). The chain value of an event is SHA-256 over the chain value before it followed
//!    by the event's canonical JSON: `chain(n) = SHA-256(chain(n-1) ‖ json(n))`.
//! 4. The last value must equal the flow's recorded head. Whoever kept an earlier head can tell that nothing before it was
//!    changed, and the first event names the flow, so that no chain can be passed off as another flow's.

use std::net::IpAddr;

use sealpost_contract::{SignFlowId, UtcMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Digest;
use crate::operation::{Message, Method, Who};
use crate::state::{Level, SignerNo};

/// The chain value before the first event.
pub const GENESIS: Digest = Digest::from_bytes([0; 32]);

/// One entry of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts a flow's events from 1.
    pub seq: u64,
    /// When.
    pub at: UtcMillis,
    /// Who.
    pub by: Who,
    /// From where, if over the network.
    pub address: Option<IpAddr>,
    /// With which program, as it says itself.
    pub user_agent: Option<String>,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// The flow was made.
    Created {
        /// Its id.
        sign_flow_id: SignFlowId,
        /// The initiator's number.
        reference: String,
        /// The document, unsigned.
        document: Digest,
        /// The names of the signers, in the order of their numbers.
        signers: Vec<String>,
        /// The deadline.
        expires_at: UtcMillis,
    },
    /// The draft was opened for its signers.
    Started,
    /// A signer's turn came.
    Opened {
        /// Whose.
        signer: SignerNo,
    },
    /// A signer first looked at the document.
    Viewed {
        /// Who.
        signer: SignerNo,
    },
    /// The signers whose turn it is were reminded.
    Reminded {
        /// Who.
        signers: Vec<SignerNo>,
    },
    /// A message to a signer was handed over to be sent, or could not be.
    Notified {
        /// To whom.
        signer: SignerNo,
        /// What.
        message: Message,
        /// Which way.
        method: Method,
        /// Where to, masked.
        contact: String,
        /// Why it was not handed over; nothing: it was.
        failure: Option<String>,
    },
    /// A signer proved who they are: they entered the code that had been sent to them. Without this event there was no proof
    /// beyond having the link.
    Authenticated {
        /// Who.
        signer: SignerNo,
        /// Which way the code went.
        method: Method,
        /// Where to, masked.
        contact: String,
    },
    /// A signer agreed to sign electronically.
    Agreed {
        /// Who.
        signer: SignerNo,
        /// To which words.
        consent: String,
        /// SHA-256 of the words in UTF-8.
        digest: Digest,
        /// The language of the words, as a BCP 47 tag.
        language: String,
    },
    /// A signer signed.
    Signed {
        /// Who.
        signer: SignerNo,
        /// The picture of the signature; none for an automatic seal.
        mark: Option<Digest>,
        /// The name that was typed, of which the picture was made; none for a drawn signature and an automatic seal.
        typed: Option<String>,
        /// What they were shown.
        document: Digest,
    },
    /// The signature was put into the PDF.
    Applied {
        /// Whose.
        signer: SignerNo,
        /// The document with it.
        document: Digest,
        /// The certificate's serial number.
        certificate: String,
    },
    /// A signature, or all of them, got a lower level than was wanted, because the operator rather has that than to wait.
    Downgraded {
        /// Whose signature; nothing: all of them.
        signer: Option<SignerNo>,
        /// The level that was wanted.
        wanted: Level,
        /// The level that was reached.
        reached: Level,
        /// Why.
        reason: String,
    },
    /// What later checks need was put into the document with all signatures; after the flow was completed: anew.
    Preserved {
        /// The document with it.
        document: Digest,
        /// The level of the signatures now.
        level: Level,
        /// When its newest timestamp must have been renewed.
        renew_by: Option<UtcMillis>,
    },
    /// An attempt to put a signature into the PDF, or to verify the result, failed.
    SealingFailed {
        /// Why.
        reason: String,
        /// Failures in a row, this one included.
        failures: u32,
    },
    /// The document was verified with all signatures: the flow ended as `2`.
    Completed {
        /// The document.
        document: Digest,
    },
    /// The flow ended as `3`.
    Revoked {
        /// Why.
        reason: String,
    },
    /// The flow ended as `5`.
    Expired,
    /// The flow ended as `7`.
    Rejected {
        /// By whom.
        signer: SignerNo,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// The event as canonical JSON (RFC 8785), which is what the chain covers and what is stored.
    pub fn to_canonical_json(&self) -> String {
        // An event holds strings, integers and lists of them only: it always converts, and RFC 8785's rules for
        // numbers with a fraction never apply.
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        let mut json = String::with_capacity(256);
        write_canonical(&value, &mut json);
        json
    }
}

/// The chain value after `event`, given the one before it.
pub fn chain(previous: &Digest, event: &Event) -> Digest {
    chain_json(previous, &event.to_canonical_json())
}

/// The chain value after an event that is at hand as canonical JSON.
pub fn chain_json(previous: &Digest, canonical_json: &str) -> Digest {
    Digest::of_parts(&[previous.as_bytes(), canonical_json.as_bytes()])
}

/// Writes JSON with the members of each object sorted by name. All our names are ASCII, where sorting by bytes is RFC
/// 8785's sorting by UTF-16 units; serde_json escapes strings as that document demands.
fn write_canonical(value: &Value, json: &mut String) {
    let comma = |json: &mut String, index| {
        if index > 0 {
            json.push(',');
        }
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            json.push_str(&value.to_string())
        }
        Value::Array(items) => {
            json.push('[');
            for (index, item) in items.iter().enumerate() {
                comma(json, index);
                write_canonical(item, json);
            }
            json.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            json.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                comma(json, index);
                json.push_str(&Value::from(name.as_str()).to_string());
                json.push(':');
                write_canonical(member, json);
            }
            json.push('}');
        }
    }
}
