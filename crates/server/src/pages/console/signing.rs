//! What signs: certificates and until when they are valid, seals of every kind as they would look, those that are kept, and how a
//! receipt looks.

use std::collections::BTreeMap;

use axum::extract::{FromRequest as _, Multipart, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use sealpost_pdf::{DrawMeta, PlaceKind, Receipt, SignerLabel, mark, render};
use sealpost_store::{Channel, Role};
use serde_json::json;

use super::Words;
use super::session::{Action, Signed, is_own_origin};
use super::view::{CertificateRow, SealRow, Section, SigningPage};
use crate::api::seals::{SEAL_BODY, png};
use crate::app::App;
use crate::app::details::{Details, Layout};
use crate::app::keys::{CertificateOf, KeptCertificate};
use crate::app::seals::{KeptSeal, LABEL_CHARS, PICTURE_MM, Seal, WantedSeal, preview, refused};
use crate::problem::{Kind, Problem};
use crate::web;
use crate::web::body::bounded;

/// The preview's width in pixels: 38 mm at some 400 to the inch.
const SEAL_PIXELS: u32 = 600;

/// The width of the sample receipt in pixels.
const RECEIPT_PIXELS: u32 = 1200;

/// A certificate that ends within this time is shown as urgent.
const SOON: i64 = 60 * 24 * 60 * 60 * 1000;

/// `GET /console/signing`, with `?seal=` and the members of [`drawn_seal`] to look at a seal.
pub(crate) async fn show(
    State(app): State<App>,
    signed: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Response> {
    let words = Words::of(&app, signed.reader.lang);
    let found = async {
        let certificates = app.certificates().await?;
        let (seals, channels) = (app.seals(None).await?, app.channels().await?);
        Ok::<_, Problem>((certificates, seals, channels))
    };
    let (certificates, seals, channels) =
        found.await.map_err(|problem| signed.problem(&problem))?;
    let text =
        |query: &mut web::Fields, member: &str| query.find_text(member, 1..=64).unwrap_or_default();
    let mut row = |kept: KeptCertificate| certificate_row(&words, kept);
    let page = SigningPage {
        frame: signed.frame(Section::Signing),
        certificates: certificates.into_iter().map(&mut row).collect(),
        pem: app.authority_pem(),
        kind: query
            .find_text("kind", 1..=16)
            .unwrap_or_else(|| "finance".to_owned()),
        seal: text(&mut query, "seal"),
        legend: text(&mut query, "legend"),
        number: text(&mut query, "number"),
        seals: seals
            .into_iter()
            .map(|kept| seal_row(&words, &channels, kept))
            .collect(),
        channels: channels
            .into_iter()
            .map(|channel| (channel.id, channel.name))
            .collect(),
        facts: sample_facts(&words),
        can_change: signed.operator.role >= Role::Administrator,
        done: query.find_text("done", 1..=32),
    };
    Ok(signed.reader.respond(StatusCode::OK, &page))
}

fn certificate_row(words: &Words<'_>, kept: KeptCertificate) -> CertificateRow {
    let left = kept.validity.not_after - words.now;
    CertificateRow {
        of: match kept.of {
            CertificateOf::Authority => words.say("内置证书机构", "Built-in authority"),
            CertificateOf::Timestamps => words.say("时间戳服务", "Timestamp authority"),
            CertificateOf::Organization => words.say("机构", "Organization"),
            CertificateOf::Operator => {
                words.say("机构（自有证书）", "Organization (own certificate)")
            }
        },
        subject: kept.subject,
        from: words.date(kept.validity.not_before),
        until: words.date(kept.validity.not_after),
        left: (left > 0).then(|| words.span(left)),
        is_urgent: left < SOON,
    }
}

fn seal_row(words: &Words<'_>, channels: &[Channel], kept: KeptSeal) -> SealRow {
    let owner = kept.channel_id.as_deref().map(|id| {
        let channel = channels.iter().find(|channel| channel.id == id);
        channel.map_or_else(|| id.to_owned(), |channel| channel.name.clone())
    });
    SealRow {
        kind: kind_name(words, kept.seal.kind()),
        owner: owner.unwrap_or_else(|| words.say("所有渠道", "all channels").to_owned()),
        since: words.date(kept.created_at),
        id: kept.id,
        label: kept.label,
    }
}

fn kind_name(words: &Words<'_>, kind: &str) -> &'static str {
    match kind {
        "company" => words.say("公章", "Company seal"),
        "finance" => words.say("财务专用章", "Finance seal"),
        "contract" => words.say("合同专用章", "Contract seal"),
        "oval" => words.say("椭圆章", "Oval seal"),
        "name" => words.say("姓名章", "Name seal"),
        _ => words.say("图片印章", "Picture"),
    }
}

/// `GET /console/signing/seal.png?kind=&seal=&legend=&number=`: how such a seal would look.
pub(crate) async fn seal_image(
    State(app): State<App>,
    _: Signed,
    web::Query(mut query): web::Query,
) -> Result<Response, Problem> {
    let kind = query.text("kind", 1..=16);
    let mut text = |member: &str| query.find_text(member, 1..=64);
    let (name, legend, number) = (text("seal"), text("legend"), text("number"));
    query.finish()?;
    let seal = drawn_seal(&kind, name.unwrap_or_default(), legend, number)?;
    let image = app.on_paper(move || {
        let drawn = seal
            .draw(None)
            .map_err(|error| Problem::fields(vec![refused("", &error)]))?;
        preview(&drawn, SEAL_PIXELS)
    });
    Ok(image_answer(image.await??))
}

/// A seal that is drawn from texts.
fn drawn_seal(
    kind: &str,
    name: String,
    legend: Option<String>,
    number: Option<String>,
) -> Result<Seal, Problem> {
    Ok(match kind {
        "company" => Seal::Company {
            organization: name,
            legend,
        },
        "finance" => Seal::Finance { organization: name },
        "contract" => Seal::Contract { organization: name },
        "oval" => Seal::Oval {
            organization: name,
            number,
            legend,
        },
        "name" => Seal::Name { name },
        _ => {
            return Err(Problem::field(
                "kind",
                "unknown_value",
                "there is no such kind of seal",
            ));
        }
    })
}

/// `GET /console/signing/seals/{id}/preview.png`.
pub(crate) async fn kept_image(
    State(app): State<App>,
    Path(id): Path<String>,
    _: Signed,
) -> Result<Response, Problem> {
    let kept = app.find_seal(None, &id).await?;
    let kept = kept.ok_or_else(|| Problem::not_found("seal"))?;
    png(&app, &kept, SEAL_PIXELS).await
}

/// `POST /console/signing/seals`: keeps a seal. A form with a file, because it may be a picture.
pub(crate) async fn keep_seal(
    State(app): State<App>,
    signed: Signed,
    request: Request,
) -> Result<Response, Response> {
    let is_ours = is_own_origin(request.headers());
    let (form, picture) = read_form(request)
        .await
        .map_err(|problem| signed.problem(&problem))?;
    let text = |name: &str| form.get(name).map(|text| text.trim()).unwrap_or_default();
    let token = signed.frame(Section::Signing).csrf;
    let given = text("csrf").as_bytes();
    if !is_ours
        || aws_lc_rs::constant_time::verify_slices_are_equal(given, token.as_bytes()).is_err()
    {
        return Err(signed.message(
            StatusCode::FORBIDDEN,
            "表单已失效，请返回刷新后重试。",
            "This form is no longer valid. Go back, reload and try again.",
        ));
    }
    let label = text("label");
    let kept = async {
        if !(1..=LABEL_CHARS).contains(&label.chars().count()) {
            let message = format!("it must have 1 to {LABEL_CHARS} characters");
            return Err(Problem::field("label", "bad_format", message));
        }
        let some = |name: &str| Some(text(name).to_owned()).filter(|text| !text.is_empty());
        let wanted = match (text("kind"), picture) {
            ("picture", Some(picture)) => {
                let width = text("width_mm").parse().unwrap_or(PICTURE_MM);
                WantedSeal::picture(picture, width)
            }
            ("picture", None) => {
                return Err(Problem::field("picture", "missing", "it is required"));
            }
            (kind, _) => drawn_seal(
                kind,
                text("seal").to_owned(),
                some("legend"),
                some("number"),
            )?
            .into(),
        };
        let operate = app.operate(&signed.principal);
        let channel = some("channel");
        operate.add_seal(channel.as_deref(), label, &wanted).await
    };
    kept.await.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to("/console/signing?done=kept").into_response())
}

/// The texts of a form and its picture, if it has one.
async fn read_form(request: Request) -> Result<(BTreeMap<String, String>, Option<Bytes>), Problem> {
    let unreadable = |error: axum::extract::multipart::MultipartError| {
        Problem::new(Kind::MalformedRequest, error.body_text())
    };
    let (parts, body) = request.into_parts();
    let bytes = bounded(Request::from_parts(parts.clone(), body), SEAL_BODY).await?;
    let request = Request::from_parts(parts, axum::body::Body::from(bytes));
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::new(Kind::MalformedRequest, error.body_text()))?;
    let (mut texts, mut picture) = (BTreeMap::new(), None);
    while let Some(part) = form.next_field().await.map_err(unreadable)? {
        let name = part.name().unwrap_or_default().to_owned();
        let content = part.bytes().await.map_err(unreadable)?;
        if name == "picture" {
            picture = Some(content).filter(|picture| !picture.is_empty());
        } else if texts.len() < 16 {
            texts.insert(name, String::from_utf8_lossy(&content).into_owned());
        }
    }
    Ok((texts, picture))
}

/// `POST /console/signing/seals/{id}/remove`.
pub(crate) async fn remove_seal(
    State(app): State<App>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, Response> {
    let signed = &action.signed;
    let removed = app.operate(&signed.principal).remove_seal(&id).await;
    removed.map_err(|problem| signed.problem(&problem))?;
    Ok(Redirect::to("/console/signing?done=removed").into_response())
}

/// `GET /console/signing/receipt.png`: the receipt's template, with a sample's words in it.
pub(crate) async fn receipt_image(State(app): State<App>, _: Signed) -> Result<Response, Problem> {
    let now = app.now();
    let image = app.on_paper(move || {
        let failed = |error: &dyn std::fmt::Display| {
            Problem::field("receipt", "cannot_be_drawn", error.to_string())
        };
        let receipt = sample();
        let meta = DrawMeta {
            flow_id: "0".repeat(32),
            drawn_at: now,
            verify_url: None,
        };
        let labels = receipt.as_ref().map(|receipt| {
            [
                (1, &receipt.payee, PlaceKind::Seal),
                (2, &receipt.payer.name, PlaceKind::Signature),
            ]
            .map(|(signer, name, kind)| SignerLabel {
                signer,
                name: name.clone(),
                kind,
            })
        });
        let (Some(receipt), Some(labels)) = (&receipt, labels) else {
            return Err(failed(&"the sample is wrong"));
        };
        let drawn = sealpost_pdf::draw(receipt, &labels, &meta).map_err(|error| failed(&error))?;
        let marked = mark::preview_copy(&drawn.pdf).map_err(|error| failed(&error))?;
        render::page_png(&marked, 0, RECEIPT_PIXELS).map_err(|error| failed(&error))
    });
    Ok(image_answer(image.await??))
}

fn sample() -> Option<Receipt> {
    Receipt::parse(&json!({
        "number": "XS-2026-000123", "issued_on": "2026-11-24",
        "project": "海棠湾花园", "building": "8号楼", "unit": "2单元", "room": "1203",
        "contract_number": "HT-2026-0812-1203",
        "payer": { "name": "张三", "id_number": "110105199003071234" },
        "item": "首付款", "amount_fen": 38_650_000, "payment_method": "银行转账",
        "transaction_number": "2026112410293847561029",
        "payee": "海棠湾置业有限公司", "supervised_account": "商品房预售资金监管账户 6217 0000 0000 1234",
        "handler": "李晓梅", "note": "样例"
    }))
    .ok()
}

/// What the sample says, under the names that the signing page has for it.
fn sample_facts(words: &Words<'_>) -> Vec<(&'static str, String)> {
    let details = sample().map(|receipt| Details::of_receipt(&receipt, 1, Layout::default()));
    let facts = details.map(|details| details.facts()).unwrap_or_default();
    facts
        .into_iter()
        .map(|fact| (words.say(fact.label_zh, fact.label_en), fact.value))
        .collect()
}

fn image_answer(png: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    (headers, png).into_response()
}
