//! Levels of signatures: evidence and timestamps in the document, a downgrade that is recorded, renewal, revocation, and the
//! report that says all of it. Judged by pyHanko and OpenSSL.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use sealpost_flow::Level;
use serde_json::Value;

use crate::support::{Channel, Flow, SELLER, TestApp, receipt};
use crate::timestamps::{Authority, free_address, verified};

/// Somebody else's program; its output whether it succeeded or not.
fn judge(program: &str, arguments: &[&str], install: &str) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; install it with: {install}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn openssl(arguments: &[&str]) -> String {
    let (fine, said) = judge("openssl", arguments, "apt-get install openssl");
    assert!(fine, "{arguments:?}: {said}");
    said
}

/// `sealpost` over the server's data folder, with its settings; what it prints.
fn sealpost(app: &TestApp, authority: Option<SocketAddr>, arguments: &[&str]) -> (bool, String) {
    let output = command(app, authority, arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn command(app: &TestApp, authority: Option<SocketAddr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command
        .args(arguments)
        .arg("--data")
        .arg(app.data())
        .env("SEALPOST_PUBLIC_URL", app.base())
        .stdin(Stdio::null());
    if let Some(authority) = authority {
        command.env(
            "SEALPOST_TIMESTAMPS_AUTHORITIES",
            format!("http://{authority}/"),
        );
        command.env("SEALPOST_SIGNATURES_LEVEL", "b-lta");
    }
    command
}

/// A completed flow of the story.
async fn completed(app: &TestApp, channel: &Channel) -> (Flow, Value) {
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    let shown = channel.show_in(&flow, "completed").await;
    (flow, shown)
}

async fn file(channel: &Channel, flow: &Flow) -> Vec<u8> {
    let path = format!("/v1/sign-flows/{}/file", flow.id);
    channel.get(&path).await.body.to_vec()
}

async fn root(app: &TestApp, folder: &Path) -> String {
    let path = folder.join("root.pem");
    std::fs::write(&path, &app.get("/ca.pem").await.body).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_lasts_and_is_renewed() {
    let address = free_address();
    let app = TestApp::start_with(|config| {
        config.timestamps.authorities = vec![format!("http://{address}/")];
        config.signatures.level = Some(Level::BLTA);
    })
    .await;
    let _authority = Authority::start(&app.data(), address);
    let channel = app.channel("lianjia").await;
    let (flow, shown) = completed(&app, &channel).await;
    let level = &shown["signature_level"];
    assert_eq!(level["wanted"], "B-LTA");
    assert_eq!(level["reached"], "B-LTA", "{shown:#}");
    assert!(level["downgrade"].is_null() && level["renew_by"].is_string());
    let first = file(&channel, &flow).await;
    let report = verified(&channel, &first).await;
    assert_eq!(report["verdict"], "valid", "{report:#}");
    let signatures = report["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 3, "{report:#}");
    for signature in &signatures[..2] {
        assert_eq!(signature["level"], "B-LTA");
        assert_eq!(signature["revocation"]["status"], "good");
        assert_eq!(signature["revocation"]["source"], "crl");
        assert!(signature["signed_at"].as_str().unwrap().ends_with('Z'));
    }
    let folder = tempfile::tempdir().unwrap();
    let root = root(&app, folder.path()).await;
    let lasts = |pdf: &[u8]| {
        let path = folder.path().join("lasting.pdf");
        std::fs::write(&path, pdf).unwrap();
        let path = path.to_str().unwrap();
        let arguments = [
            "sign",
            "adesverify",
            "--no-strict-syntax",
            "--trust",
            &root,
            path,
        ];
        let (passed, said) = judge("pyhanko", &arguments, "cargo xtask test");
        let trusted = said.matches(":INTACT:TRUSTED,").count();
        assert!(passed && trusted == 2, "{said}");
    };
    lasts(&first);

    // Nothing is due within ninety days; in twenty years it is.
    let (fine, said) = sealpost(&app, Some(address), &["archive"]);
    assert!(fine && said.contains("0 archived, 0 failed"), "{said}");
    let far = ["archive", "--within", "7000"];
    let (fine, said) = sealpost(&app, Some(address), &[&far[..], &["--dry-run"]].concat());
    assert!(fine && said.contains("would be archived"), "{said}");
    assert_eq!(file(&channel, &flow).await, first);
    // What the same certificate stamps ends no later, and gains nothing.
    let (fine, said) = sealpost(&app, Some(address), &far);
    assert!(fine && said.contains("0 archived, 0 failed"), "{said}");
    assert!(said.contains("end no later"), "{said}");
    assert_eq!(file(&channel, &flow).await, first);
    let (fine, said) = sealpost(&app, Some(address), &[&far[..], &["--anyway"]].concat());
    assert!(fine && said.contains("1 archived, 0 failed"), "{said}");

    // The newest form is handed out; what the flow ended with is still what it was, and the channel hears nothing anew.
    let renewed = file(&channel, &flow).await;
    assert!(renewed.starts_with(&first) && renewed.len() > first.len());
    let after = channel.show(&flow).await;
    assert_eq!(after["document"]["sha256"], shown["document"]["sha256"]);
    assert_eq!(
        after["document"]["archived_sha256"],
        verified(&channel, &renewed).await["file_sha256"]
    );
    assert_eq!(after["ended_at"], shown["ended_at"]);
    channel.received(&flow).await;
    assert_eq!(channel.all_received().len(), 1);
    lasts(&renewed);

    // When another suite has replaced the authority, what that one has revoked is still known.
    let again = ["archive", "--within", "7000", "--anyway"];
    let mut again = command(&app, Some(address), &again);
    let output = again.env("SEALPOST_KEYS_AUTHORITY", "p-384").output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("1 archived, 0 failed"), "{said}");
    let renewed = file(&channel, &flow).await;
    lasts(&renewed);

    // The record can still be recomputed, with either form of the document.
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await;
    let record = folder.path().join("evidence.json");
    std::fs::write(&record, &evidence.body).unwrap();
    for pdf in [&first, &renewed] {
        let path = folder.path().join("receipt.pdf");
        std::fs::write(&path, pdf).unwrap();
        let arguments = [
            "verify",
            path.to_str().unwrap(),
            "--evidence",
            record.to_str().unwrap(),
        ];
        let (fine, said) = sealpost(&app, None, &arguments);
        assert!(fine && said.contains("B-LTA"), "{said}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_operator_wants_it_a_lower_level_is_made_and_recorded() {
    let nobody = free_address();
    let app = TestApp::start_with(|config| {
        config.timestamps.authorities = vec![format!("http://{nobody}/")];
        config.signatures.level = Some(Level::BLT);
        config.signatures.downgrade_after = Some(0);
    })
    .await;
    let channel = app.channel("lianjia").await;
    let (flow, shown) = completed(&app, &channel).await;
    let level = &shown["signature_level"];
    assert_eq!(level["reached"], "B-B");
    assert_eq!(level["downgrade"]["wanted"], "B-LT");
    let reason = level["downgrade"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("no timestamp authority answered"),
        "{reason}"
    );
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();
    let recorded = evidence["events"].as_array().unwrap().iter();
    let recorded = recorded.filter(|entry| entry["event"]["what"]["kind"] == "downgraded");
    assert_eq!(recorded.count(), 2);
    let metrics = app.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        metrics.contains("sealpost_signature_downgrades_total{level=\"B-B\"} 2"),
        "{metrics}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_organization_is_in_the_list_and_gets_a_new_certificate() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let (flow, _) = completed(&app, &channel).await;
    let signed = file(&channel, &flow).await;
    let before = verified(&channel, &signed).await;
    let certificate = |report: &Value| report["signatures"][0]["signer"]["serial"].clone();
    let folder = tempfile::tempdir().unwrap();
    let root = root(&app, folder.path()).await;
    let path = folder.path().join("root.crl");
    let list = async || {
        let list = app.get("/pki/root.crl").await;
        assert_eq!(list.header("content-type"), "application/pkix-crl");
        std::fs::write(&path, &list.body).unwrap();
        let path = path.to_str().unwrap();
        openssl(&[
            "crl", "-inform", "DER", "-in", path, "-CAfile", &root, "-noout", "-text",
        ])
    };
    let said = list().await;
    assert!(
        said.contains("verify OK") && said.contains("No Revoked Certificates"),
        "{said}"
    );
    let der = app.get("/pki/root.cer").await;
    assert_eq!(der.header("content-type"), "application/pkix-cert");
    let der_path = folder.path().join("root.cer");
    std::fs::write(&der_path, &der.body).unwrap();
    openssl(&[
        "x509",
        "-inform",
        "DER",
        "-in",
        der_path.to_str().unwrap(),
        "-noout",
    ]);

    let (fine, said) = sealpost(
        &app,
        None,
        &["ca", "revoke", SELLER, "--reason", "key lost"],
    );
    assert!(fine && said.contains("is revoked"), "{said}");
    let serial = certificate(&before);
    let serial = serial.as_str().unwrap();
    let said = list().await;
    assert!(said.contains(&serial.to_uppercase()), "{said}");
    assert!(!said.contains("Reason Code"), "{said}");
    let (_, said) = sealpost(&app, None, &["ca", "revoked"]);
    assert!(said.contains(serial) && said.contains("key lost"), "{said}");
    // Only the signer's clock says that it was signed before.
    let after = verified(&channel, &signed).await;
    let status = &after["signatures"][0]["revocation"]["status"];
    assert!(
        status == "revoked_later" || status == "revoked",
        "{after:#}"
    );
    assert_ne!(after["verdict"], "valid");
    // So it is when another suite has replaced the authority.
    let kept = folder.path().join("signed.pdf");
    std::fs::write(&kept, &signed).unwrap();
    let verify = ["verify", "--json", kept.to_str().unwrap()];
    let replaced = command(&app, None, &verify)
        .env("SEALPOST_KEYS_AUTHORITY", "p-384")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&replaced.stdout).into_owned();
    assert!(said.contains("revoked"), "{said}");
    assert!(!replaced.status.success(), "{said}");
    // The next seal is made with another certificate, which names the list.
    let (next, _) = completed(&app, &channel).await;
    let next = file(&channel, &next).await;
    let report = verified(&channel, &next).await;
    assert_eq!(report["verdict"], "valid", "{report:#}");
    assert_ne!(certificate(&report), certificate(&before));
    // A reason that the standard has a name for stands in the list.
    let superseded = ["ca", "revoke", SELLER, "--reason", "superseded"];
    let (fine, said) = sealpost(&app, None, &superseded);
    assert!(fine && said.contains("is revoked"), "{said}");
    let said = list().await;
    assert!(said.contains("Superseded"), "{said}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_is_a_sealed_report_in_two_languages() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let (flow, shown) = completed(&app, &channel).await;
    let folder = tempfile::tempdir().unwrap();
    let root = root(&app, folder.path()).await;
    let path = folder.path().join("report.pdf");
    let head = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json()["chain"]["head"]
        .clone();
    for (language, says) in [
        ("zh", ["电子签署证据报告", "未吊销", "自动盖章", "第 1 页"]),
        (
            "en",
            [
                "Evidence of an electronic signing",
                "not revoked",
                "sealed automatically",
                "Page 1 of",
            ],
        ),
    ] {
        let path_and_query = format!(
            "/v1/sign-flows/{}/evidence?format=pdf&language={language}",
            flow.id
        );
        let answer = channel.get(&path_and_query).await;
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(answer.header("content-type"), "application/pdf");
        std::fs::write(&path, &answer.body).unwrap();
        let report = path.to_str().unwrap();
        let (_, text) = judge(
            "pdftotext",
            &["-layout", report, "-"],
            "apt-get install poppler-utils",
        );
        let head = head.as_str().unwrap();
        let digest = shown["document"]["sha256"].as_str().unwrap();
        for said in says
            .into_iter()
            .chain([flow.id.as_str(), head, digest, "张三", SELLER])
        {
            assert!(text.contains(said), "{said} is missing in {text}");
        }
        let arguments = ["sign", "validate", "--trust", &root, report];
        let (fine, said) = judge("pyhanko", &arguments, "cargo xtask test");
        assert!(fine && said.contains(":INTACT:TRUSTED,UNTOUCHED"), "{said}");
        let verdict = verified(&channel, &answer.body).await;
        assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
        let metadata = String::from_utf8_lossy(&answer.body);
        assert!(metadata.contains("<pdfaid:part>2") && metadata.contains("<pdfaid:conformance>B"));
    }
    let wrong = channel
        .get(&format!("/v1/sign-flows/{}/evidence?format=docx", flow.id))
        .await;
    assert_eq!(wrong.status, 422);
    let written = folder.path().join("written.pdf");
    let arguments = [
        "evidence",
        &flow.id,
        "--language",
        "en",
        "--pdf",
        written.to_str().unwrap(),
    ];
    let (fine, said) = sealpost(&app, None, &arguments);
    assert!(fine, "{said}");
    assert!(std::fs::read(&written).unwrap().starts_with(b"%PDF-"));
    app.stop().await;
}

/// An authority that OpenSSL keeps in a folder: `root.pem`, the seller's key in `seal.p12`, and a responder at `responder`, which the
/// seller's certificate names.
pub(crate) fn outside_authority(folder: &Path, responder: SocketAddr) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let put = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let openssl_with = |arguments: &str| {
        let arguments: Vec<String> = arguments
            .split(' ')
            .map(|word| match word.strip_prefix('@') {
                Some(name) => path(name),
                None => word.to_owned(),
            })
            .collect();
        openssl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl_with(&format!(
        "req -x509 {curve} -keyout @root.key -out @root.pem -days 30 -subj /CN=Outside -addext keyUsage=critical,keyCertSign,cRLSign"
    ));
    for (name, serial, extensions) in [
        (
            "seal",
            "4097",
            format!(
                "keyUsage=critical,nonRepudiation\nauthorityInfoAccess=OCSP;URI:http://{responder}/\n"
            ),
        ),
        (
            "responder",
            "4098",
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=OCSPSigning\nnoCheck=ignored\n"
                .to_owned(),
        ),
    ] {
        put("extensions", extensions);
        openssl_with(&format!(
            "req {curve} -keyout @{name}.key -out @{name}.csr -subj /CN={name}"
        ));
        openssl_with(&format!(
            "x509 -req -in @{name}.csr -CA @root.pem -CAkey @root.key -set_serial {serial} -days 20 -extfile @extensions -out @{name}.pem"
        ));
    }
    openssl_with(
        "pkcs12 -export -inkey @seal.key -in @seal.pem -certfile @root.pem -out @seal.p12 -passout pass:open",
    );
    put("password", "open\n".to_owned());
    let (seals, roots) = (path("seal.p12"), path("password"));
    put(
        "seals.toml",
        format!(
            "[[seal]]\norganization = \"{SELLER}\"\npkcs12 = \"{seals}\"\npassword_file = \"{roots}\"\n"
        ),
    );
    put(
        "index",
        "V\t491231235959Z\t\t1001\tunknown\t/CN=seal\n".to_owned(),
    );
}

/// OpenSSL's responder for that authority behind HTTP; by itself it would listen to the whole network.
pub(crate) async fn respond(folder: &Path, listener: tokio::net::TcpListener) {
    let folder = folder.to_owned();
    let answer = move |headers: http::HeaderMap, question: Bytes| {
        let folder = folder.clone();
        async move {
            assert_eq!(headers["content-type"], "application/ocsp-request");
            let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
            std::fs::write(folder.join("question"), question).unwrap();
            openssl(&[
                "ocsp",
                "-index",
                &path("index"),
                "-CA",
                &path("root.pem"),
                "-rsigner",
                &path("responder.pem"),
                "-rkey",
                &path("responder.key"),
                "-ndays",
                "7",
                "-reqin",
                &path("question"),
                "-respout",
                &path("answer"),
            ]);
            std::fs::read(folder.join("answer")).unwrap()
        }
    };
    let router = Router::new().route("/", post(answer));
    axum::serve(listener, router).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_certificate_is_asked_about_at_its_responder() {
    let folder = tempfile::tempdir().unwrap();
    let stamps = free_address();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    outside_authority(folder.path(), listener.local_addr().unwrap());
    let path = folder.path().to_owned();
    let responder = tokio::spawn(async move { respond(&path, listener).await });
    let app = TestApp::start_with(|config| {
        config.timestamps.authorities = vec![format!("http://{stamps}/")];
        config.signatures.level = Some(Level::BLTA);
        config.keys.seals = Some(folder.path().join("seals.toml"));
        config.keys.roots = Some(folder.path().join("root.pem"));
    })
    .await;
    let _authority = Authority::start(&app.data(), stamps);
    let channel = app.channel("lianjia").await;
    let (flow, shown) = completed(&app, &channel).await;
    assert_eq!(shown["signature_level"]["reached"], "B-LTA", "{shown:#}");
    let pdf = file(&channel, &flow).await;
    let report = verified(&channel, &pdf).await;
    let sources: Vec<&str> = report["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signature| signature["revocation"]["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, ["ocsp", "crl", "crl"], "{report:#}");
    assert_eq!(report["signatures"][0]["level"], "B-LTA");
    // What was said is kept until there is more to say: the responder is not needed for the next receipt.
    responder.abort();
    let (_, shown) = completed(&app, &channel).await;
    assert_eq!(shown["signature_level"]["reached"], "B-LTA", "{shown:#}");

    let path = folder.path().join("receipt.pdf");
    std::fs::write(&path, &pdf).unwrap();
    let outside = folder.path().join("root.pem");
    let builtin = folder.path().join("builtin.pem");
    std::fs::write(&builtin, &app.get("/ca.pem").await.body).unwrap();
    let files = [&path, &outside, &builtin].map(|path| path.to_str().unwrap());
    let arguments = [&["-c", LASTING][..], &files].concat();
    let (fine, said) = judge("python3", &arguments, "cargo xtask test");
    assert!(fine && said.matches("True True").count() == 2, "{said}");
    app.stop().await;
}

/// pyHanko's opinion on each signature of a file, with nothing but the evidence that the file carries, and none without evidence. That the
/// responder's answer is newer than the signature, as ETSI wants it, it takes only when it is told to.
const LASTING: &str = "
import sys
from pyhanko.keys import load_certs_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import DocumentSecurityStore, validate_pdf_signature
reader = PdfFileReader(open(sys.argv[1], 'rb'), strict=False)
for signature in reader.embedded_regular_signatures:
    context = DocumentSecurityStore.read_dss(reader).as_validation_context({
        'trust_roots': list(load_certs_from_pemder(sys.argv[2:])),
        'allow_fetching': False,
        'retroactive_revinfo': True,
        'revocation_mode': 'require',
    })
    status = validate_pdf_signature(signature, context, ts_validation_context=context)
    print(status.bottom_line, status.trusted, status.summary())
";
