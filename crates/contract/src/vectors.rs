//! The contract as cases: what a receiver must answer to a body, and which answers acknowledge. They are the files
//! in `vectors/`, for tests in any language and for `sealpost check`.

use serde::Deserialize;

/// A body that a receiver may be sent. `vectors/requests.json`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCase {
    /// What the case is about; unique.
    pub name: String,
    /// The body, as text.
    pub body: String,
    /// The `response_code` it is answered with: `000`, or the failure's code.
    pub answer: String,
}

/// An answer that a sender may get. `vectors/answers.json`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerCase {
    /// What the case is about; unique.
    pub name: String,
    /// The HTTP status of the answer.
    pub http_status: u16,
    /// The answer's body, as text.
    pub body: String,
    /// Whether the sender may take it for an acknowledgement.
    pub acknowledged: bool,
}

/// The cases of `vectors/requests.json`.
pub fn requests() -> Vec<RequestCase> {
    serde_json::from_str(include_str!("../vectors/requests.json"))
        .expect("a test reads the file of this build")
}

/// The cases of `vectors/answers.json`.
pub fn answers() -> Vec<AnswerCase> {
    serde_json::from_str(include_str!("../vectors/answers.json"))
        .expect("a test reads the file of this build")
}
