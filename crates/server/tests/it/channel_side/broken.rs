//! Endpoints that break one rule each, as they are found in the wild, around a good one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use sealpost_contract::webhook::{self, Secret};
use sealpost_contract::{Answer, Callback};
use sealpost_receiver::{Checks, Refused};

use super::actors::serve;

/// The rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    NothingSigned,
    YesToEverything,
    NumberAsCode,
    OnlyCompleted,
    RefusesUnknownMembers,
    WantsRealUrl,
    RefusesRepeats,
    RacesOnInsert,
    LastEndWins,
    LastMemberWins,
    CountsBytes,
    NoLimits,
    AnyDate,
    SkipsByteOrderMark,
    AcknowledgesGet,
    OneAtATime,
    Impatient,
    IgnoresSignature,
    IgnoresAge,
    FirstSignatureOnly,
    HangsUpOnBadJson,
    TakesAnySize,
}

impl Broken {
    /// The secret that the endpoint is supposed to check.
    pub(crate) fn secret(self) -> Option<Secret> {
        let signed = matches!(
            self,
            Self::NothingSigned
                | Self::IgnoresSignature
                | Self::IgnoresAge
                | Self::FirstSignatureOnly
        );
        signed.then(|| Secret::from_bytes([1; 32]).unwrap())
    }
}

struct State {
    broken: Broken,
    /// The ends by flow: the heart of a channel's database.
    ends: Mutex<HashMap<String, Callback>>,
    turn: tokio::sync::Mutex<()>,
}

/// Starts the endpoint on loopback.
pub(crate) async fn endpoint(broken: Broken) -> (String, tokio::task::JoinHandle<()>) {
    let state = Arc::new(State {
        broken,
        ends: Mutex::default(),
        turn: tokio::sync::Mutex::new(()),
    });
    serve(move |request| {
        let state = Arc::clone(&state);
        async move { state.answer(request).await }
    })
    .await
}

impl State {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let _turn = match self.broken {
            Broken::OneAtATime => Some(self.turn.lock().await),
            _ => None,
        };
        if request.method() != Method::POST
            && !matches!(
                self.broken,
                Broken::AcknowledgesGet | Broken::YesToEverything
            )
        {
            return respond(StatusCode::METHOD_NOT_ALLOWED, r#"{"response_code":"405"}"#);
        }
        let patience = if self.broken == Broken::Impatient {
            500
        } else {
            20_000
        };
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 16 * 1024 * 1024);
        let Ok(Ok(body)) = tokio::time::timeout(Duration::from_millis(patience), body).await else {
            return if self.broken == Broken::Impatient {
                hang_up()
            } else {
                contract(Answer::Malformed)
            };
        };
        if self.broken == Broken::YesToEverything || parts.method == Method::GET {
            return contract(Answer::Acknowledged);
        }
        match self.examine(&parts.headers, &body) {
            Ok(callback) => self.keep(callback).await,
            Err(Refused::Malformed(_))
                if self.broken == Broken::HangsUpOnBadJson && !body.starts_with(b"{") =>
            {
                // The only ones that do not begin like JSON at all; the others have lost their brackets elsewhere.
                if body.is_empty() || body.starts_with(b"sign") {
                    hang_up()
                } else {
                    contract(Answer::Malformed)
                }
            }
            Err(refused) => contract(refused.answer()),
        }
    }

    fn examine(&self, headers: &HeaderMap, body: &Bytes) -> Result<Callback, Refused> {
        let secrets = self.broken.secret().map(|secret| vec![secret]);
        let checks = Checks {
            secrets,
            ..Checks::default()
        };
        let unsigned = Checks::default();
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        match self.broken {
            Broken::IgnoresSignature => unsigned.examine(headers, body, now),
            Broken::IgnoresAge => Checks {
                tolerance_seconds: i64::MAX,
                ..checks
            }
            .examine(headers, body, now),
            Broken::FirstSignatureOnly => {
                let mut headers = headers.clone();
                if let Some(all) = headers.get(webhook::SIGNATURE_HEADER).cloned() {
                    let first = all.to_str().unwrap().split(' ').next().unwrap().to_owned();
                    headers.insert(
                        webhook::SIGNATURE_HEADER,
                        HeaderValue::from_str(&first).unwrap(),
                    );
                }
                checks.examine(&headers, body, now)
            }
            Broken::LastMemberWins => {
                // What most libraries do: the last of equal members is taken, in silence.
                let text = serde_json::from_slice::<serde_json::Value>(body)
                    .map(|value| value.to_string());
                checks.examine(headers, text.unwrap_or_default().as_bytes(), now)
            }
            Broken::SkipsByteOrderMark => checks.examine(
                headers,
                body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body),
                now,
            ),
            Broken::NoLimits => checks.examine(headers, &cut_members(body), now),
            Broken::AnyDate => checks.examine(headers, &with_a_date_that_exists(body), now),
            Broken::TakesAnySize if body.len() > 256 * 1024 => {
                // Read in a stream, looking for what it knows.
                checks.examine(headers, sample(), now)
            }
            _ => checks
                .examine(headers, body, now)
                .and_then(|callback| self.own_rules(callback, body)),
        }
    }

    fn own_rules(&self, callback: Callback, body: &Bytes) -> Result<Callback, Refused> {
        let refuses = match self.broken {
            Broken::OnlyCompleted => {
                callback.sign_flow_status.code() != "2" && !is_conflict(&callback, &self.ends)
            }
            Broken::RefusesUnknownMembers => {
                let members: serde_json::Map<_, _> = serde_json::from_slice(body).unwrap();
                members.len() > 4
            }
            Broken::WantsRealUrl => callback.sign_file_url.as_str() == "http://",
            Broken::CountsBytes => callback.sign_file_url.as_str().len() > 128,
            _ => false,
        };
        if refuses {
            Err(Refused::ContentType)
        } else {
            Ok(callback)
        }
    }

    async fn keep(&self, callback: Callback) -> Response<Body> {
        let id = callback.sign_flow_id.as_str().to_owned();
        let kept = self.ends.lock().unwrap().get(&id).cloned();
        if self.broken == Broken::RacesOnInsert && kept.is_none() {
            // Between "is it there?" and "insert" there is room for a second copy.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let mut ends = self.ends.lock().unwrap();
            if ends.insert(id, callback).is_some() {
                return contract(Answer::Internal);
            }
            return contract(Answer::Acknowledged);
        }
        // The good ones look and insert in one step.
        let mut ends = self.ends.lock().unwrap();
        let answer = match ends.get(&id) {
            Some(_) if self.broken == Broken::RefusesRepeats => Answer::Conflict,
            Some(kept) if *kept != callback && self.broken != Broken::LastEndWins => {
                Answer::Conflict
            }
            Some(kept) if *kept != callback && kept.sign_flow_status.code() == "7" => {
                Answer::Conflict
            }
            _ => Answer::Acknowledged,
        };
        if answer == Answer::Acknowledged {
            ends.insert(id, callback);
        }
        if self.broken == Broken::NumberAsCode && answer == Answer::Acknowledged {
            return respond(StatusCode::OK, r#"{"response_code":0}"#);
        }
        contract(answer)
    }
}

/// The conflicting end of `check` is a 7; an endpoint that refuses sevens refuses that one rightly.
fn is_conflict(callback: &Callback, ends: &Mutex<HashMap<String, Callback>>) -> bool {
    ends.lock()
        .unwrap()
        .contains_key(callback.sign_flow_id.as_str())
}

/// As a database that cuts what is too long for its column.
fn cut_members(body: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(body) else {
        return body.to_vec();
    };
    let mut text = text.to_owned();
    for (member, limit) in [("sign_file_url", 128), ("sign_flow_id", 32)] {
        let start = format!("\"{member}\": \"");
        let Some(at) = text.find(&start).map(|at| at + start.len()) else {
            continue;
        };
        let Some(length) = text[at..].find('"') else {
            continue;
        };
        let cut: String = text[at..at + length].chars().take(limit).collect();
        text.replace_range(at..at + length, &cut);
    }
    text.into_bytes()
}

/// As an endpoint that checks the time with `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d` and no more.
fn with_a_date_that_exists(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let times = [
        "2021-02-30 18:24:29",
        "1900-02-29 18:24:29",
        "0000-03-22 18:24:29",
        "2021-03-22 24:00:00",
        "2021-03-22 18:24:60",
    ];
    times
        .iter()
        .fold(text.into_owned(), |text, time| {
            text.replace(&format!("\"{time}\""), "\"2021-03-22 18:24:29\"")
        })
        .into_bytes()
}

fn sample() -> &'static [u8] {
    br#"{"sign_end_time":"2021-03-22 18:24:29","sign_flow_status":"2","sign_flow_id":"large","sign_file_url":"http://"}"#
}

fn contract(answer: Answer) -> Response<Body> {
    respond(
        StatusCode::from_u16(answer.http_status()).unwrap(),
        answer.body(),
    )
}

fn respond(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// Ends the connection in the middle of an answer.
fn hang_up() -> Response<Body> {
    Response::new(Body::new(Breaks))
}

/// A body that fails at once.
struct Breaks;

impl hyper::body::Body for Breaks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::Error::other("closed on purpose"))))
    }
}
