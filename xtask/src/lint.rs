//! `cargo xtask lint`: formatting, clippy and cargo-deny, the way CI runs them.

use anyhow::{Context, Result};

use crate::{cargo, root, setup};

pub(crate) fn run() -> Result<()> {
    crate::run(cargo().args(["fmt", "--all", "--check"]))?;
    crate::run(
        cargo()
            .args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
            ])
            .args(["--", "-D", "warnings"]),
    )?;
    deny()
}

fn deny() -> Result<()> {
    crate::run(
        setup::cargo_deny()?
            .current_dir(root())
            .args(["--locked", "check", "bans", "licenses", "sources"]),
    )?;
    advisories()
}

/// Known vulnerabilities. The list of them is fetched from the network, which a closed build machine does not
/// have: then this says so, loudly, rather than failing a build that nothing is known to be wrong with.
fn advisories() -> Result<()> {
    let mut fetch = setup::cargo_deny()?;
    let fetched = fetch
        .current_dir(root())
        .args(["--locked", "fetch", "db"])
        .output()
        .context("could not start cargo-deny")?;
    if !fetched.status.success() {
        eprintln!(
            "warning: ADVISORIES WERE NOT CHECKED: the advisory database cannot be fetched from here. \
             Run `cargo deny check advisories` on a machine with a network."
        );
        return Ok(());
    }
    crate::run(setup::cargo_deny()?.current_dir(root()).args([
        "--locked",
        "check",
        "--disable-fetch",
        "advisories",
    ]))
}
