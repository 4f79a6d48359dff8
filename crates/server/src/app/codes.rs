//! Signing codes: six digits, five minutes, five tries; and how often one may be sent.
//!
//! The store counts and compares, so that all of this holds across nodes and restarts. It has neither codes nor numbers nor
//! addresses: they come to it as digests keyed with a secret that is not in the database.

use std::net::IpAddr;

use sealpost_contract::UtcMillis;
use sealpost_flow::{Digest, Flow, Message, Route};
use sealpost_store::{CodeOwner, Counted, NewCode, Rate, StoredFlow, Tried};

use super::App;
use super::details::{Details, KeptContact};
use super::notify::Notice;
use super::view::Origin;
use crate::problem::{FieldError, Kind, Problem};
use crate::secrets::{Secrets, random};

const SECOND: UtcMillis = 1000;

/// How long a code is good, in milliseconds.
pub(crate) const VALID: UtcMillis = 5 * 60 * SECOND;

/// How often a code may be tried.
const TRIES: u32 = 5;

/// The least time between two codes for one signer, in milliseconds.
const PAUSE: UtcMillis = 60 * SECOND;

/// Codes in an hour at most to one contact, and from one address.
const PER_CONTACT: u32 = 5;
const PER_ADDRESS: u32 = 30;
const HOUR: UtcMillis = 60 * 60 * SECOND;

impl App {
    /// Makes a code and sends it.
    pub(super) async fn issue_code(
        &self,
        flow: &Flow,
        signer: u8,
        kept: &KeptContact,
        origin: &Origin,
    ) -> Result<(), Problem> {
        let contact = self.open_contact(&flow.id, kept)?;
        let owner: CodeOwner = (flow.id.clone(), signer);
        let digits = format!("{:06}", u32::from_be_bytes(random::<4>()?) % 1_000_000);
        let now = self.now();
        let of_contact = Rate {
            key: keyed(self.secrets(), "codes to a contact", contact.text()),
            window: HOUR,
            limit: PER_CONTACT,
        };
        let of_address = Rate {
            key: keyed(
                self.secrets(),
                "codes from an address",
                &network(origin.address).to_string(),
            ),
            window: HOUR,
            limit: PER_ADDRESS,
        };
        let code = NewCode {
            digest: code_digest(self.secrets(), &owner, &digits),
            owner: owner.clone(),
            issued_at: now,
            expires_at: now + VALID,
            next_at: now + PAUSE,
            tries: TRIES,
            rates: vec![of_contact.clone(), of_address],
        };
        if let Counted::Beyond { until } = self.store().issue_code(code).await? {
            let wait = Problem::seconds_until(until, now);
            let detail = format!("Too many codes were sent; the next in {wait} s.");
            return Err(Problem::new(Kind::TooManyRequests, detail)
                .code("too_many_codes")
                .retry_after(wait));
        }
        let notice = Notice {
            subject: "签署验证码 / Signing code",
            text: format!(
                "【Sealpost】您正在签署“{}”，验证码 {digits}，5 分钟内有效，请勿告诉他人。Your signing code is {digits}, valid for 5 minutes.",
                flow.title
            ),
            code: Some(&digits),
        };
        if self
            .send_message(flow, kept, Message::Code, &contact, &notice)
            .await
            .is_err()
        {
            // What did not go out must not count against the signer, nor be guessed at. It still counts for the address, which
            // could otherwise make a gateway that fails busy without an end.
            self.store()
                .withdraw_code(owner, vec![of_contact.key])
                .await?;
            return Err(Problem::new(
                Kind::Unavailable,
                "The code could not be sent. Try again in a moment.",
            )
            .code("code_not_sent")
            .retry_after(10));
        }
        Ok(())
    }

    /// The code must be right where the flow asks for one. Says what the signer has proven by it, if anything.
    pub(super) async fn check_code(
        &self,
        stored: &StoredFlow,
        signer: u8,
        code: Option<&str>,
    ) -> Result<Option<Route>, Problem> {
        let details = Details::parse(stored.details.as_deref());
        let Some(kept) = details.contact_of(signer).filter(|kept| kept.code) else {
            return Ok(None);
        };
        let code = code.ok_or_else(|| {
            Problem::field(
                "code",
                "missing",
                "the code that was sent to the signer is required",
            )
        })?;
        let owner: CodeOwner = (stored.flow.id.clone(), signer);
        let digest = code_digest(self.secrets(), &owner, code);
        let refused = match self.store().try_code(owner, digest, self.now()).await? {
            Tried::Right => return Ok(Some(kept.route())),
            Tried::Gone => FieldError::new(
                "code",
                "expired_code",
                "there is no code, or it is no longer good; ask for a new one",
            ),
            Tried::Wrong { tries_left } => FieldError::new(
                "code",
                "wrong_code",
                format!("it is another code; {tries_left} tries are left"),
            )
            .limit(tries_left),
        };
        let name = match refused.code.as_str() {
            "wrong_code" => "wrong_code",
            _ => "expired_code",
        };
        self.metrics().count_operation(name);
        Err(Problem::fields(vec![refused]))
    }

    /// Forgets a code that has been used. That this fails is no reason to refuse what it was used for: it ends by itself, and
    /// nobody signs twice.
    pub(super) async fn spend_code(&self, flow: &Flow, signer: u8) {
        if let Err(error) = self.store().spend_code((flow.id.clone(), signer)).await {
            tracing::warn!(sign_flow_id = %flow.id, %error, "a used code could not be removed");
        }
    }
}

/// A code as the store knows it; the same digits of another signer are another digest.
fn code_digest(secrets: &Secrets, (flow, signer): &CodeOwner, digits: &str) -> Digest {
    keyed(
        secrets,
        "signing code",
        &format!("{flow}/{signer}/{digits}"),
    )
}

pub(crate) fn keyed(secrets: &Secrets, purpose: &str, text: &str) -> Digest {
    Digest::from_bytes(secrets.mac(purpose, text.as_bytes()))
}

/// What one subscriber has: an IPv4 address, or the 64 bits in front of an IPv6 one, who can make up the others at will.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX << 64;
            std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use sealpost_contract::SignFlowId;

    use super::*;

    #[test]
    fn a_code_is_one_signers_and_one_installations() {
        let of = |master, flow, signer, digits| {
            let secrets = Secrets::from_master(&[master; 32]).unwrap();
            code_digest(
                &secrets,
                &(SignFlowId::from_bytes([flow; 16]), signer),
                digits,
            )
        };
        let code = of(1, 1, 1, "000042");
        assert_eq!(of(1, 1, 1, "000042"), code);
        for other in [
            of(2, 1, 1, "000042"),
            of(1, 2, 1, "000042"),
            of(1, 1, 2, "000042"),
            of(1, 1, 1, "000043"),
        ] {
            assert_ne!(other, code);
        }
    }

    #[test]
    fn addresses_of_one_subscriber_count_together() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(
            network("2001:db8:1:2:3::4"),
            network("2001:db8:1:2:ffff::1")
        );
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.7"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
    }
}
