//! What can be done to a flow, by whom, and why it may be refused.

use std::net::IpAddr;

use sealpost_contract::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::state::{Downgrade, Level, SignerNo, Status};
use crate::{Digest, limits};

/// Something that someone wants to do to a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Opens a draft for its signers. By the initiator or an operator.
    Start,
    /// Notes that a signer has looked at the document; changes nothing from the second time on. By the signer.
    View,
    /// Signs. By the signer.
    Sign {
        /// The picture of the signature.
        mark: Digest,
        /// The document that the signer was shown: any version of this flow's, for each extends the one before it.
        document: Digest,
        /// What the signer showed beside it.
        proof: Proof,
    },
    /// Refuses to sign, which ends the flow. By the signer.
    Reject {
        /// 1 to 200 characters.
        reason: String,
    },
    /// Takes the flow back, which ends it. By the initiator or an operator.
    Revoke {
        /// 1 to 200 characters.
        reason: String,
    },
    /// Notes that the signers who may sign were reminded, which is refused too soon after the start or the last time. By the
    /// initiator, an operator or the system.
    Remind,
    /// Notes that a message was handed over to be sent to a signer, or could not be. By the system.
    Notify {
        /// To whom.
        signer: SignerNo,
        /// What.
        message: Message,
        /// Which way, and where to.
        to: Route,
        /// Why it was not; nothing: it was. Cut to 200 characters.
        failure: Option<String>,
    },
    /// Ends a flow whose deadline has passed. By the system.
    Expire,
    /// Reports that a signature is in the PDF. By the system.
    Apply {
        /// Whose.
        signer: SignerNo,
        /// The document that the signature was added to. If it is no longer the flow's, another was faster.
        base: Digest,
        /// The document with the signature.
        document: Digest,
        /// The serial number of the certificate.
        certificate: String,
        /// Which level the signature has.
        level: Level,
        /// Why that is not the level that was wanted.
        downgrade: Option<Downgrade>,
    },
    /// Reports that what later checks need was put into the PDF of all signatures, or put there anew after the flow was
    /// completed. By the system.
    Preserve {
        /// The document that it was added to. If it is no longer the flow's newest, another was faster.
        base: Digest,
        /// The document with it; the same where nothing could be added.
        document: Digest,
        /// Which level the signatures have now.
        level: Level,
        /// When the timestamp that keeps it must have been renewed; nothing: there is none.
        renew_by: Option<UtcMillis>,
        /// Why that is not the level that was wanted.
        downgrade: Option<Downgrade>,
    },
    /// Reports that sealing failed, and asks for another attempt later. By the system.
    SealingFailed {
        /// Why; cut to 200 characters.
        reason: String,
    },
    /// Reports that the finished document was verified, which ends the flow. By the system.
    Complete {
        /// The document that was verified.
        document: Digest,
    },
}

/// What a signer shows beside a signature. Each part becomes an event of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// How they proved who they are: they know the code that was sent this way. Nothing: by having the link.
    pub authentication: Option<Route>,
    /// The words that they agreed to; nothing: whoever signs for them was shown none.
    pub consent: Option<Consent>,
    /// The name that they typed, of which the picture was made; nothing: they drew it. Cut to 64 characters.
    pub typed: Option<String>,
}

/// A way to a signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which kind.
    pub method: Method,
    /// Where to, masked: `138****5678`. Cut to 200 characters.
    pub contact: String,
}

/// A kind of way to a signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A message to a mobile phone.
    Sms,
    /// A mail.
    Email,
}

/// Words that a signer agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// As shown, 1 to 500 characters.
    pub text: String,
    /// Their language, as a BCP 47 tag: `zh-CN`.
    pub language: String,
}

/// What is sent to signers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A code to sign with.
    Code,
    /// A reminder.
    Reminder,
}

/// Who does something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub who: Who,
    /// The client's address as the server saw it.
    pub address: Option<IpAddr>,
    /// The program that the client says it uses, cut to 256 characters.
    pub user_agent: Option<String>,
}

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Who {
    /// Whoever made the flow, through the API.
    Initiator {
        /// The id (not the secret) of the API key that was used.
        key: String,
    },
    /// One of the signers, through its link.
    Signer {
        /// Which.
        signer: SignerNo,
    },
    /// The operator of this installation, through the command line or the console.
    Operator,
    /// Sealpost by itself.
    System,
}

impl Actor {
    /// Sealpost by itself.
    pub const SYSTEM: Actor = Actor::of(Who::System);

    /// The operator at the machine.
    pub const OPERATOR: Actor = Actor::of(Who::Operator);

    /// A signer.
    pub const fn signer(signer: SignerNo) -> Actor {
        Actor::of(Who::Signer { signer })
    }

    /// The initiator, by the id (not the secret) of its API key.
    pub fn initiator(key: impl Into<String>) -> Actor {
        Actor::of(Who::Initiator { key: key.into() })
    }

    /// The same actor, coming from a client.
    pub fn from_client(self, address: IpAddr, user_agent: Option<&str>) -> Actor {
        let user_agent =
            user_agent.map(|text| text.chars().take(limits::USER_AGENT_CHARS).collect());
        Actor {
            address: Some(address),
            user_agent,
            ..self
        }
    }

    const fn of(who: Who) -> Actor {
        Actor {
            who,
            address: None,
            user_agent: None,
        }
    }
}

/// Why an operation is not permitted. The flow stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The flow has ended, and an end is final.
    #[error("the sign flow has ended: it is {status}")]
    Ended {
        /// How.
        status: Status,
    },
    /// The operation has its place in another state.
    #[error("the sign flow is {status}, which does not permit this")]
    WrongState {
        /// The state it is in.
        status: Status,
    },
    /// This actor may never do this.
    #[error("this actor may not do this")]
    ActorNotAllowed,
    /// The flow has no signer of this number.
    #[error("the sign flow has no signer {signer}")]
    UnknownSigner {
        /// The number.
        signer: SignerNo,
    },
    /// Others have to sign before this signer.
    #[error("it is not yet the turn of signer {signer}")]
    NotYourTurn {
        /// The number.
        signer: SignerNo,
    },
    /// This signer has signed already.
    #[error("signer {signer} has already signed")]
    AlreadySigned {
        /// The number.
        signer: SignerNo,
    },
    /// A signature was to be applied that was not given, or is applied already.
    #[error("signer {signer} has no signature that waits to be applied")]
    NothingToApply {
        /// The number.
        signer: SignerNo,
    },
    /// The signer saw a document that is none of this flow's versions.
    #[error("the document is none of this sign flow's")]
    UnknownDocument,
    /// The document was changed meanwhile; start from the current one.
    #[error("the document has changed meanwhile")]
    StaleDocument,
    /// The deadline has passed.
    #[error("the deadline has passed")]
    DeadlinePassed {
        /// The deadline.
        expires_at: UtcMillis,
    },
    /// The deadline has not passed yet.
    #[error("the deadline has not passed yet")]
    DeadlineNotPassed {
        /// The deadline.
        expires_at: UtcMillis,
    },
    /// There is no sealing to fail.
    #[error("there is nothing to seal")]
    NothingToSeal,
    /// Not every signature is in the document yet.
    #[error("not every signature is applied")]
    NotFullyApplied,
    /// The words agreed to are missing, too long, or hold control characters.
    #[error(
        "the words agreed to are 1 to {} characters of text",
        limits::CONSENT_CHARS
    )]
    BadConsent,
    /// A reason is missing, blank, too long, or holds control characters.
    #[error("a reason is 1 to {} characters of text", limits::REASON_CHARS)]
    BadReason,
    /// The signing has only just begun.
    #[error("the signing began less than 30 minutes ago")]
    StartedRecently {
        /// From when on the signers may be reminded.
        again_at: UtcMillis,
    },
    /// The signers have only just been reminded.
    #[error("the signers were reminded less than 10 minutes ago")]
    RemindedRecently {
        /// From when on they may be reminded again.
        again_at: UtcMillis,
    },
}

impl Refusal {
    /// A name for programs, which never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Ended { .. } => "flow_ended",
            Refusal::WrongState { .. } => "wrong_state",
            Refusal::ActorNotAllowed => "actor_not_allowed",
            Refusal::UnknownSigner { .. } => "unknown_signer",
            Refusal::NotYourTurn { .. } => "not_your_turn",
            Refusal::AlreadySigned { .. } => "already_signed",
            Refusal::NothingToApply { .. } => "nothing_to_apply",
            Refusal::UnknownDocument => "unknown_document",
            Refusal::StaleDocument => "stale_document",
            Refusal::DeadlinePassed { .. } => "deadline_passed",
            Refusal::DeadlineNotPassed { .. } => "deadline_not_passed",
            Refusal::NothingToSeal => "nothing_to_seal",
            Refusal::NotFullyApplied => "not_fully_applied",
            Refusal::BadConsent => "bad_consent",
            Refusal::BadReason => "bad_reason",
            Refusal::StartedRecently { .. } => "started_recently",
            Refusal::RemindedRecently { .. } => "reminded_recently",
        }
    }
}
