//! The story by HTTP: create, seal, sign, told; the other ends; races; repetition; who sees what.

use std::time::Duration;

use sealpost_contract::EndStatus;
use sealpost_flow::Digest;
use sealpost_flow::event::{GENESIS, chain_json};
use serde_json::{Value, json};

use crate::support::{SELLER, TestApp, receipt, receipt_for, signature};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_sealed_signed_and_told() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    assert_eq!(flow.shown["sign_flow_status"], "1");
    assert_eq!(
        flow.shown["signers"][0]["step"], "applied",
        "the seller's seal is applied at once"
    );
    assert_eq!(flow.shown["signers"][1]["step"], "open");
    assert_eq!(flow.shown["title"], "新房收据 XS-2026-0001");

    let buyer = app.signer("张三");
    assert_eq!(buyer.get("").await.status, 200);
    let page = buyer.get("/pages/1.png?width=800").await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "image/png")
    );
    assert_eq!(buyer.signs_last().await["sign_flow_status"], "2");

    let callback = channel.received(&flow).await;
    let shown = channel.show(&flow).await;
    assert_eq!(callback.sign_flow_status, EndStatus::Completed);
    assert_eq!(callback.sign_end_time.as_str(), shown["sign_end_time"]);
    assert_eq!(callback.sign_file_url.as_str(), shown["sign_file_url"]);
    assert_eq!(
        channel.callback_in(&flow, "acknowledged").await["attempts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let file = app
        .http
        .get(callback.sign_file_url.as_str(), None)
        .await
        .unwrap();
    assert_eq!(
        (file.status.as_u16(), file.header("content-type")),
        (200, "application/pdf")
    );
    assert_eq!(
        Digest::of(&file.body).to_string(),
        shown["document"]["sha256"]
    );
    let own = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await;
    assert_eq!(own.body, file.body);
    let report = channel
        .send(
            http::Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            file.body,
        )
        .await
        .json();
    assert_eq!(report["verdict"], "valid", "{report}");
    assert_eq!(report["signatures"][0]["signer"]["common_name"], SELLER);
    assert_eq!(report["signatures"][1]["signer"]["common_name"], "张三");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_can_be_recomputed() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    app.signer("张三").signs_last().await;
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();

    let mut chain = GENESIS;
    let mut kinds = Vec::new();
    for event in evidence["events"].as_array().unwrap() {
        chain = chain_json(&chain, event["canonical_json"].as_str().unwrap());
        assert_eq!(chain.to_string(), event["chain"]);
        kinds.push(event["event"]["what"]["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(chain.to_string(), evidence["chain"]["head"]);
    let expected = [
        "created",
        "started",
        "opened",
        "signed",
        "applied",
        "opened",
        "signed",
        "applied",
        "completed",
    ];
    assert_eq!(kinds, expected);
    let signed = &evidence["events"][6]["event"];
    assert_eq!(signed["address"], "127.0.0.1");
    assert_eq!(signed["what"]["mark"], Digest::of(&signature()).to_string());
    assert_eq!(evidence["signatures"]["verdict"], "valid");
    assert!(
        !evidence.to_string().contains("110105199003072316"),
        "the identity number is masked everywhere"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_expired_and_rejected_flows_are_told_and_serve_void_copies() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;

    let revoked = channel.create_flow(receipt()).await;
    let answer = channel
        .post(
            &format!("/v1/sign-flows/{}/revoke", revoked.id),
            &json!({ "reason": "金额有误" }),
        )
        .await;
    assert_eq!(answer.json()["sign_flow_status"], "3");
    assert_eq!(answer.json()["reason"], "金额有误");

    let rejected = channel.create_flow(receipt()).await;
    app.signer("张三").rejects("房号不对").await;
    assert_eq!(channel.show(&rejected).await["rejected_by"], 2);

    let expired = channel.create_flow(receipt()).await;
    app.app().move_clock(8 * 24 * 60 * 60 * 1000);
    channel.show_in(&expired, "expired").await;

    for (flow, end) in [
        (revoked, EndStatus::Revoked),
        (rejected, EndStatus::Rejected),
        (expired, EndStatus::Expired),
    ] {
        let callback = channel.received(&flow).await;
        assert_eq!(callback.sign_flow_status, end);
        let file = app
            .http
            .get(callback.sign_file_url.as_str(), None)
            .await
            .unwrap();
        assert_eq!(file.status, 200);
        let report = channel
            .send(
                http::Method::POST,
                "/v1/verify",
                &[("content-type", "application/pdf")],
                file.body.clone(),
            )
            .await
            .json();
        assert_eq!(
            report["verdict"], "unsigned",
            "a void copy carries no signature"
        );
        let again = app
            .http
            .get(callback.sign_file_url.as_str(), None)
            .await
            .unwrap();
        assert_eq!(again.body, file.body, "the void copy is the same each time");
    }
    assert_eq!(channel.all_received().len(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_end_there_is_only_a_preview() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt()).await;
    let preview = channel
        .get(&format!("/v1/sign-flows/{}/file", flow.id))
        .await;
    assert!(preview.header("content-disposition").contains("preview"));
    let report = channel
        .send(
            http::Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            preview.body,
        )
        .await
        .json();
    assert_eq!(report["verdict"], "unsigned");
    // The link that the callback will name exists already, and gives nothing away.
    app.signer("张三").signs_last().await;
    let url = channel.show(&flow).await["sign_file_url"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = channel.create_flow(receipt()).await;
    let token_like = format!("{}/f/{}", app.base(), "A".repeat(24));
    assert_eq!(app.http.get(&token_like, None).await.unwrap().status, 404);
    assert_eq!(
        app.http
            .get(&url.replace("/f/", "/s/"), None)
            .await
            .unwrap()
            .status,
        404,
        "a file's token opens no signing page"
    );
    assert_ne!(flow.id, other.id);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_waits_for_its_start() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let mut request = receipt();
    request["draft"] = true.into();
    let flow = channel.create_flow(request).await;
    assert_eq!(flow.shown["sign_flow_status"], "0");
    assert_eq!(
        app.signer("张三").get("").await.status,
        404,
        "a draft's link shows nothing"
    );

    let started = channel
        .send(
            http::Method::POST,
            &format!("/v1/sign-flows/{}/start", flow.id),
            &[],
            "",
        )
        .await;
    assert_eq!(started.json()["signers"][0]["step"], "applied");
    let again = channel
        .send(
            http::Method::POST,
            &format!("/v1/sign-flows/{}/start", flow.id),
            &[],
            "",
        )
        .await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["code"]),
        (409, &json!("wrong_state"))
    );
    assert_eq!(again.json()["sign_flow_status"], "1");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_sign_in_their_order_and_in_parallel_within_one() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let mut request = receipt_for(&["张三", "李四", "王五"]);
    request["signers"][2]["order"] = 2.into();
    let flow = channel.create_flow(request).await;

    let early = app.signer("王五").tries_to_sign(&signature()).await;
    assert_eq!(
        (early.status.as_u16(), &early.json()["code"]),
        (409, &json!("not_your_turn"))
    );
    let (zhang, li) = (app.signer("张三"), app.signer("李四"));
    let (first, second) = tokio::join!(zhang.signs(), li.signs());
    assert_eq!(
        (
            first["sign_flow_status"].as_str(),
            second["sign_flow_status"].as_str()
        ),
        (Some("1"), Some("1"))
    );
    assert_eq!(
        app.signer("王五").signs_last().await["sign_flow_status"],
        "2"
    );
    let callback = channel.received(&flow).await;
    let file = app
        .http
        .get(callback.sign_file_url.as_str(), None)
        .await
        .unwrap();
    let report = channel
        .send(
            http::Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            file.body,
        )
        .await
        .json();
    assert_eq!(
        (
            report["verdict"].as_str(),
            report["signatures"].as_array().map(Vec::len)
        ),
        (Some("valid"), Some(3))
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_twice_changes_nothing() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt_for(&["张三", "李四"])).await;
    let zhang = app.signer("张三");
    let drawing = signature();
    let (first, second) =
        tokio::join!(zhang.tries_to_sign(&drawing), zhang.tries_to_sign(&drawing));
    assert_eq!(
        (first.status.as_u16(), second.status.as_u16()),
        (200, 200),
        "one request sent twice is one signature"
    );
    assert_eq!(zhang.tries_to_sign(&drawing).await.status, 200);
    let other = zhang.tries_to_reject("想想还是不签了").await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (409, &json!("already_signed"))
    );
    let evidence = channel
        .get(&format!("/v1/sign-flows/{}/evidence", flow.id))
        .await
        .json();
    let signed = evidence["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["event"]["what"]["kind"] == "signed")
        .count();
    assert_eq!(signed, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_ends_a_flow_first_wins_and_it_is_told_once() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    for round in 0..12 {
        let flow = channel.create_flow(receipt_for(&["张三"])).await;
        let buyer = app.signer("张三");
        let (drawing, path, reason) = (
            signature(),
            format!("/v1/sign-flows/{}/revoke", flow.id),
            json!({ "reason": "改" }),
        );
        let wait = Duration::from_millis(round % 4 * 8);
        let late = async {
            tokio::time::sleep(wait).await;
            channel.post(&path, &reason).await
        };
        let (signed, revoked, rejected) = tokio::join!(
            buyer.tries_to_sign(&drawing),
            late,
            buyer.tries_to_reject("不")
        );
        for answer in [&signed, &revoked, &rejected] {
            assert!(
                matches!(answer.status.as_u16(), 200 | 409),
                "{}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        let callback = channel.received(&flow).await;
        let shown = channel.show(&flow).await;
        assert_eq!(callback.sign_flow_status.code(), shown["sign_flow_status"]);
        let told = channel
            .all_received()
            .iter()
            .filter(|callback| callback.sign_flow_id.as_str() == flow.id)
            .count();
        assert_eq!(told, 1);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_under_one_key_is_done_once() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let request = receipt();
    let first = channel.post_once("/v1/sign-flows", "k-1", &request).await;
    assert_eq!(
        (first.status.as_u16(), first.header("idempotency-replayed")),
        (201, "")
    );
    let again = channel.post_once("/v1/sign-flows", "k-1", &request).await;
    assert_eq!(
        (again.status.as_u16(), again.header("idempotency-replayed")),
        (201, "true")
    );
    assert_eq!(first.json()["sign_flow_id"], again.json()["sign_flow_id"]);

    let mut other = request.clone();
    other["reference"] = "R-2".into();
    let refused = channel.post_once("/v1/sign-flows", "k-1", &other).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (409, &json!("idempotency_key_reused"))
    );

    let at_once = (0..6).map(|_| {
        let (channel, request) = (channel.clone(), request.clone());
        tokio::spawn(async move {
            channel
                .post_once("/v1/sign-flows", "k-2", &request)
                .await
                .json()["sign_flow_id"]
                .clone()
        })
    });
    let mut ids = Vec::new();
    for made in at_once.collect::<Vec<_>>() {
        ids.push(made.await.unwrap());
    }
    assert!(
        ids.iter().all(|id| id.is_string() && *id == ids[0]),
        "{ids:?}"
    );

    let id = first.json()["sign_flow_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sign-flows/{id}/revoke");
    let revoked = channel
        .post_once(&path, "k-3", &json!({ "reason": "错" }))
        .await;
    let repeated = channel
        .post_once(&path, "k-3", &json!({ "reason": "错" }))
        .await;
    assert_eq!(
        (revoked.status.as_u16(), repeated.status.as_u16()),
        (200, 200)
    );
    assert_eq!(repeated.header("idempotency-replayed"), "true");
    // Another channel's keys are its own.
    let other = app.channel("5i5j").await;
    let theirs = other.post_once("/v1/sign-flows", "k-1", &request).await;
    assert_ne!(theirs.json()["sign_flow_id"], first.json()["sign_flow_id"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_channels_flows_and_callbacks_do_not_exist() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.channel("lianjia").await, app.channel("5i5j").await);
    let flow = ours.create_flow(receipt()).await;
    app.signer("张三").signs().await;
    let callback = ours.callback_in(&flow, "acknowledged").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in ["", "/file", "/evidence"] {
        let answer = theirs
            .get(&format!("/v1/sign-flows/{}{path}", flow.id))
            .await;
        let unknown = theirs
            .get(&format!("/v1/sign-flows/{}{path}", "0".repeat(32)))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body),
            (404, &unknown.body),
            "{path}"
        );
    }
    for path in ["start", "remind"] {
        assert_eq!(
            theirs
                .send(
                    http::Method::POST,
                    &format!("/v1/sign-flows/{}/{path}", flow.id),
                    &[],
                    ""
                )
                .await
                .status,
            404
        );
    }
    assert_eq!(
        theirs
            .post(
                &format!("/v1/sign-flows/{}/revoke", flow.id),
                &json!({ "reason": "x" })
            )
            .await
            .status,
        404
    );
    assert_eq!(
        theirs
            .get(&format!("/v1/callbacks/{callback}"))
            .await
            .status,
        404
    );
    assert_eq!(
        theirs
            .send(
                http::Method::POST,
                &format!("/v1/callbacks/{callback}/redeliver"),
                &[],
                ""
            )
            .await
            .status,
        404
    );
    for list in [
        "/v1/sign-flows".to_owned(),
        "/v1/callbacks".to_owned(),
        format!("/v1/callbacks?sign_flow_id={}", flow.id),
    ] {
        assert_eq!(theirs.get(&list).await.json()["data"], json!([]), "{list}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_read_page_by_page() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let mut made = Vec::new();
    for number in 0..7 {
        let mut request = receipt_for(&["张三"]);
        request["draft"] = true.into();
        request["reference"] = format!("R-{}", number % 2).into();
        made.push(channel.create_flow(request).await.id);
    }
    let all = |query: String| {
        let channel = channel.clone();
        async move {
            let (mut ids, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = channel
                    .get(&format!("/v1/sign-flows?limit=3{query}{cursor}"))
                    .await
                    .json();
                ids.extend(
                    page["data"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|flow| flow["sign_flow_id"].as_str().unwrap().to_owned()),
                );
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return ids,
                }
            }
        }
    };
    let mut newest_first = all(String::new()).await;
    newest_first.sort();
    made.sort();
    assert_eq!(newest_first, made, "each flow is on exactly one page");
    assert_eq!(all("&reference=R-1".to_owned()).await.len(), 3);
    assert_eq!(all("&status=draft".to_owned()).await.len(), 7);
    assert_eq!(all("&status=completed".to_owned()).await.len(), 0);
    assert_eq!(
        all("&created_from=2100-01-01T00:00:00Z".to_owned())
            .await
            .len(),
        0
    );
    let wrong = channel
        .get("/v1/sign-flows?limit=0&status=done&cursor=!&foo=1")
        .await;
    assert_eq!(wrong.status, 422);
    let fields: Vec<Value> = wrong.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].clone())
        .collect();
    assert_eq!(fields, ["status", "limit", "cursor", "foo"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pdf_of_ones_own_is_signed_where_it_says() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    // A document to upload: the preview of a receipt, which is a PDF that nobody has signed.
    let sample = channel.create_flow(receipt()).await;
    let pdf = channel
        .get(&format!("/v1/sign-flows/{}/file", sample.id))
        .await
        .body;
    let signers = json!([{ "type": "person", "name": "李四", "place": { "page": 1, "rect": [60, 60, 200, 120] } }]);

    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(&pdf);
    let request =
        json!({ "reference": "合同-1", "document": { "pdf_base64": encoded }, "signers": signers });
    let flow = channel.create_flow(request).await;
    assert_eq!(
        app.signer("李四").signs_last().await["sign_flow_status"],
        "2"
    );
    channel.received(&flow).await;

    let boundary = "sealpost-test";
    let fields = json!({ "reference": "合同-2", "signers": signers });
    let mut form = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"request\"\r\ncontent-type: application/json\r\n\r\n{fields}\r\n\
         --{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\ncontent-type: application/pdf\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(&pdf);
    form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let kind = format!("multipart/form-data; boundary={boundary}");
    let answer = channel
        .send(
            http::Method::POST,
            "/v1/sign-flows",
            &[("content-type", &kind)],
            form,
        )
        .await;
    assert_eq!(
        answer.status,
        201,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let flow = channel.flow(answer.json());
    assert_eq!(flow.shown["title"], "合同-2");
    assert_eq!(
        app.signer("李四").signs_last().await["sign_flow_status"],
        "2"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealing_that_fails_is_shown_and_healed() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let flow = channel.create_flow(receipt_for(&["张三"])).await;
    // The document is gone from the disk: nothing can be signed.
    let digest = flow.shown["document"]["sha256"].as_str().unwrap();
    let file = app
        .data()
        .join("documents")
        .join(&digest[..2])
        .join(&digest[2..]);
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let signed = app.signer("张三").signs().await;
    assert_eq!(
        signed["sign_flow_status"], "1",
        "what is not sealed is not completed"
    );
    let shown = channel.show(&flow).await;
    assert_eq!(
        (shown["state"].as_str(), &shown["sealing"]["failures"]),
        (Some("sealing"), &json!(1)),
        "{shown}"
    );
    let metrics = String::from_utf8(app.get("/metrics").await.body.to_vec()).unwrap();
    assert!(
        metrics.contains("sealpost_sealing_failures_total 1"),
        "{metrics}"
    );

    std::fs::write(&file, kept).unwrap();
    app.app().move_clock(2000);
    channel.show_in(&flow, "completed").await;
    assert_eq!(
        channel.received(&flow).await.sign_flow_status,
        EndStatus::Completed
    );
    app.stop().await;
}
