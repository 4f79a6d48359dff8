//! `/verify`: whoever holds a receipt checks its signatures. Every receipt's footer names this page. The file is looked at in
//! memory and forgotten.

use askama::Template;
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::tz::TimeZone;
use sealpost_pdf::Verdict;
use sealpost_pdf::verify::{
    Clock, Code, Report, Revocation, RevocationSource, RevocationStatus, Severity, SignatureReport,
};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::assets;
use super::lang::Lang;
use super::reader::Reader;
use crate::app::App;
use crate::app::paper::MAX_PDF;
use crate::problem::{Kind, Problem};
use crate::web::body::bounded;

/// The form around the file.
const FORM: usize = 4096;

/// Files from strangers that are looked at at one moment; where there are two cores or more, sealing never waits for them.
static STRANGERS: Semaphore = Semaphore::const_new(1);

/// Files from strangers that are held in memory at one moment.
static ARRIVING: Semaphore = Semaphore::const_new(16);

/// The page, with or without a result.
#[derive(Template)]
#[template(path = "sign/verify.html")]
struct VerifyPage {
    lang: Lang,
    result: Option<Outcome>,
}

enum Outcome {
    /// No file, no PDF, or too large.
    Refused(&'static str),
    Checked {
        class: &'static str,
        verdict: &'static str,
        advice: &'static str,
        file_name: String,
        sha256: String,
        signatures: Vec<SignatureLine>,
    },
}

struct SignatureLine {
    class: &'static str,
    verdict: &'static str,
    who: String,
    organization: String,
    issuer: String,
    when: String,
    level: String,
    revocation: String,
    findings: Vec<String>,
}

impl VerifyPage {
    fn css_url(&self) -> &'static str {
        &assets::SIGN_CSS.url
    }

    fn icon_url(&self) -> &'static str {
        &assets::ICON.url
    }
}

/// `GET /verify`.
pub(crate) async fn show(reader: Reader) -> Response {
    reader.respond(
        StatusCode::OK,
        &VerifyPage {
            lang: reader.lang,
            result: None,
        },
    )
}

/// `POST /verify`: a form with one file.
pub(crate) async fn check(State(app): State<App>, reader: Reader, request: Request) -> Response {
    let Ok(_arriving) = ARRIVING.acquire().await else {
        return reader.trouble(&stopping());
    };
    let (file_name, pdf) = match read_file(request).await {
        Ok(Some(file)) => file,
        Ok(None) => {
            return refused(
                reader,
                StatusCode::UNPROCESSABLE_ENTITY,
                "请先选择一个 PDF 文件。",
                "Please choose a PDF first.",
            );
        }
        Err(problem) if problem.kind() == Kind::TooLarge => {
            return refused(
                reader,
                StatusCode::PAYLOAD_TOO_LARGE,
                "文件超过 10 MB，无法在线验证。",
                "The file is over 10 MB, which is not checked here.",
            );
        }
        Err(problem) => return reader.trouble(&problem),
    };
    let Ok(stranger) = STRANGERS.acquire().await else {
        return reader.trouble(&stopping());
    };
    // A task of its own keeps its place to the end, also when the stranger hangs up.
    let (verifier, task) = (app.clone(), tracing::Span::current());
    let verified = tokio::spawn(
        async move {
            let _stranger = stranger;
            verifier.verify(pdf).await
        }
        .instrument(task),
    );
    let verified = verified
        .await
        .unwrap_or_else(|error| Err(Problem::internal("verification was broken off", &error)));
    match verified {
        Ok(report) => {
            let words = Words {
                lang: reader.lang,
                zone: &app.config().time_zone,
            };
            let (class, verdict, advice) = words.overall(&report);
            let signatures = report
                .signatures
                .iter()
                .map(|signature| words.signature(signature))
                .collect();
            let result = Outcome::Checked {
                class,
                verdict,
                advice,
                file_name,
                sha256: report.file_sha256,
                signatures,
            };
            reader.respond(
                StatusCode::OK,
                &VerifyPage {
                    lang: reader.lang,
                    result: Some(result),
                },
            )
        }
        Err(problem) if problem.kind() == Kind::InvalidFields => refused(
            reader,
            StatusCode::UNPROCESSABLE_ENTITY,
            "这不是一个可以读取的 PDF 文件。",
            "This is not a PDF that can be read.",
        ),
        Err(problem) => reader.trouble(&problem),
    }
}

fn stopping() -> Problem {
    Problem::new(Kind::Unavailable, "The server is stopping.")
}

fn refused(reader: Reader, status: StatusCode, zh: &'static str, en: &'static str) -> Response {
    let result = Some(Outcome::Refused(reader.lang.say(zh, en)));
    reader.respond(
        status,
        &VerifyPage {
            lang: reader.lang,
            result,
        },
    )
}

/// The name and the bytes of the form's file; `None` if none was chosen.
async fn read_file(request: Request) -> Result<Option<(String, Bytes)>, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = bounded(Request::from_parts(parts.clone(), body), MAX_PDF + FORM).await?;
    let request = Request::from_parts(parts, axum::body::Body::from(bytes));
    let unreadable = || Problem::new(Kind::MalformedRequest, "The form cannot be read.");
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| unreadable())?;
    while let Some(part) = form.next_field().await.map_err(|_| unreadable())? {
        if part.name() == Some("file") {
            let name = part
                .file_name()
                .unwrap_or_default()
                .chars()
                .take(80)
                .collect();
            let bytes = part.bytes().await.map_err(|_| unreadable())?;
            return Ok((!bytes.is_empty()).then_some((name, bytes)));
        }
    }
    Ok(None)
}

struct Words<'a> {
    lang: Lang,
    zone: &'a TimeZone,
}

impl Words<'_> {
    fn overall(&self, report: &Report) -> (&'static str, &'static str, &'static str) {
        let say = |zh, en| self.lang.say(zh, en);
        let added_to = report
            .signatures
            .iter()
            .any(|signature| !signature.changes.is_empty());
        match report.verdict {
            // Where a signature is valid, what followed it was permitted.
            Verdict::Valid if added_to => (
                "done",
                say("签名全部有效", "All signatures are valid"),
                say(
                    "已签署的内容没有被改动。签署之后只增加了允许的内容，例如后续的签名或时间戳。",
                    "What was signed has not been changed. Only what is permitted was added after a signature, such as later signatures or timestamps.",
                ),
            ),
            Verdict::Valid => (
                "done",
                say("签名全部有效", "All signatures are valid"),
                say(
                    "文件自签署后没有被改动。",
                    "The file has not been changed since it was signed.",
                ),
            ),
            Verdict::Indeterminate => (
                "wait",
                say("无法判定", "Indeterminate"),
                say(
                    "签名完好，但不能确认签署人的身份，例如证书不是本系统签发的。",
                    "The signatures are intact, but who signed cannot be confirmed: the certificate may not be of this system.",
                ),
            ),
            Verdict::Unsigned => (
                "wait",
                say("文件没有签名", "Not signed"),
                say(
                    "这份 PDF 里没有电子签名，不能当作已签署的收据。",
                    "This PDF carries no electronic signature and is no signed receipt.",
                ),
            ),
            Verdict::Invalid => (
                "stop",
                say("签名无效", "Invalid"),
                say(
                    "文件在签署后被改动过，或者签名是伪造的。请不要相信它。",
                    "The file was changed after signing, or a signature is forged. Do not rely on it.",
                ),
            ),
        }
    }

    fn signature(&self, signature: &SignatureReport) -> SignatureLine {
        let (class, verdict) = match signature.verdict {
            Verdict::Valid => ("done", self.lang.say("有效", "Valid")),
            Verdict::Indeterminate | Verdict::Unsigned => {
                ("wait", self.lang.say("无法判定", "Indeterminate"))
            }
            Verdict::Invalid => ("stop", self.lang.say("无效", "Invalid")),
        };
        let signer = signature.signer.as_ref();
        let clock = match signature.clock {
            Clock::TimestampAuthority => self
                .lang
                .say("（时间戳机构证明）", " (proven by a timestamp)"),
            Clock::Signer | Clock::None => "",
        };
        let when = signature
            .signed_at
            .and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let when = when.map(|at| {
            self.zone
                .to_datetime(at)
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        });
        let findings = signature
            .findings
            .iter()
            .filter(|finding| finding.severity != Severity::Note);
        SignatureLine {
            class,
            verdict,
            who: signer
                .map(|party| party.name().to_owned())
                .unwrap_or_default(),
            organization: signer
                .and_then(|party| party.organization.clone())
                .unwrap_or_default(),
            issuer: signer
                .map(|party| common_name(&party.issuer).to_owned())
                .unwrap_or_default(),
            when: when
                .map(|when| format!("{when}{clock}"))
                .unwrap_or_default(),
            level: signature
                .level
                .map(|level| format!("PAdES {}", level.as_str()))
                .unwrap_or_default(),
            revocation: self.revocation(&signature.revocation),
            findings: findings
                .map(|finding| format!("{} {}", self.finding(finding.code), finding.detail))
                .collect(),
        }
    }

    /// Whether the signer's certificate had been revoked when it was used.
    fn revocation(&self, revocation: &Revocation) -> String {
        let said = match revocation.status {
            RevocationStatus::Unknown => return String::new(),
            RevocationStatus::Good => self
                .lang
                .say("签署时未被吊销", "not revoked when it was used"),
            RevocationStatus::RevokedLater => {
                self.lang.say("签署之后被吊销", "revoked after it was used")
            }
            RevocationStatus::Revoked => {
                self.lang.say("签署时已被吊销", "revoked when it was used")
            }
        };
        match revocation.source {
            Some(RevocationSource::Crl) => format!("{said} (CRL)"),
            Some(RevocationSource::Ocsp) => format!("{said} (OCSP)"),
            None => said.to_owned(),
        }
    }

    /// What was found, in a few words; the detail after it is in English.
    fn finding(&self, code: Code) -> &'static str {
        let (zh, en) = match code {
            Code::DigestMismatch | Code::SignatureMismatch => (
                "内容与签名不符：",
                "The content does not match the signature:",
            ),
            Code::Modified | Code::TrailingBytes => ("签署后被改动：", "Changed after signing:"),
            Code::Untrusted => (
                "证书不受本系统信任：",
                "The certificate is not trusted here:",
            ),
            Code::Expired | Code::NotYetValid => {
                ("证书不在有效期内：", "The certificate was not valid then:")
            }
            Code::Revoked => ("证书已被吊销：", "The certificate was revoked:"),
            _ => ("", ""),
        };
        self.lang.say(zh, en)
    }
}

/// The common name of a distinguished name (RFC 4514), for people; the whole name where it does not begin with one.
fn common_name(name: &str) -> &str {
    let rest = name.strip_prefix("CN=").unwrap_or(name);
    rest.split_once(",O=").map_or(rest, |(common, _)| common)
}
