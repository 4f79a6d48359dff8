//! What `sealpost check` prints: a table for people, JSON and JUnit XML for programs.

use bytes::Bytes;
use http::{Method, Uri};

use super::verdict::{Came, Contract, Verdict, code_in};
use crate::channel_side::values::{self, printable};

/// How much of a body is shown, in characters.
const SHOWN_CHARS: usize = 400;

/// One case and what came of it.
#[derive(Debug)]
pub(super) struct Finding {
    /// A stable name.
    pub(super) rule: String,
    /// What was sent, in words.
    pub(super) about: String,
    pub(super) method: Method,
    /// The body that was sent.
    pub(super) sent: Bytes,
    pub(super) came: Came,
    pub(super) contract: Contract,
    pub(super) verdict: Verdict,
    /// Why, unless everything is simply as it should be.
    pub(super) remark: Option<String>,
}

impl Finding {
    /// Whether the endpoint said that the request is not signed as it should be.
    pub(super) fn wants_a_signature(&self) -> bool {
        matches!(self.came, Came::Answer { status: 401, .. })
    }
}

/// What is printed on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Json,
}

pub(super) fn begin(form: Form, url: &Uri) {
    if form == Form::Table {
        values::print(format_args!("checking {url}\n"));
        values::print(format_args!(
            "{:<7} {:<50} {:<16} {:<22}",
            "verdict", "what was sent", "contract says", "what came"
        ));
    }
}

pub(super) fn line(form: Form, finding: &Finding) {
    if form == Form::Table {
        values::print(format_args!(
            "{:<7} {:<50} {:<16} {:<22}{}",
            finding.verdict.word(),
            printable(&finding.about, 50),
            finding.contract.words(),
            came(&finding.came),
            finding
                .remark
                .as_ref()
                .map(|remark| format!(" {}", printable(remark, 160)))
                .unwrap_or_default(),
        ));
    }
}

pub(super) fn end(form: Form, url: &Uri, findings: &[Finding]) {
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (keeps, may, breaks) = (
        count(Verdict::Keeps),
        count(Verdict::May),
        count(Verdict::Breaks),
    );
    match form {
        Form::Json => {
            let cases: Vec<_> = findings.iter().map(to_json).collect();
            let report = serde_json::json!({
                "url": url.to_string(),
                "keeps": keeps, "may": may, "breaks": breaks,
                "verdict": if breaks == 0 { "keeps" } else { "breaks" },
                "cases": cases,
            });
            values::print(format_args!("{report:#}"));
        }
        Form::Table => {
            values::print(format_args!("\n{keeps} keep, {may} may, {breaks} break"));
            for finding in findings
                .iter()
                .filter(|finding| finding.verdict == Verdict::Breaks)
            {
                values::print(format_args!(
                    "\nbroken: {} ({})",
                    finding.about, finding.rule
                ));
                values::print(format_args!(
                    "  sent  {} {}",
                    finding.method,
                    text(&finding.sent)
                ));
                values::print(format_args!("  came  {}", came_in_full(&finding.came)));
                values::print(format_args!(
                    "  must  be answered {}",
                    must(finding.contract)
                ));
            }
            if breaks == 0 {
                values::print(format_args!("the endpoint keeps the contract"));
            } else {
                values::print(format_args!("\nthe endpoint breaks the contract"));
            }
        }
    }
}

fn must(contract: Contract) -> String {
    match contract {
        Contract::Acknowledge => r#"HTTP 200 {"response_code":"000"}"#.to_owned(),
        Contract::Refuse(code) | Contract::RefuseOrClose(code) | Contract::MayRefuse(code) => {
            format!(r#"with a code that is not 000; best HTTP {code} {{"response_code":"{code}"}}"#)
        }
    }
}

fn came(came: &Came) -> String {
    match came {
        Came::Nothing(_) => "nothing".to_owned(),
        Came::Answer { status, body, took } => {
            let code =
                code_in(body).map_or_else(|| "no code".to_owned(), |code| printable(&code, 8));
            format!("HTTP {status} {code} {} ms", took.as_millis())
        }
    }
}

fn came_in_full(came: &Came) -> String {
    match came {
        Came::Nothing(reason) => format!("nothing: {}", printable(reason, SHOWN_CHARS)),
        Came::Answer { status, body, took } => {
            format!("HTTP {status} {} after {} ms", text(body), took.as_millis())
        }
    }
}

fn text(body: &[u8]) -> String {
    printable(&String::from_utf8_lossy(body), SHOWN_CHARS)
}

/// A finding as JSON.
pub(super) fn to_json(finding: &Finding) -> serde_json::Value {
    let answer = match &finding.came {
        Came::Nothing(reason) => serde_json::json!({ "failure": reason }),
        Came::Answer { status, body, took } => serde_json::json!({
            "status": status, "body": text(body), "response_code": code_in(body), "ms": took.as_millis() as u64,
        }),
    };
    serde_json::json!({
        "rule": finding.rule,
        "about": finding.about,
        "method": finding.method.as_str(),
        "sent": text(&finding.sent),
        "came": answer,
        "contract": finding.contract.words(),
        "verdict": finding.verdict.code(),
        "remark": finding.remark,
    })
}

/// The findings as JUnit XML: what breaks is a failure, the rest has passed.
pub(super) fn junit(url: &Uri, findings: &[Finding]) -> String {
    let failures = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Breaks)
        .count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"sealpost check {}\" tests=\"{}\" failures=\"{failures}\">\n",
        escape(&url.to_string()),
        findings.len(),
    );
    for finding in findings {
        let seconds = match &finding.came {
            Came::Answer { took, .. } => took.as_secs_f64(),
            Came::Nothing(_) => 0.0,
        };
        let head = format!(
            "  <testcase classname=\"contract\" name=\"{}\" time=\"{seconds:.3}\">",
            escape(&format!("{}: {}", finding.rule, finding.about)),
        );
        let remark = finding.remark.as_deref().unwrap_or_default();
        let inside = match finding.verdict {
            Verdict::Keeps => String::new(),
            Verdict::May => format!("<system-out>{}</system-out>", escape(remark)),
            Verdict::Breaks => format!(
                "<failure message=\"{}\">sent {}\ncame {}\nmust be answered {}</failure>",
                escape(remark),
                escape(&text(&finding.sent)),
                escape(&came_in_full(&finding.came)),
                escape(&must(finding.contract)),
            ),
        };
        xml.push_str(&format!("{head}{inside}</testcase>\n"));
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// Characters that XML gives a meaning; those it forbids are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' | '\t' => escaped.push(character),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_gets_out_of_an_attribute() {
        assert_eq!(
            super::escape("<a b=\"c\">&'\u{0}\u{ffff}"),
            "&lt;a b=&quot;c&quot;&gt;&amp;&apos;\u{fffd}\u{fffd}"
        );
    }
}
