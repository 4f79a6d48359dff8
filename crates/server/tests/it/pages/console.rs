//! The console, at a desk and on a phone.

use std::process::{Command, Stdio};

use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::accessibility;
use super::browser::{Browser, DESK, PHONE};
use crate::operator_api::pkcs12;
use crate::support::{Channel, TestApp, receipt, receipt_for};

const PASSWORD: &str = "correct horse battery";

/// Adds an operator as the machine's owner does: with the command line, beside the running server.
pub(super) fn add_operator(app: &TestApp, name: &str, role: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args([
            "operator",
            "add",
            name,
            "--role",
            role,
            "--password-stdin",
            "--data",
        ])
        .arg(app.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

pub(super) async fn sign_in(browser: &Browser, app: &TestApp, name: &str) {
    browser.open(&format!("{}/console", app.base())).await;
    browser.type_into("#name", name).await;
    browser.type_into("#password", PASSWORD).await;
    browser.click(".sign-in button").await;
    // The answer has come: the overview, or what was wrong.
    browser.see(".tiles, .note").await;
}

/// Flows in every state, callbacks acknowledged, waiting and failed.
async fn some_history(app: &TestApp) -> Channel {
    let channel = app.channel("链家").await;
    let completed = channel.create_flow(receipt()).await;
    channel.show_in(&completed, "signing").await;
    app.signer("张三").signs().await;
    channel.callback_in(&completed, "acknowledged").await;
    let rejected = channel.create_flow(receipt_for(&["李四"])).await;
    for _ in 0..4 {
        channel.will_answer(
            500,
            "{\"response_code\":\"500\",\"message\":\"数据库繁忙\"}",
        );
    }
    app.signer("李四").rejects("房号不对").await;
    channel.callback_in(&rejected, "failed").await;
    channel.create_flow(receipt_for(&["王五"])).await;
    app.channel("我爱我家").await;
    channel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_what_happened_and_sends_again() {
    let app = TestApp::start().await;
    let channel = some_history(&app).await;
    add_operator(&app, "周运营", "operator");
    let desk = Browser::start(DESK).await;

    // Nobody comes in without the password.
    desk.open(&format!("{}/console/callbacks?state=failed", app.base()))
        .await;
    desk.type_into("#name", "周运营").await;
    desk.type_into("#password", "wrong horse battery").await;
    desk.click(".sign-in button").await;
    desk.see(".note.stop").await;
    desk.picture("console-sign-in").await;
    accessibility::check(&desk, "the sign-in page").await;
    desk.complaints().await;

    // And afterwards one is where one wanted to be.
    desk.type_into("#name", "周运营").await;
    desk.type_into("#password", PASSWORD).await;
    desk.click(".sign-in button").await;
    desk.see("[data-live] table").await;
    desk.picture("console-callbacks").await;
    accessibility::check(&desk, "the callbacks").await;

    // One callback, why it failed, and once more.
    desk.click("tbody a").await;
    desk.see(".attempts").await;
    let text = desk.text("main").await;
    assert!(
        text.contains("数据库繁忙")
            && text.contains("HTTP 500")
            && text.contains("sign_flow_status"),
        "{text}"
    );
    assert_eq!(text.matches("HTTP 500").count(), 4, "{text}");
    desk.picture("console-callback").await;
    accessibility::check(&desk, "a callback").await;
    desk.click("form[action$='/redeliver'] button").await;
    // The page shows the new attempt by itself.
    desk.see(".attempts .badge.done").await;
    assert!(desk.text("main").await.contains("000"));

    desk.click("nav a[href='/console']").await;
    desk.see(".chart").await;
    desk.picture("console-overview").await;
    accessibility::check(&desk, "the overview").await;

    // A flow is found by its payer, and revoked with a reason.
    desk.click("nav a[href='/console/flows']").await;
    desk.picture("console-flows").await;
    accessibility::check(&desk, "the flows").await;
    let waiting = channel.create_flow(receipt_for(&["赵六"])).await;
    desk.type_into("input[type=search]", &waiting.id).await;
    desk.click(".filters button").await;
    desk.see(".timeline").await;
    // Not right after the start.
    desk.see("#remind-from").await;
    app.app().move_clock(30 * 60 * 1000);
    desk.reload().await;
    desk.click("form[action$='/remind'] button").await;
    desk.see(".note").await;
    desk.click("summary").await;
    desk.type_into("#reason", "客户更换了房源").await;
    desk.click("form[action$='/revoke'] button").await;
    desk.see(".note.done").await;
    assert!(desk.text("main").await.contains("客户更换了房源"));
    assert_eq!(
        channel.received(&waiting).await.sign_flow_status.code(),
        "3"
    );

    // What is not theirs to do is not offered, and refused when it is tried.
    assert!(!desk.sees("nav a[href='/console/audit']").await);
    desk.open(&format!("{}/console/audit", app.base())).await;
    assert!(desk.text("main").await.contains("您的角色不能"));
    desk.click(".me button").await;
    desk.see(".sign-in").await;
    desk.open(&format!("{}/console/flows", app.base())).await;
    desk.see(".sign-in").await;
    desk.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_speaks_english() {
    let app = TestApp::start().await;
    let channel = some_history(&app).await;
    add_operator(&app, "boss", "administrator");
    let desk = Browser::start(DESK).await;
    desk.open(&format!("{}/console/sign-in?lang=en", app.base()))
        .await;
    assert!(desk.text("main").await.contains("Sign in to the console"));
    sign_in(&desk, &app, "boss").await;
    desk.see(".tiles").await;
    let shown = format!("/console/channels/{}", channel.id);
    for (path, word) in [
        ("/console", "Overview"),
        (
            "/console/flows?q=%E6%9D%8E&from=2020-01-01&to=2099-01-01",
            "Rejected",
        ),
        ("/console/callbacks?state=failed", "Failed"),
        ("/console/channels", "Add a channel"),
        (&shown, "Webhook secrets"),
        (
            "/console/signing?seal=%E4%B8%8A%E6%B5%B7%E4%BA%91%E9%94%A6%E7%BD%AE%E4%B8%9A%E6%9C%89%E9%99%90%E5%85%AC%E5%8F%B8",
            "not a licensed",
        ),
        ("/console/operators", "Administrator"),
        ("/console/audit", "sign_in"),
        ("/console/account", "Change the password"),
        ("/console/account/totp", "Scan this"),
    ] {
        desk.open(&format!("{}{path}", app.base())).await;
        let text = desk.text("main").await;
        assert!(text.contains(word), "{path}: {text}");
        accessibility::check(&desk, path).await;
    }
    desk.open(&format!(
        "{}/console/signing?seal={}",
        app.base(),
        "%E7%BF%A0%E6%B9%BE%E7%BD%AE%E4%B8%9A"
    ))
    .await;
    desk.picture("console-en-signing").await;
    desk.open(&format!("{}{shown}", app.base())).await;
    desk.picture("console-en-channel").await;
    desk.click("form[action$='/test'] button").await;
    let text = desk.reads("main", "5ea1c4ec").await;
    assert!(
        text.contains("Acknowledged") && text.contains("\"000\""),
        "{text}"
    );
    assert_eq!(desk.complaints().await, Vec::<String>::new());
    desk.close().await;
    app.stop().await;
}

/// On a phone at night: an endpoint only fails. The lists fit the screen, each cell says what it is, and the page says
/// that the endpoint is left alone, and why an attempt failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_phone_a_channel_that_fails_is_understood() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    add_operator(&app, "周运营", "operator");
    let phone = Browser::start(PHONE).await;
    sign_in(&phone, &app, "周运营").await;
    let count = 24;
    // More than are sent before it rests, so that the probe after a rest fails, too.
    for _ in 0..200 {
        channel.will_answer(503, "{\"response_code\":\"503\"}");
    }
    for n in 0..count {
        let ended = serde_json::json!({
            "sign_end_time": "2021-03-22 18:24:29", "sign_flow_status": "2",
            "sign_flow_id": format!("night-{n}"), "sign_file_url": "https://files.example/r/1",
        });
        assert_eq!(channel.post("/v1/callbacks", &ended).await.status, 202);
    }
    phone
        .open(&format!("{}/console/callbacks", app.base()))
        .await;
    let text = phone.reads("main", "连续失败，暂不发送").await;
    assert!(text.contains("链家：连续失败"), "{text}");
    phone.whole_picture("console-phone-callbacks").await;
    accessibility::check(&phone, "the callbacks on a phone").await;
    let label = "const cell = [...document.querySelectorAll('tbody td')].find(td => td.querySelector('.badge'));
                 return getComputedStyle(cell, '::before').content;";
    assert_eq!(phone.run(label, vec![]).await, "\"状态\"");
    for path in ["", "/flows", "/callbacks", "/channels"] {
        phone.open(&format!("{}/console{path}", app.base())).await;
        phone.see("main h1").await;
        let wide = "return [document.documentElement, ...document.querySelectorAll('.scroll')]
                    .every(part => part.scrollWidth <= part.clientWidth);";
        assert_eq!(phone.run(wide, vec![]).await, true, "{path}");
    }
    // The first of them has been tried.
    phone
        .open(&format!("{}/console/callbacks", app.base()))
        .await;
    phone.click("tbody tr:last-child a").await;
    let text = phone.reads("main", "HTTP 状态不是 2xx").await;
    assert!(
        text.contains("http_status") && text.contains("HTTP 503"),
        "{text}"
    );
    assert_eq!(phone.complaints().await, Vec::<String>::new());
    phone.close().await;
    app.stop().await;
}

/// `cargo test -p sealpost-server --test it -- --ignored pictures` makes the pictures of `docs/screenshots/` anew, in
/// `target/tmp/screenshots/readme-*.png`. It takes fonts with Chinese characters (Debian's `fonts-noto-cjk`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes pictures; proves nothing"]
async fn pictures_for_the_readme() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let app = TestApp::start().await;
    let channels = [
        app.channel("链家").await,
        app.channel("我爱我家").await,
        app.channel("贝壳找房").await,
    ];
    for day in 0..20_usize {
        for n in 0..=(day * 7) % 5 {
            let channel = &channels[(day + n) % 3];
            let mut request = receipt();
            request["reference"] = format!("R-{:04}", day * 10 + n).into();
            request["document"]["receipt"]["number"] =
                format!("XS-2026-{:04}", day * 10 + n).into();
            let flow = channel.create_flow(request).await;
            channel.show_in(&flow, "signing").await;
            match (day * 3 + n) % 9 {
                7 => drop(app.signer("张三").rejects("房号不对").await),
                8 => {
                    for _ in 0..4 {
                        channel.will_answer(503, "{\"response_code\":\"503\"}");
                    }
                    app.signer("张三").signs().await;
                    channel.callback_in(&flow, "failed").await;
                }
                5 | 6 if day > 14 => {}
                _ => {
                    app.signer("张三").signs().await;
                    channel.callback_in(&flow, "acknowledged").await;
                }
            }
        }
        app.app().move_clock(DAY);
    }
    add_operator(&app, "周运营", "administrator");
    let desk = Browser::start(DESK).await;
    sign_in(&desk, &app, "周运营").await;
    desk.see(".tiles").await;
    desk.picture("readme-console-overview").await;
    for (path, name) in [
        ("flows", "flows"),
        ("flows?status=2", ""),
        ("callbacks?state=failed", ""),
    ] {
        desk.open(&format!("{}/console/{path}", app.base())).await;
        if name.is_empty() {
            desk.click("tbody a").await;
            desk.see("main dl").await;
            let name = path
                .split('?')
                .next()
                .unwrap_or_default()
                .trim_end_matches('s');
            desk.picture(&format!("readme-console-{name}")).await;
        } else {
            desk.picture(&format!("readme-console-{name}")).await;
        }
    }
    desk.close().await;
    app.stop().await;
}

/// A channel's endpoint is checked from its page, and shown a client certificate; a program gets a key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_tries_an_endpoint_out() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    add_operator(&app, "老板", "administrator");
    let desk = Browser::start(DESK).await;
    sign_in(&desk, &app, "老板").await;
    let page = format!("{}/console/channels/{}", app.base(), channel.id);

    // The findings come in by themselves, and the last check stays on the channel's page.
    desk.open(&page).await;
    desk.click("a[href$='/check']").await;
    desk.reads("main", "还没有检查过").await;
    desk.click("form[action$='/check'] button.primary").await;
    let text = desk.reads("main", "符合约定").await;
    assert!(
        text.contains("违反 0") && text.contains("老板 · 只读"),
        "{text}"
    );
    assert!(desk.sees(".findings tbody tr").await);
    desk.picture("console-check").await;
    accessibility::check(&desk, "a contract check").await;
    assert!(channel.all_received().is_empty(), "it was read only");
    // An endpoint that acknowledges what it must refuse.
    for _ in 0..100 {
        channel.will_answer(200, "{\"response_code\":\"000\"}");
    }
    desk.click("form[action$='/check'] button.primary").await;
    let text = desk.reads("main", "不符合约定").await;
    for told in [
        "没有签名",
        "512 KiB 的请求体",
        "缺少 sign_flow_id",
        "确认了必须拒绝的请求",
        "不得为 000，应为 400",
    ] {
        assert!(text.contains(told), "{told} is not in {text}");
    }
    desk.open(&page).await;
    assert!(desk.text("main").await.contains("不符合约定"));

    // A client certificate, from files.
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate("sealpost at lianjia");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let upload = "form[action$='/client-certificate']";
    let unfold = format!("details:has({upload}) summary");
    desk.click(&unfold).await;
    desk.choose_file("#certificate", &file("certificate.pem", &certificate))
        .await;
    desk.click(&format!("{upload} button")).await;
    desk.reads("main", "文件中没有私钥").await;
    desk.open(&page).await;
    desk.click(&unfold).await;
    desk.choose_file("#certificate", &file("certificate.pem", &certificate))
        .await;
    desk.choose_file("#key", &file("key.pem", &key)).await;
    desk.click(&format!("{upload} button")).await;
    let text = desk.reads("main", "CN=sealpost at lianjia").await;
    assert!(text.contains("已保存"), "{text}");
    desk.picture("console-channel").await;
    accessibility::check(&desk, "a channel with a client certificate").await;

    // And from one PKCS#12 file with its password.
    let (certificate, key) = self::certificate("sealpost in one file");
    let path = folder.path().join("both.p12");
    std::fs::write(&path, pkcs12(&certificate, &key, 2048)).unwrap();
    for (password, says) in [("close", "密码错误"), ("open", "CN=sealpost in one file")] {
        desk.open(&page).await;
        desk.click(&unfold).await;
        desk.choose_file("#certificate", &path).await;
        desk.type_into("#password", password).await;
        desk.click(&format!("{upload} button")).await;
        desk.reads("main", says).await;
    }

    // An operator key works as long as it is not revoked.
    desk.open(&format!("{}/console/operators", app.base()))
        .await;
    desk.type_into("#key-name", "监控").await;
    desk.click("form[action$='/operators/keys'] button").await;
    let key = desk.see(".secret").await.text().await.unwrap();
    let overview = format!("{}/v1/operator/overview", app.base());
    let asked = app.http.get(&overview, Some(&key)).await.unwrap();
    assert_eq!(asked.status, 200);
    desk.click("main a.button").await;
    desk.see("form[action*='/keys/']").await;
    desk.picture("console-operators").await;
    accessibility::check(&desk, "the operators and their keys").await;
    desk.run("window.confirm = () => true;", vec![]).await;
    desk.click("form[action*='/keys/'] button").await;
    desk.reads("main", "密钥已吊销").await;
    let asked = app.http.get(&overview, Some(&key)).await.unwrap();
    assert_eq!(asked.status, 401);
    assert_eq!(desk.complaints().await.len(), 2, "the refused uploads");
    desk.close().await;
    app.stop().await;
}

/// Callbacks that come while somebody looks, and many that are sent again with progress.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_callbacks_lives_and_many_are_sent_again() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    add_operator(&app, "周运营", "operator");
    let phone = Browser::start(PHONE).await;
    sign_in(&phone, &app, "周运营").await;
    phone
        .open(&format!("{}/console/callbacks?state=failed", app.base()))
        .await;
    phone.reads("main", "没有符合条件的回调").await;
    for _ in 0..12 {
        channel.will_answer(500, "{\"response_code\":\"500\"}");
    }
    for id in ["a1", "a2", "a3"] {
        let members = json!({ "sign_end_time": "2021-03-22 18:24:29", "sign_flow_status": "2", "sign_flow_id": id, "sign_file_url": "http://" });
        assert_eq!(channel.post("/v1/callbacks", &members).await.status, 202);
    }
    phone.see("tbody tr:nth-child(3)").await;
    phone.click("form[action$='/redeliver'] button").await;
    let text = phone.reads("main", "已完成").await;
    assert!(text.contains("3 / 3"), "{text}");
    phone.picture("console-phone-redelivery").await;
    accessibility::check(&phone, "a redelivery of many").await;
    phone.click("main a.button").await;
    phone
        .click("a[href^='/console/callbacks/redeliveries/']")
        .await;
    phone.see("progress").await;
    assert_eq!(phone.complaints().await, Vec::<String>::new());
    phone.close().await;
    app.stop().await;
}

/// One address cannot try a thousand names; others sign in meanwhile, and so does whoever is behind it after a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_from_which_too_many_sign_ins_fail_has_to_wait() {
    let proxy = "127.0.0.1".parse().unwrap();
    let app = TestApp::start_with(|config| config.trusted_proxies = vec![proxy]).await;
    add_operator(&app, "老板", "administrator");
    let url = format!("{}/console/sign-in", app.base());
    let sign_in = async |from: &str, name: &str, password: &str| {
        let headers = [
            (CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned()),
            ("x-forwarded-for".parse().unwrap(), from.to_owned()),
        ];
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("name", name)
            .append_pair("password", password);
        let answer = app.http.send(Method::POST, &url, &headers, form.finish());
        answer.await.unwrap()
    };
    // Who gets in does not count.
    for _ in 0..2 {
        assert_eq!(sign_in("2001:db8::1", "老板", PASSWORD).await.status, 303);
    }
    // The addresses of one subscriber are as good as one.
    for n in 0..30 {
        let from = format!("2001:db8::{n:x}");
        // Most of them nobody can have, so that no password is hashed for them: 65 characters.
        let name = match n % 10 {
            0 => format!("name {n}"),
            _ => format!("name {n:060}"),
        };
        let answer = sign_in(&from, &name, "wrong horse battery").await;
        assert_eq!(answer.status, 401, "{n}");
    }
    let refused = sign_in("2001:db8::ffff", "老板", PASSWORD).await;
    assert_eq!(refused.status, 429);
    assert!(String::from_utf8_lossy(&refused.body).contains("15 分钟"));
    let wait: i64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
    assert_eq!(sign_in("192.0.2.7", "老板", PASSWORD).await.status, 303);
    app.app().move_clock(wait * 1000);
    assert_eq!(sign_in("2001:db8::1", "老板", PASSWORD).await.status, 303);
    app.stop().await;
}

/// Behind a proxy on the same machine that nobody has named all seem to be one, and nobody has to wait for the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_was_not_named_locks_nobody_out() {
    let app = TestApp::start().await;
    add_operator(&app, "老板", "administrator");
    let url = format!("{}/console/sign-in", app.base());
    let sign_in = async |forwarded: bool, name: &str, password: &str| {
        let mut headers = vec![(CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
        if forwarded {
            let header = ("x-forwarded-for".parse().unwrap(), "192.0.2.7".to_owned());
            headers.push(header);
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("name", name)
            .append_pair("password", password);
        let answer = app.http.send(Method::POST, &url, &headers, form.finish());
        answer.await.unwrap().status.as_u16()
    };
    // Nobody can have such a name, so that no password is hashed for it.
    let nobody = "x".repeat(65);
    for _ in 0..31 {
        assert_eq!(sign_in(true, &nobody, "wrong horse battery").await, 401);
    }
    assert_eq!(sign_in(true, "老板", PASSWORD).await, 303);
    // Without a proxy they count, and whoever got in does not.
    for _ in 0..30 {
        assert_eq!(sign_in(false, &nobody, "wrong horse battery").await, 401);
    }
    assert_eq!(sign_in(false, "老板", PASSWORD).await, 429);
    assert_eq!(sign_in(true, "老板", PASSWORD).await, 303);
    app.stop().await;
}

/// A certificate of its own, and its key, as PEM.
fn certificate(name: &str) -> (String, String) {
    let mut wanted = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    wanted
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = wanted.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// `cargo test -p sealpost-server --test it -- --ignored every_page` makes pictures of all pages, at a desk and on a phone, in
/// both languages, in `target/tmp/screenshots/every-*.png`, for whoever changes how they look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes pictures; proves nothing"]
async fn pictures_of_every_page() {
    let app = TestApp::start().await;
    let channel = some_history(&app).await;
    add_operator(&app, "老板", "administrator");
    add_operator(&app, "周运营", "operator");
    let first = async |list: &str| channel.get(list).await.json()["data"][0].clone();
    let flow = first("/v1/sign-flows?status=completed").await["sign_flow_id"].clone();
    let callback = first("/v1/callbacks?state=failed").await["id"].clone();
    let pages = [
        ("overview", "/console".to_owned()),
        ("flows", "/console/flows".to_owned()),
        ("flow", format!("/console/flows/{}", flow.as_str().unwrap())),
        ("callbacks", "/console/callbacks".to_owned()),
        (
            "callback",
            format!("/console/callbacks/{}", callback.as_str().unwrap()),
        ),
        ("channels", "/console/channels".to_owned()),
        ("channel", format!("/console/channels/{}", channel.id)),
        ("check", format!("/console/channels/{}/check", channel.id)),
        ("signing", "/console/signing".to_owned()),
        ("operators", "/console/operators".to_owned()),
        ("audit", "/console/audit".to_owned()),
        ("account", "/console/account".to_owned()),
        ("totp", "/console/account/totp".to_owned()),
    ];
    for (screen, kind) in [(DESK, "desk"), (PHONE, "phone")] {
        let browser = Browser::start(screen).await;
        sign_in(&browser, &app, "老板").await;
        if kind == "desk" {
            browser.open(&format!("{}{}", app.base(), pages[7].1)).await;
            browser.click("form[action$='/check'] button.primary").await;
            browser.reads("main", "符合约定").await;
        }
        for lang in ["zh", "en"] {
            for (name, path) in &pages {
                browser
                    .open(&format!("{}{path}?lang={lang}", app.base()))
                    .await;
                browser
                    .whole_picture(&format!("every-{kind}-{lang}-{name}"))
                    .await;
            }
        }
        browser.close().await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completed_flow_shows_its_signatures_and_record() {
    let app = TestApp::start().await;
    some_history(&app).await;
    add_operator(&app, "看客", "viewer");
    let desk = Browser::start(DESK).await;
    sign_in(&desk, &app, "看客").await;
    desk.open(&format!("{}/console/flows?status=2", app.base()))
        .await;
    desk.click("tbody a").await;
    desk.see(".timeline").await;
    let text = desk.text("main").await;
    assert_eq!(text.matches("有效").count(), 2, "{text}");
    for part in ["完成（已复验）", "签名写入文件", "自动盖章", "110105"] {
        assert_eq!(text.contains(part), part != "110105", "{part}: {text}");
    }
    desk.picture("console-flow").await;
    accessibility::check(&desk, "a flow").await;
    assert!(!desk.sees("form[action$='/revoke']").await);
    assert_eq!(desk.complaints().await, Vec::<String>::new());
    desk.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_makes_a_channel_and_operators_on_a_phone() {
    let app = TestApp::start().await;
    add_operator(&app, "老板", "administrator");
    let phone = Browser::start(PHONE).await;
    sign_in(&phone, &app, "老板").await;
    phone.see(".tiles").await;
    phone.picture("console-phone-overview").await;
    accessibility::check(&phone, "the overview on a phone").await;

    // A channel: its secrets are shown once, and the key works.
    phone.click("nav a[href='/console/channels']").await;
    phone.type_into("#name", "贝壳").await;
    phone
        .type_into("#callback_url", "http://127.0.0.1:2/callback")
        .await;
    phone.click("form[action='/console/channels'] button").await;
    let key = phone.see(".secret").await.text().await.unwrap();
    phone.picture("console-phone-secret").await;
    let listed = app
        .http
        .get(&format!("{}/v1/sign-flows", app.base()), Some(&key))
        .await
        .unwrap();
    assert_eq!(listed.status, 200);
    phone.click("main a.button").await;
    phone.see("form[action$='/test']").await;
    assert!(!phone.text("main").await.contains(&key));
    phone.click("summary").await;
    phone.type_into("#reason", "渠道维护").await;
    phone.click("form[action$='/pause'] button").await;
    phone.see("form[action$='/resume']").await;
    accessibility::check(&phone, "a channel").await;
    phone.picture("console-phone-channel").await;

    // A test callback shows what came back, and is kept nowhere.
    phone.click("form[action$='/test'] button").await;
    let text = phone.reads("main", "5ea1c4ec").await;
    assert!(text.contains("未确认"), "{text}");
    accessibility::check(&phone, "a test callback").await;

    // A second factor: the code of the shown secret is asked for from then on, and is good once.
    phone
        .open(&format!("{}/console/account/totp", app.base()))
        .await;
    let secret = phone.text("#totp-secret").await;
    phone.picture("console-phone-totp").await;
    phone
        .type_into("#code", &code(&secret, app.app().now()))
        .await;
    phone.click("main form button").await;
    phone.see(".note.done").await;
    phone.click(".me button").await;
    phone.see(".sign-in").await;
    sign_in(&phone, &app, "老板").await;
    phone.see(".note.stop").await;
    app.app().move_clock(30_000);
    phone.type_into("#name", "老板").await;
    phone.type_into("#password", PASSWORD).await;
    phone
        .type_into("#code", &code(&secret, app.app().now()))
        .await;
    phone.click(".sign-in button").await;
    phone.see(".tiles").await;

    // Everything is in the audit log.
    phone.open(&format!("{}/console/audit", app.base())).await;
    let text = phone.text("main").await;
    for action in [
        "operator.add",
        "sign_in",
        "channel.add",
        "channel.pause",
        "account.second_factor",
        "sign_in.failed",
        "sign_out",
    ] {
        assert!(text.contains(action), "{action}: {text}");
    }
    assert!(!text.contains(&key));
    accessibility::check(&phone, "the audit log").await;
    phone
        .open(&format!("{}/console/operators", app.base()))
        .await;
    accessibility::check(&phone, "the operators").await;
    phone.open(&format!("{}/console/signing", app.base())).await;
    accessibility::check(&phone, "the certificates").await;
    phone.close().await;
    app.stop().await;
}

/// Forms without the session's token, from elsewhere, or without a session change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_forms_are_refused() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    add_operator(&app, "老板", "administrator");
    let base = app.base();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let send = async |path: &str, headers: &[(&'static str, &str)], body: String| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), (*value).to_owned()))
            .collect();
        app.http
            .send(http::Method::POST, &format!("{base}{path}"), &headers, body)
            .await
            .unwrap()
    };
    let body = format!(
        "name=%E8%80%81%E6%9D%BF&password={}&code=&next=//evil.example",
        PASSWORD.replace(' ', "+")
    );
    let elsewhere = send(
        "/console/sign-in",
        &[form, ("sec-fetch-site", "cross-site")],
        body.clone(),
    )
    .await;
    assert_eq!(elsewhere.status, 403);
    let signed_in = send("/console/sign-in", &[form], body).await;
    assert_eq!(
        (
            signed_in.status.as_u16(),
            signed_in.headers["location"].to_str().unwrap()
        ),
        (303, "/console")
    );
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    let pause = format!("/console/channels/{}/pause", channel.id);
    let session = ("cookie", cookie);
    for (headers, body) in [
        (vec![form], "reason=x".to_owned()),
        (vec![form, session], "reason=x".to_owned()),
        (
            vec![form, session],
            format!("reason=x&csrf={}", "0".repeat(32)),
        ),
    ] {
        let answer = send(&pause, &headers, body).await;
        assert!(
            [303, 403].contains(&answer.status.as_u16()),
            "{}",
            answer.status
        );
    }
    assert!(
        app.app()
            .find_channel("链家")
            .await
            .unwrap()
            .unwrap()
            .paused
            .is_none()
    );

    // Guessing locks the account: the right password no longer helps.
    for _ in 0..8 {
        let wrong = send(
            "/console/sign-in",
            &[form],
            "name=%E8%80%81%E6%9D%BF&password=x".to_owned(),
        )
        .await;
        assert_eq!(wrong.status, 401);
    }
    let right = format!(
        "name=%E8%80%81%E6%9D%BF&password={}",
        PASSWORD.replace(' ', "+")
    );
    assert_eq!(
        send("/console/sign-in", &[form], right.clone())
            .await
            .status,
        401
    );
    app.app().move_clock(16 * 60 * 1000);
    assert_eq!(send("/console/sign-in", &[form], right).await.status, 303);
    app.stop().await;
}

/// The code that an authenticator app would show: RFC 6238, here in terms of HMAC alone.
fn code(secret: &str, now: i64) -> String {
    let mut bits = 0_u64;
    let mut count = 0;
    let mut key = Vec::new();
    for letter in secret.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            _ => letter - b'2' + 26,
        };
        bits = bits << 5 | u64::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            key.push((bits >> count) as u8);
        }
    }
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = aws_lc_rs::hmac::sign(&key, &(now / 30_000).to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let number = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}
