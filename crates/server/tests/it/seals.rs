//! Seals: every kind, at several places, across the pages of an uploaded PDF; those that are kept under a name; and what is said
//! of those that cannot be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Channel, SELLER, TestApp, receipt};

const RED: [u8; 3] = [0xd7, 0x14, 0x1a];

/// A contract of three pages, each with a word in it, the last with an empty signature field `乙方签字`.
fn contract() -> Vec<u8> {
    let font =
        "/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>>>";
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[9 0 R]/SigFlags 1>>>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R 4 0 R 5 0 R]/Count 3>>".to_owned(),
    ];
    for page in 0..3 {
        let annotations = if page == 2 { "/Annots[9 0 R]" } else { "" };
        objects.push(format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {} 0 R/Resources<<{font}>>{annotations}>>",
            page + 6
        ));
    }
    for page in 1..=3 {
        let content =
            format!("BT /F 20 Tf 100 700 Td (Page {page}) Tj 0 -400 Td (Seal here) Tj ET");
        objects.push(format!(
            "<</Length {}>>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    objects.push(
        "<</Type/Annot/Subtype/Widget/FT/Sig/T<FEFF4E5965B97B7E5B57>/F 4/P 5 0 R/Rect[300 100 460 160]>>"
            .to_owned(),
    );
    let mut pdf = b"%PDF-1.7\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in (1..).zip(&objects) {
        table.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.extend_from_slice(format!("{number} 0 obj\n{object}\nendobj\n").as_bytes());
    }
    let (start, size) = (pdf.len(), objects.len() + 1);
    pdf.extend_from_slice(table.as_bytes());
    pdf.extend_from_slice(
        format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n").as_bytes(),
    );
    pdf
}

fn request(signers: Value) -> Value {
    json!({
        "reference": "HT-1",
        "document": { "pdf_base64": STANDARD.encode(contract()) },
        "signers": signers,
    })
}

/// Where a page is of a colour, in points from its lower left corner.
fn pixels_like(pdf: &[u8], page: usize, color: [u8; 3]) -> Vec<(f64, f64)> {
    let png = sealpost_pdf::render::page_png(pdf, page, 595).unwrap();
    let (rgb, width, height) = rgb(&png);
    rgb.chunks(3)
        .enumerate()
        .filter(|(_, pixel)| pixel.iter().zip(color).all(|(&a, b)| a.abs_diff(b) < 70))
        .map(|(at, _)| ((at % width) as f64, (height - at / width) as f64))
        .collect()
}

fn rgb(png: &[u8]) -> (Vec<u8>, usize, usize) {
    let decoder = png::Decoder::new(std::io::Cursor::new(png));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    (pixels, info.width as usize, info.height as usize)
}

/// How many of the places are within this distance of a point.
fn near(places: &[(f64, f64)], (x, y): (f64, f64), within: f64) -> usize {
    let close = |place: &&(f64, f64)| (place.0 - x).abs() < within && (place.1 - y).abs() < within;
    places.iter().filter(close).count()
}

async fn file(channel: &Channel, flow: &str) -> Vec<u8> {
    let path = format!("/v1/sign-flows/{flow}/file");
    channel.get(&path).await.body.to_vec()
}

/// The seller's contract seal goes where a word says, where a point says, and across all pages; the buyer signs in the PDF's own
/// field, with a name seal beside the signature. Every one of them is a valid signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_is_sealed_wherever_it_says() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let signers = json!([
        {
            "type": "organization", "name": SELLER, "automatic": true, "order": 2,
            "seal": { "kind": "contract" }, "straddle": true,
            "place": { "keyword": "Seal here", "occurrence": "last", "offset": [20, 0], "unit": "mm" },
            "more_places": [{ "page": 1, "center": [105, 50], "unit": "mm" }],
        },
        {
            "type": "person", "name": "张三", "order": 1,
            "seal": { "kind": "name" }, "place": { "field": "乙方签字" },
        },
    ]);
    let flow = channel.create_flow(request(signers)).await;
    assert_eq!(
        app.signer("张三").signs_last().await["sign_flow_status"],
        "2"
    );
    channel.received(&flow).await;

    let pdf = file(&channel, &flow.id).await;
    let report = channel
        .send(
            Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            pdf.clone(),
        )
        .await
        .json();
    assert_eq!(report["verdict"], "valid", "{report:#}");
    let fields: Vec<&str> = report["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signature| signature["field"].as_str().unwrap())
        .collect();
    let own = format!("sealpost-{}-1", &flow.id[..8]);
    assert_eq!(fields, ["乙方签字", &own, &format!("{own}-2")]);

    // For whoever wants to look.
    let look = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract.pdf");
    std::fs::write(look, &pdf).unwrap();

    let pages: Vec<_> = (0..3).map(|page| pixels_like(&pdf, page, RED)).collect();
    for page in &pages {
        // A third of the seal, 36 points wide, half way up the right edge.
        assert!(near(page, (577.0, 421.0), 56.0) > 300);
    }
    // The word is at 100, 300 and some 90 points wide; the seal 57 points to its right.
    assert!(near(&pages[2], (200.0, 307.0), 60.0) > 1500);
    assert!(near(&pages[0], (297.6, 141.7), 55.0) > 1500);
    assert_eq!(near(&pages[1], (200.0, 307.0), 60.0), 0);
    // The name seal is on the right of the field.
    assert!(near(&pages[2], (420.0, 130.0), 30.0) > 300);
    assert_eq!(near(&pages[2], (330.0, 130.0), 28.0), 0);
    app.stop().await;
}

/// A receipt's own place has whichever seal is asked for; what an organization has without asking is a finance seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_has_the_seal_that_is_asked_for() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let mut png = Vec::new();
    {
        let mut encoder = png::Encoder::new(&mut png, 40, 40);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0, 0, 200].repeat(1600)).unwrap();
    }
    let mut looks = Vec::new();
    for seal in [
        Value::Null,
        json!({ "kind": "finance" }),
        json!({ "kind": "company", "legend": "业务专用章" }),
        json!({ "kind": "oval", "number": "91310000MA1FL0XX3D", "legend": "收款专用章" }),
        json!({ "kind": "picture", "picture_base64": STANDARD.encode(&png), "width_mm": 30 }),
    ] {
        let mut request = receipt();
        request["signers"][0]["seal"] = seal.clone();
        let flow = channel.create_flow(request).await;
        app.signer("张三").signs_last().await;
        channel.received(&flow).await;
        let pdf = file(&channel, &flow.id).await;
        let report = sealpost_pdf::verify(&pdf, &sealpost_pdf::Trust::default(), app.app().now());
        assert_eq!(report.unwrap().signatures.len(), 2, "{seal}");
        let blue = pixels_like(&pdf, 0, [0, 0, 200]).len();
        looks.push((pixels_like(&pdf, 0, RED).len(), blue > 4000));
    }
    assert_eq!(looks[0], looks[1]);
    assert!(looks[2..4].iter().all(|look| *look != looks[0] && !look.1));
    assert!(looks[4].0 < 100 && looks[4].1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sealed_is_refused_with_the_member_that_is_to_blame() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let one = |change: Value| {
        let mut signer = json!({ "type": "organization", "name": SELLER, "place": { "page": 1, "center": [200, 200] } });
        for (member, value) in change.as_object().unwrap() {
            signer[member] = value.clone();
        }
        request(json!([signer]))
    };
    let place = |place: Value| one(json!({ "place": place }));
    let seal = |seal: Value| one(json!({ "seal": seal }));
    let cases = [
        (
            place(json!({ "page": 4, "center": [1, 1] })),
            "place.page",
            "no_such_page",
        ),
        (
            place(json!({ "page": 0, "center": [1, 1] })),
            "place.page",
            "out_of_range",
        ),
        (place(json!({ "center": [1, 1] })), "place.page", "missing"),
        (
            place(json!({ "page": 1, "center": [596, 1] })),
            "place.center",
            "off_page",
        ),
        (
            place(json!({ "page": 1, "center": [1] })),
            "place.center",
            "wrong_type",
        ),
        (
            place(json!({ "page": 1, "center": [1, 1], "unit": "in" })),
            "place.unit",
            "unknown_value",
        ),
        (place(json!({ "page": 1 })), "place.rect", "one_of"),
        (
            place(json!({ "keyword": "甲方" })),
            "place.keyword",
            "no_such_word",
        ),
        (
            place(json!({ "keyword": "Seal", "occurrence": 4 })),
            "place.occurrence",
            "out_of_range",
        ),
        (
            place(json!({ "keyword": "Seal", "occurrence": "all" })),
            "place.occurrence",
            "bad_format",
        ),
        (
            place(json!({ "field": "甲方" })),
            "place.field",
            "no_such_field",
        ),
        (
            place(json!({ "field": "乙方签字", "page": 1 })),
            "place.page",
            "unknown_field",
        ),
        (
            one(json!({ "more_places": [{ "page": 1, "rect": [9, 9, 9, 20] }] })),
            "more_places[0].rect",
            "no_area",
        ),
        (
            one(json!({ "more_places": vec![json!({ "page": 1, "center": [1, 1] }); 10] })),
            "more_places",
            "out_of_range",
        ),
        (
            one(
                json!({ "place": { "field": "乙方签字" }, "more_places": [{ "field": "乙方签字" }] }),
            ),
            "more_places[0].field",
            "place_taken",
        ),
        (seal(json!({})), "seal.kind", "missing"),
        (
            seal(json!({ "kind": "square" })),
            "seal.kind",
            "unknown_value",
        ),
        (
            seal(json!({ "kind": "finance", "legend": "x" })),
            "seal.legend",
            "unknown_field",
        ),
        (
            seal(json!({ "kind": "oval", "number": "9".repeat(25) })),
            "seal.number",
            "too_long",
        ),
        (
            seal(json!({ "kind": "company", "organization": "😀公司" })),
            "seal.organization",
            "missing_glyph",
        ),
        (
            seal(json!({ "kind": "name", "name": "王" })),
            "seal.name",
            "too_short",
        ),
        (
            seal(json!({ "kind": "picture" })),
            "seal.picture_base64",
            "missing",
        ),
        (
            seal(json!({ "kind": "picture", "picture_base64": "AAAA" })),
            "seal.picture_base64",
            "cannot_be_drawn",
        ),
        (
            seal(json!({ "kind": "picture", "picture_base64": "AAAA", "width_mm": 101 })),
            "seal.width_mm",
            "out_of_range",
        ),
        (seal(json!({ "id": "seal_0000" })), "seal.id", "not_found"),
        (
            one(json!({ "type": "person", "name": "张三", "straddle": true })),
            "straddle",
            "not_permitted",
        ),
    ];
    for (request, member, code) in cases {
        let answer = channel.post("/v1/sign-flows", &request).await;
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{member}: {problem}");
        let errors = problem["errors"].as_array().unwrap();
        let named = errors
            .iter()
            .any(|error| error["field"] == format!("signers[0].{member}") && error["code"] == code);
        assert!(named, "{member} {code}: {problem:#}");
    }
    app.stop().await;
}

/// A document that somebody has signed takes further signatures, but no seal across its pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_document_takes_more_signatures_but_no_straddling_seal() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let first = json!([{ "type": "organization", "name": SELLER, "automatic": true, "place": { "page": 1, "center": [200, 200] } }]);
    let flow = channel.create_flow(request(first)).await;
    channel.received(&flow).await;
    let signed = file(&channel, &flow.id).await;

    let mut again = request(json!([
        { "type": "organization", "name": "北京链家置地房地产经纪有限公司", "automatic": true, "straddle": true, "place": { "page": -1, "center": [200, 400] } },
    ]));
    again["document"] = json!({ "pdf_base64": STANDARD.encode(&signed) });
    let problem = channel.post("/v1/sign-flows", &again).await.json();
    let error = &problem["errors"][0];
    assert_eq!(
        (error["field"].as_str(), error["code"].as_str()),
        (Some("signers[0].straddle"), Some("not_possible"))
    );
    again["signers"][0]["straddle"] = false.into();
    let flow = channel.create_flow(again).await;
    channel.received(&flow).await;
    let pdf = file(&channel, &flow.id).await;
    assert!(pdf.starts_with(&signed));
    app.stop().await;
}

/// An encrypted document is refused for what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_and_damaged_documents_are_refused_for_what_they_are() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("plain.pdf"), contract()).unwrap();
    let made = std::process::Command::new("qpdf")
        .args(["--encrypt", "secret", "secret", "256", "--"])
        .args([path("plain.pdf"), path("encrypted.pdf")])
        .status()
        .expect("`apt-get install -y qpdf` installs it");
    assert!(made.success());
    let encrypted = std::fs::read(path("encrypted.pdf")).unwrap();
    let mut cut = contract();
    cut.truncate(cut.len() / 2);
    for (pdf, code) in [(encrypted, "encrypted"), (cut, "damaged")] {
        let mut wanted = request(
            json!([{ "type": "person", "name": "张三", "place": { "page": 1, "center": [200, 200] } }]),
        );
        wanted["document"] = json!({ "pdf_base64": STANDARD.encode(&pdf) });
        let problem = channel.post("/v1/sign-flows", &wanted).await.json();
        let error = &problem["errors"][0];
        assert_eq!(error["field"], "document.pdf_base64", "{problem}");
        assert_eq!(error["code"], code, "{problem}");
    }
    app.stop().await;
}

/// A channel keeps seals of its own, uses those that are kept for all, and sees no other channel's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seals_are_kept_under_a_name() {
    let app = TestApp::start().await;
    let (lianjia, beike) = (app.channel("lianjia").await, app.channel("beike").await);
    let new = json!({ "label": "合同章", "seal": { "kind": "contract", "organization": SELLER } });
    let answer = lianjia.post("/v1/seals", &new).await;
    assert_eq!(answer.status, 201);
    let kept = answer.json();
    let path = format!("/v1/seals/{}", kept["id"].as_str().unwrap());
    assert_eq!(lianjia.get(&path).await.json(), kept);
    assert_eq!(lianjia.get("/v1/seals").await.json()["data"], json!([kept]));
    let taken = lianjia.post("/v1/seals", &new).await.json();
    assert_eq!(taken["errors"][0]["code"], "taken", "{taken}");
    let wrong = json!({ "label": "x", "seal": { "kind": "oval", "organization": "甲" } });
    let wrong = lianjia.post("/v1/seals", &wrong).await.json();
    assert_eq!(wrong["errors"][0]["field"], "seal.organization", "{wrong}");

    let (pixels, width, height) = rgb(&lianjia
        .get(&format!("{path}/preview.png?width=300"))
        .await
        .body);
    assert_eq!((width, height), (300, 300));
    let red = pixels
        .chunks(3)
        .filter(|pixel| pixel[0] > 200 && pixel[1] < 60);
    assert!(red.count() > 5000);

    assert_eq!(beike.get(&path).await.status, 404);
    assert_eq!(beike.get("/v1/seals").await.json()["data"], json!([]));
    let mut wanted = receipt();
    wanted["signers"][0]["seal"] = json!({ "id": kept["id"] });
    assert_eq!(beike.post("/v1/sign-flows", &wanted).await.status, 422);

    // A flow keeps the seal that it was made with.
    wanted["signers"][0]["order"] = 2.into();
    wanted["signers"][1]["order"] = 1.into();
    let flow = lianjia.create_flow(wanted).await;
    let removed = lianjia.send(Method::DELETE, &path, &[], Vec::new()).await;
    assert_eq!(removed.status, 204);
    assert_eq!(lianjia.get(&path).await.status, 404);
    assert_eq!(
        app.signer("张三").signs_last().await["sign_flow_status"],
        "2"
    );
    lianjia.received(&flow).await;
    app.stop().await;
}

/// Runs `sealpost` beside the server, on its data folder; what it prints.
fn sealpost(app: &TestApp, arguments: &[&str]) -> Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args(arguments)
        .arg("--data")
        .arg(app.data())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// What the command line keeps a program with an operator key sees, and every channel may use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_keep_seals_for_all_channels_or_for_one() {
    let app = TestApp::start().await;
    let (lianjia, beike) = (app.channel("lianjia").await, app.channel("beike").await);
    let kept = sealpost(
        &app,
        &[
            "seal",
            "add",
            "财务章",
            "--kind",
            "finance",
            "--name",
            SELLER,
            "--json",
        ],
    );
    let id = kept["id"].as_str().unwrap();
    let mut wanted = receipt();
    wanted["signers"][0]["seal"] = json!({ "id": id });
    for channel in [&lianjia, &beike] {
        let flow = channel.create_flow(wanted.clone()).await;
        app.signer("张三").signs_last().await;
        channel.received(&flow).await;
        let own = format!("/v1/seals/{id}");
        let removed = channel.send(Method::DELETE, &own, &[], Vec::new()).await;
        assert_eq!(removed.status, 404, "it is the operator's");
    }

    let add_key = [
        "operator",
        "add-key",
        "桌面",
        "--json",
        "--role",
        "administrator",
    ];
    let key = sealpost(&app, &add_key)["operator_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let call = async |method: Method, path: &str, body: Value| {
        let headers = [
            (http::header::AUTHORIZATION, format!("Bearer {key}")),
            (http::header::CONTENT_TYPE, "application/json".to_owned()),
        ];
        let url = format!("{}/v1/operator{path}", app.base());
        let sent = app.http.send(method, &url, &headers, body.to_string());
        sent.await.unwrap()
    };
    let new = json!({ "label": "姓名章", "channel_id": beike.id, "seal": { "kind": "name", "name": "欧阳娜娜" } });
    let made = call(Method::POST, "/seals", new).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["channel_id"], beike.id);
    assert_eq!(
        lianjia.get("/v1/seals").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        beike.get("/v1/seals").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let preview = call(
        Method::GET,
        &format!("/seals/{id}/preview.png"),
        Value::Null,
    )
    .await;
    assert_eq!(rgb(&preview.body).1, 600);
    let removed = call(Method::DELETE, &format!("/seals/{id}"), Value::Null).await;
    assert_eq!(removed.status, 204);
    let listed = sealpost(&app, &["seal", "list", "--channel", "beike", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");

    let certificates = call(Method::GET, "/certificates", Value::Null).await.json();
    let of: Vec<_> = certificates["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["of"].as_str().unwrap())
        .collect();
    assert_eq!(of, ["authority", "organization"]);
    app.stop().await;
}
