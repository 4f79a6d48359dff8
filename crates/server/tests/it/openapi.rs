//! The answers are what `openapi.json` says they are: each member described, of its type, and none that is required missing.

use http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, receipt, receipt_for};

/// What does not fit, each with its path. A member that the schema does not describe does not fit either.
fn misfits(document: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return misfits(document, target.unwrap(), value, path);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return misfits(document, &together(document, parts), value, path);
    }
    let mut wrong = Vec::new();
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the schema at {path} has the type {other}"),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fits {
        wrong.push(format!("{path} is {value} instead of {}", schema["type"]));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        wrong.push(format!("{path} is {value}, none of {words:?}"));
    }
    for (at, element) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(misfits(
            document,
            &schema["items"],
            element,
            &format!("{path}[{at}]"),
        ));
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object())
    {
        for needed in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !members.contains_key(needed) {
                wrong.push(format!("{path}.{needed} is missing"));
            }
        }
        for (name, member) in members {
            match properties.get(name) {
                Some(described) => wrong.extend(misfits(
                    document,
                    described,
                    member,
                    &format!("{path}.{name}"),
                )),
                None => wrong.push(format!("{path}.{name} is not described")),
            }
        }
    }
    wrong
}

/// The document that a server serves of itself.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) async fn of(app: &TestApp) -> Self {
        Self(app.get("/openapi.json").await.json())
    }

    /// Panics unless the value is what the document says a `schema` is.
    pub(crate) fn check(&self, what: &str, schema: &str, value: &Value) {
        let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
        let wrong = misfits(&self.0, &schema, value, what);
        assert!(wrong.is_empty(), "{wrong:#?} in {value:#}");
    }
}

/// The objects of an `allOf` as one, so that a member counts as described whichever of them describes it.
fn together(document: &Value, parts: &[Value]) -> Value {
    let mut whole = json!({ "type": "object", "properties": {}, "required": [] });
    for part in parts {
        let part = match part["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => part,
        };
        for (name, member) in part["properties"].as_object().unwrap() {
            whole["properties"][name] = member.clone();
        }
        for needed in part["required"].as_array().into_iter().flatten() {
            whole["required"]
                .as_array_mut()
                .unwrap()
                .push(needed.clone());
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_what_the_document_says() {
    let app = TestApp::start().await;
    let channel = app.channel("lianjia").await;
    let document = Document::of(&app).await;
    let check = |what: &str, schema: &str, value: &Value| document.check(what, schema, value);

    // One flow of each end, and one that waits.
    let completed = channel.create_flow(receipt()).await;
    check("created", "SignFlow", &completed.shown);
    check(
        "signed",
        "SigningResult",
        &app.signer("张三").signs_last().await,
    );
    let rejected = channel.create_flow(receipt()).await;
    check(
        "rejected",
        "SigningResult",
        &app.signer("张三").rejects("房号不对").await,
    );
    let revoked = channel.create_flow(receipt_for(&["张三"])).await;
    let path = format!("/v1/sign-flows/{}/revoke", revoked.id);
    check(
        "revoked",
        "SignFlow",
        &channel.post(&path, &json!({ "reason": "改" })).await.json(),
    );
    channel.create_flow(receipt()).await;
    for flow in [&completed, &rejected, &revoked] {
        check("shown", "SignFlow", &channel.show(flow).await);
    }
    let page = channel.get("/v1/sign-flows?limit=2").await.json();
    assert!(page["next_cursor"].is_string());
    check("flows", "SignFlowPage", &page);
    check(
        "evidence",
        "Evidence",
        &channel
            .get(&format!("/v1/sign-flows/{}/evidence", completed.id))
            .await
            .json(),
    );

    check(
        "callback",
        "CallbackRecord",
        &channel.callback_in(&completed, "acknowledged").await,
    );
    check(
        "callbacks",
        "CallbackPage",
        &channel.get("/v1/callbacks").await.json(),
    );
    for _ in 0..4 {
        channel.will_answer(500, "oops");
    }
    let members = json!({ "sign_end_time": "2021-03-22 18:24:29", "sign_flow_status": "2", "sign_flow_id": "a1", "sign_file_url": "http://" });
    check(
        "accepted",
        "AcceptedCallback",
        &channel.post("/v1/callbacks", &members).await.json(),
    );
    let elsewhere = crate::support::Flow {
        id: "a1".to_owned(),
        shown: Value::Null,
    };
    check(
        "failed",
        "CallbackRecord",
        &channel.callback_in(&elsewhere, "failed").await,
    );

    let since = json!({ "since": "2020-01-01T00:00:00Z" });
    let redelivery = channel.post("/v1/callbacks/redeliver", &since).await.json();
    check("redelivery", "Redelivery", &redelivery);

    check("ready", "Readiness", &app.get("/readyz").await.json());
    let file = channel
        .get(&format!("/v1/sign-flows/{}/file", completed.id))
        .await
        .body;
    let report = channel
        .send(
            Method::POST,
            "/v1/verify",
            &[("content-type", "application/pdf")],
            file,
        )
        .await;
    check("report", "VerificationReport", &report.json());
    for problem in [
        channel.post("/v1/sign-flows", &json!({})).await,
        channel.post(&path, &json!({ "reason": "再改" })).await,
        channel.get("/v1/nothing").await,
        channel.send(Method::POST, "/v1/sign-flows", &[], "").await,
    ] {
        check("problem", "Problem", &without_extensions(problem.json()));
    }
    app.stop().await;
}

/// RFC 9457 lets a problem have members of its own kind; ours say the flow's state and broken limits.
fn without_extensions(mut problem: Value) -> Value {
    for extension in ["sign_flow_status", "state", "limit", "sign_flow_id"] {
        problem.as_object_mut().unwrap().remove(extension);
    }
    problem
}
