//! `sealpost listen`: shows callbacks as they come, and passes them on to a program under development. It keeps nothing.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use sealpost_contract::webhook::{self, Secret};
use sealpost_contract::{Answer as Code, Callback, MAX_BODY_BYTES, UtcMillis, answer};
use sealpost_delivery::client::Client;
use sealpost_receiver::{Checks, Refused};

use super::values::{self, printable, rfc3339};
use super::wire::{self, Answer, HangUp};

/// How long the program under development may take: as long as a platform waits.
const FORWARD_LIMIT: Duration = Duration::from_secs(10);
/// How much of an unexpected body is shown, in characters.
const SHOWN_CHARS: usize = 300;

/// Show callbacks as they come, and forward them to a local port while developing. Keeps nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Pass each request on to this URL as it came, and its answer back to the sender.
    #[arg(long, value_name = "URL", value_parser = values::http_url)]
    forward: Option<Uri>,
    /// Also check the signature with this secret (whsec_…); may be given twice. Or in WEBHOOK_SECRET.
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<Secret>,
    /// Print one JSON object a line instead.
    #[arg(long)]
    json: bool,
}

struct Listener {
    checks: Checks,
    forward: Option<(Client, Uri)>,
    json: bool,
}

/// Listens until it is interrupted.
///
/// # Errors
/// The address is taken, or the HTTP client cannot be set up.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let forward = match args.forward {
        Some(url) => Some((wire::client(wire::anywhere()?)?, url)),
        None => None,
    };
    let (listener, address) = wire::listen(args.listen).await?;
    let stop = crate::web::serve::stop_on_signal();
    if !args.json {
        values::print(format_args!(
            "listening on http://{address} (any path); Ctrl-C ends"
        ));
        match &forward {
            Some((_, url)) => values::print(format_args!("forwarding to {url}")),
            None => values::print(format_args!(
                "answering 000 to each callback, without keeping it"
            )),
        }
    }
    let checks = Checks {
        secrets: values::secrets(&args.secrets)?,
        ..Checks::default()
    };
    let state = Arc::new(Listener {
        checks,
        forward,
        json: args.json,
    });
    let answer = move |request| {
        let state = Arc::clone(&state);
        async move { state.answer(request).await }
    };
    wire::serve(listener, answer, stop).await;
    Ok(ExitCode::SUCCESS)
}

/// What the program under development said.
struct Forwarded {
    reply: Result<(StatusCode, Bytes), String>,
    took: Duration,
}

impl Listener {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, HangUp> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Ok(wire::json(
                StatusCode::METHOD_NOT_ALLOWED,
                r#"{"response_code":"405"}"#,
            ));
        }
        let now = values::now();
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return Ok(self.refuse(Code::TooLarge));
        };
        let body = body.to_bytes();
        let examined = self.checks.examine(&parts.headers, &body, now);
        let forwarded = self.pass_on(&parts.headers, &body).await;
        if self.json {
            print_json(now, &body, &examined, forwarded.as_ref());
        } else {
            self.print(now, &parts.headers, &body, &examined, forwarded.as_ref());
        }
        Ok(match (forwarded, examined) {
            (
                Some(Forwarded {
                    reply: Ok((status, body)),
                    ..
                }),
                _,
            ) => wire::json(status, body),
            (Some(Forwarded { reply: Err(_), .. }), _) => self.refuse(Code::Internal),
            (None, Ok(_)) => self.refuse(Code::Acknowledged),
            (None, Err(refused)) => self.refuse(refused.answer()),
        })
    }

    fn refuse(&self, code: Code) -> Answer {
        wire::json(
            StatusCode::from_u16(code.http_status()).unwrap_or_default(),
            code.body(),
        )
    }

    async fn pass_on(&self, headers: &HeaderMap, body: &Bytes) -> Option<Forwarded> {
        let (client, url) = self.forward.as_ref()?;
        let mut headers = headers.clone();
        for hop in [HOST, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] {
            headers.remove(hop);
        }
        let begun = Instant::now();
        let reply = client
            .post(url.clone(), headers, body.clone(), FORWARD_LIMIT)
            .await;
        let reply = reply
            .map(|reply| (reply.status, reply.body))
            .map_err(|failure| wire::explain(&failure));
        Some(Forwarded {
            reply,
            took: begun.elapsed(),
        })
    }

    fn print(
        &self,
        now: UtcMillis,
        headers: &HeaderMap,
        body: &[u8],
        examined: &Result<Callback, Refused>,
        forwarded: Option<&Forwarded>,
    ) {
        let mut out = format!("\n{}\n", rfc3339(now));
        match examined {
            Ok(callback) => out.push_str(&members(callback)),
            Err(refused) => {
                out.push_str(&format!("  ✗ {refused} → {}\n", refused.answer().code()));
                let text = String::from_utf8_lossy(body);
                out.push_str(&format!("    {}\n", printable(&text, SHOWN_CHARS)));
            }
        }
        let signed = headers.contains_key(webhook::SIGNATURE_HEADER);
        let signature = match (self.checks.secrets.is_none(), signed, examined) {
            (true, true, _) => "there, not checked (give --secret)",
            (true, false, _) => "none",
            (false, _, Err(Refused::Unsigned(_))) => "does not fit",
            (false, ..) => "fits",
        };
        out.push_str(&format!("  signature         {signature}\n"));
        if let Some(forwarded) = forwarded {
            out.push_str(&format!("  → {}\n", describe(forwarded)));
        }
        // At once, so that two callbacks do not mix.
        values::print(out.trim_end_matches('\n'));
    }
}

fn members(callback: &Callback) -> String {
    let status = callback.sign_flow_status;
    format!(
        "  sign_flow_id      {}\n  sign_flow_status  {} {} {}\n  sign_end_time     {}\n  sign_file_url     {}\n",
        printable(callback.sign_flow_id.as_str(), 32),
        status.code(),
        status.chinese(),
        status.english(),
        callback.sign_end_time,
        printable(callback.sign_file_url.as_str(), 128),
    )
}

fn describe(forwarded: &Forwarded) -> String {
    let took = forwarded.took.as_millis();
    match &forwarded.reply {
        Err(failure) => format!(
            "no answer after {took} ms: {}; answered 500",
            printable(failure, SHOWN_CHARS)
        ),
        Ok((status, body)) => {
            let text = String::from_utf8_lossy(body);
            let text = printable(text.trim(), SHOWN_CHARS);
            let judged = match answer::judge(status.as_u16(), body) {
                Ok(()) => "acknowledges".to_owned(),
                Err(reason) => format!("does not acknowledge: {reason}"),
            };
            format!("{} {text} after {took} ms: {judged}", status.as_u16())
        }
    }
}

fn print_json(
    now: UtcMillis,
    body: &[u8],
    examined: &Result<Callback, Refused>,
    forwarded: Option<&Forwarded>,
) {
    let answer = forwarded.map(|forwarded| match &forwarded.reply {
        Ok((status, body)) => serde_json::json!({
            "status": status.as_u16(),
            "body": String::from_utf8_lossy(body),
            "acknowledged": answer::judge(status.as_u16(), body).is_ok(),
            "ms": forwarded.took.as_millis() as u64,
        }),
        Err(failure) => {
            serde_json::json!({ "failure": failure, "ms": forwarded.took.as_millis() as u64 })
        }
    });
    let line = serde_json::json!({
        "at": rfc3339(now),
        "callback": examined.as_ref().ok(),
        "refused": examined.as_ref().err().map(ToString::to_string),
        "body": String::from_utf8_lossy(body),
        "answer": answer,
    });
    values::print(line);
}
