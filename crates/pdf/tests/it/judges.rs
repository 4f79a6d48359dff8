//! Programs that no one here wrote, asked what they think of our PDFs. One that is missing fails the test and says how to
//! install it.

use std::path::Path;
use std::process::{Command, Output};

const PYHANKO: &str = "cargo xtask test (or: pip install pyhanko pyhanko-cli)";
/// A day after the signatures of the stories, whatever day it is.
const MOMENT: &str = "2026-11-25T10:00:00+00:00";

/// Runs a tool; its output whether it succeeded or not.
pub(crate) fn run(tool: &str, arguments: &[&str], install: &str) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(tool)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{tool} cannot be run ({error}); install it with: {install}")
        });
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    (status.success(), text)
}

/// What pyHanko finds in one signature.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Judgement {
    pub(crate) field: String,
    /// The bottom line: intact, trusted, and no change that is not permitted.
    pub(crate) valid: bool,
    pub(crate) intact: bool,
    /// What it says in short, or why it cannot say.
    pub(crate) summary: String,
}

/// pyHanko's judgement on every signature of a file, in the order of the file, or its error.
pub(crate) fn pyhanko(root: &Path, file: &Path) -> Result<Vec<Judgement>, String> {
    pyhanko_all(root, &[file]).remove(0)
}

/// What pyHanko says of a file by the rules of AdES (ETSI EN 319 102-1), with nothing but the evidence that the file carries: whether
/// every signature passes, and why.
pub(crate) fn pyhanko_lasting(root: &Path, file: &Path) -> (bool, String) {
    let arguments = [
        "sign",
        "adesverify",
        "--no-strict-syntax",
        "--validation-time",
        MOMENT,
        "--trust",
        root.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    run("pyhanko", &arguments, PYHANKO)
}

/// Likewise for several files, for starting Python takes a second.
pub(crate) fn pyhanko_all(root: &Path, files: &[&Path]) -> Vec<Result<Vec<Judgement>, String>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Line {
        Signatures(Vec<Judgement>),
        Error(String),
    }
    let mut arguments = vec![
        "-c",
        include_str!("pyhanko_judge.py"),
        root.to_str().unwrap(),
        MOMENT,
    ];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let output = Command::new("python3")
        .args(&arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("python3 cannot be run ({error}); install it with: {PYHANKO}")
        });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "pyHanko cannot be run; install it with: {PYHANKO}\n{errors}"
    );
    let lines: Vec<Line> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{errors}"))
        })
        .collect();
    assert_eq!(lines.len(), files.len(), "{errors}");
    let judged = lines.into_iter().map(|line| match line {
        Line::Signatures(signatures) => Ok(signatures),
        Line::Error(error) => Err(error),
    });
    judged.collect()
}

/// The command line of pyHanko, as the README tells people to use it.
pub(crate) fn pyhanko_validate(root: &Path, file: &Path) -> String {
    let arguments = [
        "sign",
        "validate",
        "--validation-time",
        MOMENT,
        "--trust",
        root.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    run("pyhanko", &arguments, PYHANKO).1
}

/// How many signatures Poppler's pdfsig calls valid.
pub(crate) fn pdfsig_valid(file: &Path) -> usize {
    let (_, text) = run(
        "pdfsig",
        &[file.to_str().unwrap()],
        "apt-get install poppler-utils",
    );
    text.matches("Signature Validation: Signature is Valid.")
        .count()
}

/// qpdf finds nothing wrong.
pub(crate) fn qpdf_accepts(file: &Path) {
    let (fine, text) = run(
        "qpdf",
        &["--check", file.to_str().unwrap()],
        "apt-get install qpdf",
    );
    assert!(fine && !text.contains("WARNING"), "{text}");
}

/// How qpdf likes a file: 0 without a word, 3 with warnings, 2 not at all.
pub(crate) fn qpdf_mood(file: &Path) -> i32 {
    let mut qpdf = Command::new("qpdf");
    let status = qpdf.args(["--check", "--password="]).arg(file).output();
    let output = status.unwrap_or_else(|error| {
        panic!("qpdf cannot be run ({error}); install it with: apt-get install qpdf")
    });
    output.status.code().unwrap_or(2)
}

/// MuPDF draws every page without a word.
pub(crate) fn mutool_draws(file: &Path) {
    let arguments = [
        "draw",
        "-q",
        "-o",
        "/dev/null",
        "-F",
        "pnm",
        file.to_str().unwrap(),
    ];
    let (fine, text) = run("mutool", &arguments, "apt-get install mupdf-tools");
    let complaints: Vec<_> = text
        .lines()
        .filter(|line| !line.contains("ICC support is not available"))
        .collect();
    assert!(fine && complaints.is_empty(), "{text}");
}
