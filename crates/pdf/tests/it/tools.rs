//! Other people's programs, which judge what we make.

use std::path::Path;
use std::process::Command;

/// Runs a program with its standard output returned; panics if it is missing or fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let package = match program {
        "qpdf" => "qpdf",
        "mutool" => "mupdf-tools",
        _ => "poppler-utils",
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; `apt-get install -y {package}` installs it")
        });
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{out}{errors}",
        output.status
    );
    out
}

/// Writes a document into a fresh folder and hands its path to `judge`.
pub(crate) fn with_file<T>(pdf: &[u8], judge: impl FnOnce(&str) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("document.pdf");
    std::fs::write(&path, pdf).unwrap();
    judge(path_str(&path))
}

pub(crate) fn path_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// qpdf and MuPDF find nothing wrong with the structure, and every page can be drawn.
pub(crate) fn assert_sound(pdf: &[u8]) {
    with_file(pdf, |path| {
        run("qpdf", &["--check", path]);
        let out = run(
            "mutool",
            &[
                "draw",
                "-q",
                "-o",
                "/dev/null",
                "-F",
                "png",
                "-r",
                "20",
                path,
            ],
        );
        assert_eq!(out, "");
    });
}

/// The text of a document, as poppler reads it.
pub(crate) fn text(pdf: &[u8]) -> String {
    with_file(pdf, |path| run("pdftotext", &["-layout", path, "-"]))
}
