//! Signing in to the console at an OpenID provider: in a browser, and past one that lies.

use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use http::header::{COOKIE, LOCATION};
use sealpost_server::config::{Config, Oidc};
use sealpost_store::Role;
use serde_json::{Value, json};

use super::accessibility;
use super::browser::{Browser, DESK, PHONE};
use super::provider::{CLIENT, Manner, Provider, SECRET, Signing};
use crate::support::{PATIENCE, TestApp};

/// A server whose operators may sign in at this provider.
async fn start(provider: &Provider, set: impl FnOnce(&mut Oidc)) -> TestApp {
    let mut oidc = Oidc {
        issuer: provider.issuer().to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: Some(SECRET.to_owned()),
        label: "云锦账号".to_owned(),
        scopes: vec!["openid".to_owned(), "profile".to_owned()],
        name_claim: "preferred_username".to_owned(),
        role_claim: None,
        roles: Vec::new(),
        creates: false,
        allow_networks: vec!["127.0.0.1".parse().unwrap()],
        allow_http: true,
    };
    set(&mut oidc);
    TestApp::start_with(|config: &mut Config| config.oidc = Some(oidc)).await
}

fn invite(app: &TestApp, name: &str, role: &str) {
    let invited = Command::new(env!("CARGO_BIN_EXE_sealpost"))
        .args([
            "operator", "add", name, "--invite", "--role", role, "--data",
        ])
        .arg(app.data())
        .output()
        .unwrap();
    assert!(invited.status.success(), "{invited:?}");
}

/// Creates operators, and gives roles by the claim `groups`.
fn by_groups(oidc: &mut Oidc) {
    oidc.creates = true;
    oidc.role_claim = Some("groups".to_owned());
    oidc.roles = vec![
        ("审计".to_owned(), Role::Viewer),
        ("运营".to_owned(), Role::Operator),
        ("运维".to_owned(), Role::Administrator),
    ];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invited_operator_signs_in_at_the_provider() {
    let provider = Provider::start().await;
    let app = start(&provider, |_| ()).await;
    provider.knows("chen", json!({ "preferred_username": "陈经理" }));
    provider.knows("lin", json!({ "preferred_username": "林同学" }));
    invite(&app, "陈经理", "operator");
    let desk = Browser::start(DESK).await;

    // Whoever was not invited is told so.
    desk.open(&format!("{}/console/callbacks?state=failed", app.base()))
        .await;
    desk.picture("console-sign-in-provider").await;
    accessibility::check(&desk, "the sign-in page with a provider").await;
    desk.click("a[href^='/console/oidc']").await;
    desk.type_into("#who", "lin").await;
    desk.click("button").await;
    let text = desk.reads("main", "联系管理员邀请").await;
    assert!(text.contains("云锦账号"), "{text}");
    accessibility::check(&desk, "the sign-in page with a refusal").await;
    desk.complaints().await;

    // And whoever was gets where they wanted to be, without a second click.
    desk.open(&format!("{}/console/callbacks?state=failed", app.base()))
        .await;
    desk.click("a[href^='/console/oidc']").await;
    desk.type_into("#who", "chen").await;
    desk.click("button").await;
    desk.see(".sum").await;
    assert!(desk.text(".me").await.contains("陈经理"));
    assert!(
        !desk.sees("nav a[href='/console/audit']").await,
        "an operator's role"
    );
    assert_eq!(desk.complaints().await, Vec::<String>::new());
    desk.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_follow_the_groups_at_every_sign_in() {
    let provider = Provider::start().await;
    let app = start(&provider, by_groups).await;
    provider.knows(
        "zhao",
        json!({ "preferred_username": "赵主任", "groups": ["其他", "审计", "运维"] }),
    );
    let phone = Browser::start(PHONE).await;
    let sign_in = async || {
        phone.open(&format!("{}/console/sign-in", app.base())).await;
        phone.click("a[href^='/console/oidc']").await;
        phone.type_into("#who", "zhao").await;
        phone.click("button").await;
    };
    sign_in().await;
    phone.see(".tiles").await;
    phone.open(&format!("{}/console/audit", app.base())).await;
    let log = phone.text("main").await;
    assert!(
        log.contains("operator.add") && log.contains("single sign-on"),
        "{log}"
    );

    // Out of the group: the role is gone at the next sign-in. Out of all of them: no way in.
    provider.knows(
        "zhao",
        json!({ "preferred_username": "赵主任", "groups": "审计" }),
    );
    sign_in().await;
    phone.see(".tiles").await;
    phone.open(&format!("{}/console/audit", app.base())).await;
    assert!(phone.text("main").await.contains("您的角色不能"));
    provider.knows(
        "zhao",
        json!({ "preferred_username": "赵主任", "groups": [] }),
    );
    sign_in().await;
    phone.reads("main", "没有角色").await;
    // Whoever says no at the provider is back where they came from.
    phone.open(&format!("{}/console/sign-in", app.base())).await;
    phone.click("a[href^='/console/oidc']").await;
    phone.type_into("#who", "nobody").await;
    phone.click("button").await;
    phone.see(".note.stop").await;
    phone.close().await;
    app.stop().await;
}

/// What a browser would do, by hand: off to the provider, and back with its answer. Answers with the status, the words and
/// whether a session began.
async fn try_sign_in(
    app: &TestApp,
    who: &str,
    change: impl Fn(&mut String, &mut String),
) -> (u16, String, bool) {
    let departure = app.get("/console/oidc?next=/console/audit").await;
    assert_eq!(
        departure.status,
        303,
        "{}",
        String::from_utf8_lossy(&departure.body)
    );
    let set = departure.header("set-cookie");
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax"),
        "{set}"
    );
    let mut cookie = set.split(';').next().unwrap().to_owned();
    let asked = url::Url::parse(departure.header("location")).unwrap();
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(asked.query_pairs())
        .append_pair("who", who);
    let headers = [(
        http::header::CONTENT_TYPE,
        "application/x-www-form-urlencoded".to_owned(),
    )];
    let url = format!("{}/authorize", asked.origin().ascii_serialization());
    let back = app
        .http
        .send(Method::POST, &url, &headers, form.finish())
        .await
        .unwrap();
    let mut back = back.headers[LOCATION].to_str().unwrap().to_owned();
    change(&mut cookie, &mut back);
    let answer = app
        .http
        .send(Method::GET, &back, &[(COOKIE, cookie)], "")
        .await
        .unwrap();
    let cookies = answer.headers.get_all("set-cookie");
    let begun = cookies
        .iter()
        .any(|cookie| cookie.to_str().unwrap().starts_with("sealpost_console="));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status.as_u16(), text, begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_to_be_believed_lets_nobody_in() {
    let provider = Provider::start().await;
    let app = start(&provider, by_groups).await;
    let administrator = json!({ "preferred_username": "赵主任", "groups": ["运维"] });
    provider.knows("zhao", administrator.clone());
    let honest = |_: &mut String, _: &mut String| ();
    let with = |claims: Value| Manner {
        claims,
        ..Manner::honest()
    };
    let signed = |signing| Manner {
        signing,
        ..Manner::honest()
    };

    let good = [
        ("as it should be", Manner::honest()),
        ("on an elliptic curve", signed(Signing::Es256)),
        (
            "of a clock half a minute behind",
            with(json!({ "exp": -30 })),
        ),
        ("of a clock half a minute ahead", with(json!({ "iat": 30 }))),
        (
            "for several",
            with(json!({ "aud": ["other", CLIENT], "azp": CLIENT })),
        ),
    ];
    for (what, manner) in good {
        provider.behaves(manner);
        let (status, text, begun) = try_sign_in(&app, "zhao", honest).await;
        assert_eq!((status, begun), (200, true), "{what}: {text}");
        assert!(text.contains("url=/console/audit"), "{what}: {text}");
    }

    let bad = [
        ("not signed", signed(Signing::None)),
        (
            "signed with the public key",
            signed(Signing::PublicKeyAsSecret),
        ),
        ("changed", signed(Signing::Tampered)),
        ("of an unknown key", signed(Signing::UnknownKey)),
        (
            "of another issuer",
            with(json!({ "iss": "https://evil.example" })),
        ),
        ("for another", with(json!({ "aud": "other" }))),
        (
            "for several, and made for another",
            with(json!({ "aud": ["other", CLIENT], "azp": "other" })),
        ),
        (
            "for several, and made for nobody",
            with(json!({ "aud": ["other", CLIENT] })),
        ),
        ("of another sign-in", with(json!({ "nonce": "another" }))),
        ("without a nonce", with(json!({ "nonce": null }))),
        ("expired", with(json!({ "exp": -90 }))),
        ("without an end", with(json!({ "exp": null }))),
        ("of the future", with(json!({ "iat": 90 }))),
        ("not valid yet", with(json!({ "nbf": 90 }))),
        ("of nobody", with(json!({ "sub": "" }))),
        (
            "without a name",
            with(json!({ "preferred_username": null })),
        ),
        (
            "with a name beyond bounds",
            with(json!({ "preferred_username": "x".repeat(65) })),
        ),
        (
            "of a group without a role",
            with(json!({ "groups": ["其他"] })),
        ),
        (
            "in an answer of another provider",
            Manner {
                answers_as: Some("https://evil.example".to_owned()),
                ..Manner::honest()
            },
        ),
    ];
    for (what, manner) in bad {
        provider.behaves(manner);
        let (status, text, begun) = try_sign_in(&app, "zhao", honest).await;
        assert_eq!((status, begun), (403, false), "{what}: {text}");
    }

    provider.behaves(Manner::honest());
    let refused = async |what: &str, change: &dyn Fn(&mut String, &mut String)| {
        let (status, text, begun) = try_sign_in(&app, "zhao", change).await;
        assert_eq!((status, begun), (403, false), "{what}: {text}");
    };
    refused("no cookie", &|cookie, _| cookie.clear()).await;
    refused("another's cookie", &|cookie, _| {
        *cookie = "sealpost_oidc=AAAA".to_owned()
    })
    .await;
    refused("another state", &|_, back| {
        *back = back.replace("state=", "state=x")
    })
    .await;
    refused("another code", &|_, back| {
        *back = back.replace("code=", "code=x")
    })
    .await;
    refused("no issuer", &|_, back| *back = back.replace("iss=", "xss=")).await;

    // Who has the name of an operator with a password is not that operator.
    let by_hand = |name: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sealpost"))
            .args(["operator", "add", name, "--password-stdin", "--data"])
            .arg(app.data())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, b"correct horse battery").unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    };
    by_hand("老板");
    provider.knows(
        "fake",
        json!({ "preferred_username": "老板", "groups": ["运维"] }),
    );
    let (status, text, begun) = try_sign_in(&app, "fake", honest).await;
    assert_eq!((status, begun), (403, false), "{text}");
    assert!(text.contains("属于另一个账号"), "{text}");
    refused("too late", &|_, _| app.app().move_clock(11 * 60 * 1000)).await;
    app.stop().await;
}

/// A provider that hangs is asked once, however many wait for it, and holds up nobody who does not need it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_holds_up_nobody_else() {
    let provider = Provider::start().await;
    let app = start(&provider, by_groups).await;
    let administrator = json!({ "preferred_username": "赵主任", "groups": ["运维"] });
    provider.knows("zhao", administrator);
    let honest = |_: &mut String, _: &mut String| ();
    let asked = async |times| {
        let begun = Instant::now();
        while provider.asked() < times {
            assert!(begun.elapsed() < PATIENCE, "the provider is not asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };

    // Those who come at once wait for one answer.
    provider.hangs(true);
    let come = async || app.get("/console/oidc").await.status.as_u16();
    // However they fall: those who come while it hangs wait for the answer, and those who come after it need none of their own.
    let release = async {
        asked(1).await;
        provider.hangs(false);
    };
    let (one, two, three, ()) = tokio::join!(come(), come(), come(), release);
    assert_eq!([one, two, three], [303; 3]);
    assert_eq!(provider.asked(), 1);

    // One brings a token by a key that the provider is asked for, which hangs; others sign in meanwhile.
    app.app().move_clock(31_000);
    provider.hangs(true);
    provider.behaves(Manner {
        signing: Signing::UnknownKey,
        ..Manner::honest()
    });
    let others = async {
        asked(2).await;
        provider.behaves(Manner::honest());
        let begun = Instant::now();
        let (status, text, _) = try_sign_in(&app, "zhao", honest).await;
        assert_eq!(status, 200, "{text}");
        assert!(begun.elapsed() < Duration::from_secs(8));
    };
    let (stuck, ()) = tokio::join!(try_sign_in(&app, "zhao", honest), others);
    assert_eq!((stuck.0, stuck.2), (403, false), "{}", stuck.1);
    assert_eq!(provider.asked(), 2);
    provider.hangs(false);
    app.stop().await;
}
