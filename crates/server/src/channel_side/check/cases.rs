//! The cases: what is sent, in which order, and what the contract says of it. Every case has a flow of its own, so that
//! no answer is owed to what another case left behind.

use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::Method;
use sealpost_contract::{EndStatus, vectors};

use super::probe::{Pace, Probe, Sent, Signature};
use super::report::Finding;
use super::verdict::{Came, Contract, Verdict};

/// Every id that is made up begins with this, and is 32 hex digits long.
pub(super) const ID_MARK: &str = "5ea1c4ec";
/// Where no file is: a host that never exists (RFC 2606).
const FILE_URL: &str = "http://sealpost-check.invalid/";
const END_TIME: &str = "2000-01-01 00:00:00";
/// The page's 回调请求样例, with its white space.
const SAMPLE: &str = "{\n    \"sign_end_time\": \"2021-03-22 18:24:29\",\n    \"sign_flow_status\": \"2\",\n    \
    \"sign_flow_id\": \"587a2f4738d44391835198df570b6ee6\",\n    \"sign_file_url\": \"http://\"\n}";

/// A slow client sends in this many pieces, with this pause before each: one second in all.
const SLOW: Pace = Pace::Pieces(10, Duration::from_millis(100));
/// Many times what the four members can take, and little enough for an endpoint to read it all and still answer.
const TOO_LARGE_BYTES: usize = 512 * 1024;
/// After so many requests in a row without any answer there is nothing to find out any more.
const GIVE_UP_AFTER: usize = 4;

/// Runs every case (with `read_only`, those that leave nothing behind) and gives each finding to `found`.
pub(super) async fn run(probe: &Probe, read_only: bool, found: impl FnMut(Finding)) {
    let mut run = Run {
        probe,
        found,
        silent: 0,
    };
    if !read_only {
        run.accepted().await;
        run.again().await;
        run.conflict().await;
    }
    run.malformed().await;
    run.bounds(read_only).await;
    run.signatures(read_only).await;
}

/// `bytes` random bytes as hex digits.
pub(super) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    // Without randomness ids would repeat, which the endpoint's answers would show; it does not happen.
    let _ = rand::fill(&mut random);
    hex::encode(random)
}

fn fresh_id() -> String {
    format!("{ID_MARK}{}", random_hex(12))
}

fn callback(id: &str, status: &str) -> String {
    callback_with(id, status, FILE_URL)
}

fn callback_with(id: &str, status: &str, url: &str) -> String {
    format!(
        r#"{{"sign_end_time":"{END_TIME}","sign_flow_status":"{status}","sign_flow_id":"{id}","sign_file_url":"{url}"}}"#
    )
}

struct Run<'a, F> {
    probe: &'a Probe,
    found: F,
    /// Requests in a row that were not answered at all.
    silent: usize,
}

impl<F: FnMut(Finding)> Run<'_, F> {
    /// Sends one request and records what came.
    async fn case(
        &mut self,
        rule: impl Into<String>,
        about: impl Into<String>,
        contract: Contract,
        sent: Sent,
    ) {
        if self.silent >= GIVE_UP_AFTER {
            return;
        }
        let came = self.probe.send(&sent).await;
        self.record(rule.into(), about.into(), contract, &sent, &came);
    }

    fn record(
        &mut self,
        rule: String,
        about: String,
        contract: Contract,
        sent: &Sent,
        came: &Came,
    ) -> Verdict {
        self.silent = if matches!(came, Came::Nothing(_)) {
            self.silent + 1
        } else {
            0
        };
        let (verdict, remark) = contract.judge(came, self.probe.deadline);
        let remark = match remark {
            Some(remark) if self.silent == GIVE_UP_AFTER => Some(format!(
                "{remark}; {GIVE_UP_AFTER} in a row: the rest is not sent"
            )),
            remark => remark,
        };
        let method = sent.method.clone();
        let (sent, came) = (sent.body.clone(), came.clone());
        (self.found)(Finding {
            rule,
            about,
            method,
            sent,
            came,
            contract,
            verdict,
            remark,
        });
        verdict
    }

    /// What is to be acknowledged.
    async fn accepted(&mut self) {
        for status in EndStatus::ALL {
            let body = callback(&fresh_id(), status.code());
            let about = format!(
                "a flow that ended as {} {}",
                status.code(),
                status.english()
            );
            self.case(
                format!("status-{}", status.code()),
                about,
                Contract::Acknowledge,
                Sent::post(body),
            )
            .await;
        }
        let url_of = |length: usize, fill: char| {
            let start = "http://sealpost-check.invalid/";
            format!(
                "{start}{}",
                String::from_iter(std::iter::repeat_n(fill, length - start.len()))
            )
        };
        let id = fresh_id;
        let plain = callback(&id(), "2");
        let unknown = plain.replace('}', r#","sealpost_check":{"a":[1,null,"x"]}}"#);
        let order = format!(
            r#"{{"sign_file_url":"{FILE_URL}","sign_flow_id":"{}","sign_flow_status":"2","sign_end_time":"{END_TIME}"}}"#,
            id()
        );
        let escaped = callback_with(&id(), r"\u0032", r"http:\/\/sealpost-check.invalid\/")
            .replace("sign_flow_id", r"sign_flow_\u0069d");
        let spaced = format!(" \r\n{}\n", callback(&id(), "2").replace(',', " ,\n\t"));
        let short = format!("check{}", random_hex(4));
        let leap = callback(&id(), "2").replace(END_TIME, "2000-02-29 23:59:59");
        for (rule, about, body) in [
            ("sample", "the page's own sample", SAMPLE.to_owned()),
            ("unknown-members", "members beyond the four", unknown),
            ("member-order", "members in another order", order),
            ("escapes", "the same characters, escaped", escaped),
            ("white-space", "white space between the tokens", spaced),
            (
                "url-128",
                "a URL of exactly 128 characters",
                callback_with(&id(), "2", &url_of(128, 'x')),
            ),
            (
                "url-128-wide",
                "128 characters that are more bytes",
                callback_with(&id(), "2", &url_of(128, '收')),
            ),
            ("short-id", "an id shorter than 32", callback(&short, "2")),
            ("leap-day", "29 February of a leap year", leap),
        ] {
            self.case(rule, about, Contract::Acknowledge, Sent::post(body))
                .await;
        }
        let slow = Sent {
            pace: SLOW,
            ..Sent::post(callback(&id(), "2"))
        };
        self.case(
            "slow-client",
            "a body that takes a second to arrive",
            Contract::Acknowledge,
            slow,
        )
        .await;
    }

    /// The same callback more than once.
    async fn again(&mut self) {
        let body = callback(&fresh_id(), "2");
        // The first is no finding of its own: the statuses above have shown what becomes of it.
        self.probe.send(&Sent::post(body.clone())).await;
        self.case(
            "repeat",
            "the same callback again",
            Contract::Acknowledge,
            Sent::post(body.clone()),
        )
        .await;
        let dressed = body.replace(',', " , ").replace('}', r#","x":1}"#);
        self.case(
            "repeat-form",
            "the same four members in other clothes",
            Contract::Acknowledge,
            Sent::post(dressed),
        )
        .await;

        let sent = Sent::post(callback(&fresh_id(), "2"));
        if self.silent < GIVE_UP_AFTER {
            let (one, two) = tokio::join!(self.probe.send(&sent), self.probe.send(&sent));
            // The worse of the two is the finding.
            let judge = |came: &Came| Contract::Acknowledge.judge(came, self.probe.deadline).0;
            let worse = if judge(&one) == Verdict::Keeps {
                two
            } else {
                one
            };
            let about = "two copies at the same moment".to_owned();
            self.record(
                "at-once".to_owned(),
                about,
                Contract::Acknowledge,
                &sent,
                &worse,
            );
        }
    }

    /// Another end for a flow that has ended.
    async fn conflict(&mut self) {
        let id = fresh_id();
        let first = Sent::post(callback(&id, "2"));
        self.probe.send(&first).await;
        let other = Sent::post(callback(&id, "7"));
        self.case(
            "conflict",
            "another end for a flow that has ended",
            Contract::Refuse(409),
            other,
        )
        .await;
        self.case(
            "after-conflict",
            "its first end again",
            Contract::Acknowledge,
            first,
        )
        .await;
    }

    /// Every body that the vectors refuse.
    async fn malformed(&mut self) {
        for case in vectors::requests() {
            if case.answer == sealpost_contract::answer::SUCCESS {
                continue;
            }
            let rule = format!("malformed: {}", case.name);
            let sent = Sent::post(with_own_id(&case.body));
            self.case(rule, case.name, Contract::Refuse(400), sent)
                .await;
        }
    }

    /// Sizes, methods, content types, and clients that stop.
    async fn bounds(&mut self, read_only: bool) {
        let long = format!(r#"{{"sign_end_time":"{}""#, "9".repeat(TOO_LARGE_BYTES));
        let about = format!("a body of {} KiB", TOO_LARGE_BYTES / 1024);
        self.case(
            "too-large",
            about,
            Contract::RefuseOrClose(413),
            Sent::post(long),
        )
        .await;

        let get = Sent {
            method: Method::GET,
            ..Sent::post(Bytes::new())
        };
        self.case("method", "a GET", Contract::Refuse(405), get)
            .await;

        let slow = Sent {
            pace: SLOW,
            ..Sent::post(callback(&fresh_id(), "9"))
        };
        self.case(
            "slow-malformed",
            "a malformed body that takes a second",
            Contract::Refuse(400),
            slow,
        )
        .await;

        self.while_others_stall().await;

        if !read_only {
            let form = "application/x-www-form-urlencoded";
            let sent = Sent {
                content_type: form,
                ..Sent::post(callback(&fresh_id(), "2"))
            };
            self.case(
                "content-type",
                "JSON that is announced as a form",
                Contract::MayRefuse(400),
                sent,
            )
            .await;
        }
    }

    /// Clients that stop in the middle must not keep others waiting.
    async fn while_others_stall(&mut self) {
        if self.silent >= GIVE_UP_AFTER {
            return;
        }
        let stalled = Sent {
            pace: Pace::Stall,
            ..Sent::post(callback(&fresh_id(), "2"))
        };
        let sent = Sent::post(callback(&fresh_id(), "9"));
        let other = async {
            // By then the others have connected and stopped; on loopback this takes a millisecond.
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.probe.send(&sent).await
        };
        let stall = async {
            let long = self.probe.deadline * 3;
            tokio::join!(
                self.probe.send_within(&stalled, long),
                self.probe.send_within(&stalled, long)
            );
            // Whatever became of those, it is the other client that counts.
            std::future::pending().await
        };
        let came = tokio::select! {
            came = other => came,
            never = stall => never,
        };
        let about = "a (malformed) request while other clients stall".to_owned();
        self.record(
            "stalled-clients".to_owned(),
            about,
            Contract::Refuse(400),
            &sent,
            &came,
        );
    }

    /// Whether the signature is checked, if it is to be.
    async fn signatures(&mut self, read_only: bool) {
        let signed = |signature, id: &str| Sent {
            signature,
            ..Sent::post(callback(id, "2"))
        };
        if !self.probe.signs() {
            if !read_only {
                let sent = signed(Signature::Wrong, &fresh_id());
                let about = "a signature that cannot be right (no secret was given)";
                self.case("signature", about, Contract::MayRefuse(401), sent)
                    .await;
            }
            return;
        }
        for (rule, about, signature) in [
            ("signature-missing", "no signature", Signature::None),
            (
                "signature-wrong",
                "signed with another secret",
                Signature::Wrong,
            ),
            (
                "signature-body",
                "a signature of other bytes",
                Signature::OfAnotherBody,
            ),
            ("signature-old", "signed an hour ago", Signature::Old),
        ] {
            self.case(
                rule,
                about,
                Contract::Refuse(401),
                signed(signature, &fresh_id()),
            )
            .await;
        }
        if !read_only {
            let sent = signed(Signature::Rotating, &fresh_id());
            let about = "two signatures, the second of which fits";
            self.case("signature-rotation", about, Contract::Acknowledge, sent)
                .await;
        }
    }
}

/// The vector's body with a fresh id of ours in the place of the ids that the vectors use, so that one wrongly accepted
/// case does not hide the next.
fn with_own_id(body: &str) -> String {
    let sample = "587a2f4738d44391835198df570b6ee6".to_owned();
    let uniform = "0123456789abcdef"
        .chars()
        .map(|digit| String::from_iter([digit; 32]));
    let mut body = body.to_owned();
    for id in std::iter::once(sample).chain(uniform) {
        // In quotes, so that an id of 33 characters stays one.
        body = body.replace(&format!("\"{id}\""), &format!("\"{}\"", fresh_id()));
    }
    body
}

#[cfg(test)]
mod tests {
    use sealpost_contract::Callback;

    use super::*;

    #[test]
    fn a_refused_vector_stays_refused_with_another_id() {
        for case in vectors::requests()
            .into_iter()
            .filter(|case| case.answer != "000")
        {
            assert!(
                Callback::parse(with_own_id(&case.body).as_bytes()).is_err(),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn what_is_made_up_is_marked() {
        let callback = Callback::parse(callback(&fresh_id(), "2").as_bytes()).unwrap();
        assert!(callback.sign_flow_id.is_hex());
        assert!(callback.sign_flow_id.as_str().starts_with(ID_MARK));
        assert!(
            callback
                .sign_file_url
                .as_str()
                .contains("sealpost-check.invalid")
        );
    }
}
