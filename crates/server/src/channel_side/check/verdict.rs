//! Whether what came is what the contract says. Pure.

use std::time::Duration;

use sealpost_contract::answer;

/// What came back for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Came {
    /// An answer.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The body, as far as a platform reads it.
        body: Vec<u8>,
        /// How long it took.
        took: Duration,
    },
    /// None.
    Nothing(String),
}

/// What the contract says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contract {
    /// It is to be acknowledged.
    Acknowledge,
    /// It is to be refused, with this code and the same HTTP status.
    Refuse(u16),
    /// It is to be refused, and closing the connection will do, since the request is beyond all bounds.
    RefuseOrClose(u16),
    /// The page leaves it open; ours is to refuse with this code.
    MayRefuse(u16),
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As the contract says.
    Keeps,
    /// Permitted, but not what our own receivers do.
    May,
    /// Callbacks will be lost, repeated for nothing, or believed though they are wrong.
    Breaks,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Keeps => "keeps",
            Self::May => "may",
            Self::Breaks => "BREAKS",
        }
    }

    /// The same for a program.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Keeps => "keeps",
            Self::May => "may",
            Self::Breaks => "breaks",
        }
    }
}

impl Contract {
    /// The rule in a few words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Acknowledge => "000".to_owned(),
            Self::Refuse(code) | Self::RefuseOrClose(code) => format!("not 000; {code}"),
            Self::MayRefuse(code) => format!("may be {code}"),
        }
    }

    /// Judges what came, and says why if it is not simply as it should be. `deadline` is how long a platform waits.
    pub(super) fn judge(self, came: &Came, deadline: Duration) -> (Verdict, Option<String>) {
        let (status, body, took) = match came {
            Came::Answer { status, body, took } => (*status, body, *took),
            Came::Nothing(reason) => {
                return match self {
                    Self::RefuseOrClose(_) => (Verdict::May, Some(format!("no answer: {reason}"))),
                    Self::Acknowledge | Self::Refuse(_) | Self::MayRefuse(_) => {
                        (Verdict::Breaks, Some(format!("no answer: {reason}")))
                    }
                };
            }
        };
        let judged = answer::judge(status, body);
        match (self, judged) {
            (Self::Acknowledge, Ok(())) if took > deadline / 2 => (
                Verdict::May,
                Some("close to the platform's time limit".to_owned()),
            ),
            (Self::Acknowledge, Ok(())) => (Verdict::Keeps, None),
            (Self::Acknowledge, Err(reason)) => (Verdict::Breaks, Some(reason.to_string())),
            (Self::Refuse(_) | Self::RefuseOrClose(_), Ok(())) => (
                Verdict::Breaks,
                Some("acknowledged what must be refused".to_owned()),
            ),
            (Self::MayRefuse(_), Ok(())) => (Verdict::May, Some("acknowledged".to_owned())),
            (Self::Refuse(code) | Self::RefuseOrClose(code) | Self::MayRefuse(code), Err(_)) => {
                let told = code_in(body);
                if status == code && told.as_deref() == Some(&*code.to_string()) {
                    (Verdict::Keeps, None)
                } else if told.is_none() {
                    (
                        Verdict::May,
                        Some("refused, but the answer has no response_code".to_owned()),
                    )
                } else {
                    (
                        Verdict::May,
                        Some(format!(
                            "refused with another code or HTTP status than {code}"
                        )),
                    )
                }
            }
        }
    }
}

/// The `response_code` of an answer that does not acknowledge, whatever its HTTP status.
pub(super) fn code_in(body: &[u8]) -> Option<String> {
    match answer::judge(200, body) {
        Ok(()) => Some(answer::SUCCESS.to_owned()),
        Err(sealpost_contract::NotAcknowledged::Code(code)) => Some(code),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(contract: Contract, status: u16, body: &str) -> Verdict {
        let took = Duration::from_millis(3);
        let came = Came::Answer {
            status,
            body: body.as_bytes().to_vec(),
            took,
        };
        contract.judge(&came, Duration::from_secs(10)).0
    }

    #[test]
    fn what_must_be_acknowledged() {
        let verdict = |status, body| verdict(Contract::Acknowledge, status, body);
        assert_eq!(verdict(200, r#"{"response_code":"000"}"#), Verdict::Keeps);
        assert_eq!(verdict(500, r#"{"response_code":"000"}"#), Verdict::Breaks);
        assert_eq!(verdict(200, r#"{"response_code":0}"#), Verdict::Breaks);
    }

    #[test]
    fn what_must_be_refused() {
        let verdict = |status, body| verdict(Contract::Refuse(400), status, body);
        assert_eq!(verdict(400, r#"{"response_code":"400"}"#), Verdict::Keeps);
        assert_eq!(verdict(200, r#"{"response_code":"999"}"#), Verdict::May);
        assert_eq!(verdict(400, "<h1>Bad Request</h1>"), Verdict::May);
        // 000 with HTTP 400 is no acknowledgement, but says the opposite of what it should.
        assert_eq!(verdict(400, r#"{"response_code":"000"}"#), Verdict::May);
        assert_eq!(verdict(200, r#"{"response_code":"000"}"#), Verdict::Breaks);
    }

    #[test]
    fn silence_is_an_answer_only_where_nothing_else_can_be_asked_for() {
        let judge = |contract: Contract| {
            contract
                .judge(&Came::Nothing("closed".to_owned()), Duration::from_secs(10))
                .0
        };
        assert_eq!(judge(Contract::Acknowledge), Verdict::Breaks);
        assert_eq!(judge(Contract::Refuse(400)), Verdict::Breaks);
        assert_eq!(judge(Contract::RefuseOrClose(413)), Verdict::May);
    }
}
