//! Signing codes: six digits, five minutes, five tries; and how often one may be sent. Pure: the moment and the randomness
//! are arguments. Kept in memory, so that a restart only means that a signer asks for a new one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sealpost_contract::{SignFlowId, UtcMillis};

use crate::secrets::sha256;

/// How long a code is good, in milliseconds.
pub(crate) const VALID: UtcMillis = 5 * 60 * 1000;

/// How often a code may be tried.
const TRIES: u32 = 5;

/// The least time between two codes for one signer, in milliseconds.
const PAUSE: UtcMillis = 60 * 1000;

/// Codes in an hour at most to one contact, and from one address.
const PER_CONTACT: usize = 5;
const PER_ADDRESS: usize = 30;
const HOUR: UtcMillis = 60 * 60 * 1000;

/// Entries kept at most; beyond, the oldest are forgotten.
const MOST: usize = 50_000;

/// The codes that are out.
#[derive(Default)]
pub(crate) struct Codes(Mutex<Out>);

#[derive(Default)]
struct Out {
    pending: HashMap<(SignFlowId, u8), Pending>,
    /// When codes were sent, by a hash of the contact or by the address.
    sent: HashMap<[u8; 32], VecDeque<UtcMillis>>,
}

struct Pending {
    digits: String,
    sent_at: UtcMillis,
    tries: u32,
}

/// Why no code is sent now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOften {
    /// Seconds until the next may be sent.
    pub(crate) retry_after: u32,
}

/// Why a code does not count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WrongCode {
    /// None was sent, or it is older than five minutes, or was tried too often.
    Gone,
    /// It is another.
    Wrong {
        /// How often it may still be tried.
        tries_left: u32,
    },
}

impl Codes {
    /// Makes a code for a signer, unless too many were sent.
    pub(crate) fn issue(
        &self,
        signer: (SignFlowId, u8),
        contact: &str,
        address: IpAddr,
        now: UtcMillis,
        random: u32,
    ) -> Result<String, TooOften> {
        let mut out = self.out();
        if let Some(pending) = out.pending.get(&signer) {
            wait_until(pending.sent_at + PAUSE, now)?;
        }
        let (contact, address) = (
            sha256(contact.as_bytes()),
            sha256(address.to_string().as_bytes()),
        );
        for (key, most) in [(contact, PER_CONTACT), (address, PER_ADDRESS)] {
            let sent = out.sent.entry(key).or_default();
            sent.retain(|at| *at > now - HOUR);
            if sent.len() >= most
                && let Some(first) = sent.front()
            {
                wait_until(first + HOUR, now)?;
            }
        }
        if out.sent.len() > MOST {
            out.sent
                .retain(|_, sent| sent.back().is_some_and(|at| *at > now - HOUR));
        }
        if out.pending.len() > MOST {
            out.pending
                .retain(|_, pending| pending.sent_at > now - VALID);
        }
        for key in [contact, address] {
            out.sent.entry(key).or_default().push_back(now);
        }
        let digits = format!("{:06}", random % 1_000_000);
        out.pending.insert(
            signer,
            Pending {
                digits: digits.clone(),
                sent_at: now,
                tries: 0,
            },
        );
        Ok(digits)
    }

    /// Checks a code. A right one stays good until it is spent or five minutes are over.
    pub(crate) fn check(
        &self,
        signer: &(SignFlowId, u8),
        code: &str,
        now: UtcMillis,
    ) -> Result<(), WrongCode> {
        let mut out = self.out();
        let pending = out
            .pending
            .get_mut(signer)
            .filter(|pending| pending.sent_at > now - VALID && pending.tries < TRIES);
        let Some(pending) = pending else {
            return Err(WrongCode::Gone);
        };
        if verify_slices_are_equal(pending.digits.as_bytes(), code.as_bytes()).is_ok() {
            return Ok(());
        }
        pending.tries += 1;
        Err(WrongCode::Wrong {
            tries_left: TRIES - pending.tries,
        })
    }

    /// Forgets a code that has been used.
    pub(crate) fn spend(&self, signer: &(SignFlowId, u8)) {
        self.out().pending.remove(signer);
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_until(then: UtcMillis, now: UtcMillis) -> Result<(), TooOften> {
    match then - now {
        wait if wait > 0 => Err(TooOften {
            retry_after: u32::try_from(wait.div_euclid(1000) + 1).unwrap_or(u32::MAX),
        }),
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codes({})", self.out().pending.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn signer(n: u8) -> (SignFlowId, u8) {
        (SignFlowId::from_bytes([n; 16]), 1)
    }

    #[test]
    fn a_code_is_good_for_five_minutes_and_five_tries() {
        let codes = Codes::default();
        assert_eq!(codes.check(&signer(1), "000042", 0), Err(WrongCode::Gone));
        assert_eq!(
            codes.issue(signer(1), "138", HERE, 0, 42).unwrap(),
            "000042"
        );
        assert_eq!(codes.check(&signer(1), "000042", VALID - 1), Ok(()));
        assert_eq!(
            codes.check(&signer(2), "000042", 1),
            Err(WrongCode::Gone),
            "it is one signer's"
        );
        assert_eq!(
            codes.check(&signer(1), "000042", VALID),
            Err(WrongCode::Gone)
        );
        for left in (0..5).rev() {
            assert_eq!(
                codes.check(&signer(1), "999999", 1),
                Err(WrongCode::Wrong { tries_left: left })
            );
        }
        assert_eq!(codes.check(&signer(1), "000042", 1), Err(WrongCode::Gone));
    }

    #[test]
    fn a_code_is_spent_once() {
        let codes = Codes::default();
        codes.issue(signer(1), "138", HERE, 0, 7).unwrap();
        codes.check(&signer(1), "000007", 1).unwrap();
        codes.spend(&signer(1));
        assert_eq!(codes.check(&signer(1), "000007", 2), Err(WrongCode::Gone));
    }

    #[test]
    fn codes_are_not_sent_too_often() {
        let codes = Codes::default();
        codes.issue(signer(1), "138", HERE, 0, 1).unwrap();
        assert_eq!(
            codes.issue(signer(1), "138", HERE, PAUSE - 1, 1),
            Err(TooOften { retry_after: 1 })
        );
        for n in 1..5 {
            codes
                .issue(signer(1 + n), "138", HERE, i64::from(n), 1)
                .unwrap();
        }
        let refused = codes.issue(signer(9), "138", HERE, 10, 1).unwrap_err();
        assert!(refused.retry_after > 3500, "five to one number in an hour");
        codes.issue(signer(9), "139", HERE, 10, 1).unwrap();
        codes.issue(signer(10), "138", HERE, HOUR, 1).unwrap();
        let many = (0..PER_ADDRESS as u8 + 1)
            .map(|n| codes.issue(signer(100 + n), &n.to_string(), HERE, HOUR + 5, 1));
        assert!(
            many.filter(Result::is_err).count() >= 1,
            "and not too many from one address"
        );
    }
}
