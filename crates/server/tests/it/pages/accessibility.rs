//! What axe-core finds: nothing serious, on any page, in either language.

use std::path::PathBuf;

use serde_json::Value;

use super::browser::Browser;

/// Where `cargo xtask test` puts it, within the target folder.
const AXE: &str = "test-tools/axe.min.js";

/// Has axe-core look at the page that is shown, and panics with what it finds.
pub(crate) async fn check(browser: &Browser, what: &str) {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .to_owned();
    let axe = std::fs::read_to_string(target.join(AXE)).unwrap_or_else(|error| {
        panic!("axe-core is not there ({error}); `cargo xtask test` installs it")
    });
    browser.run(&axe, vec![]).await;
    let found = browser
        .run_async(
            "const done = arguments[0]; axe.run().then((result) => done(result.violations.map((v) => ({ id: v.id, impact: v.impact, \
             nodes: v.nodes.map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary) }))));",
            vec![],
        )
        .await;
    let serious = |violation: &&Value| {
        matches!(
            violation["impact"].as_str(),
            Some("serious" | "critical" | "moderate")
        )
    };
    let serious: Vec<&Value> = found.as_array().unwrap().iter().filter(serious).collect();
    assert!(serious.is_empty(), "{what}: {serious:#?}");
}
