//! A thousand odd PDFs of other projects' tests: each is signed twice and both signatures hold for pyHanko, or it is refused
//! with a reason; and we say of the signatures in them what pyHanko says.
//!
//! They are not in the repository: `cargo xtask corpora` fetches them and runs this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sealpost_pdf::{
    Field, SignError, SignRequest, Verdict, VerifyError, Void, VoidKind, add_fields, mark, sign,
    verify,
    verify::{Code, Severity},
};

use crate::{
    judges,
    parties::{BUYER, Desk, FLOW, NOW, SELLER, picture, request, trust},
};

const FIELDS: [&str; 2] = ["sealpost-seller", "sealpost-buyer"];

/// Where pyHanko and we differ, by what it says, and why that is.
const STUMBLES: [(&str, &str); 6] = [
    (
        "Metadata does not look like XMP",
        "the file's metadata was no XMP before anybody signed it",
    ),
    (
        "Circular reference in structure tree",
        "it maps the structure tree, which signatures do not need",
    ),
    (
        "No container reference available",
        "it cannot map objects that a hybrid or repaired file hides",
    ),
    (
        "not enough values to unpack",
        "it reads cross-reference tables by fixed columns",
    ),
    (
        "method should have been constructed",
        "an earlier signature, left as it was, is no CMS",
    ),
    (
        "is also used in AbsoluteContext",
        "a trailer entry of the test suite's own leads into the form",
    ),
];

/// Files whose signatures pyHanko and we judge differently, and why.
const DIFFERENCES: [(&str, &str); 5] = [
    (
        "minimal-signed-twice-",
        "a field that was added later and can be seen must hold a signature that is trusted, and nobody trusts these signers",
    ),
    ("separate-annots-kids-indir", "likewise"),
    (
        "form-update-override-appearance-stream",
        "we permit no picture to be replaced in place",
    ),
    (
        "form-update-ap-indirect-sneaky-trailer",
        "the new signature's picture is one that was there, which does no harm",
    ),
    (
        "form-update-no-override-appearance-stream-ap-indirect-sneaky",
        "likewise",
    ),
];

/// The longest that reading, signing or verifying one file may take, on a slow machine and without optimization.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every PDF under a folder, in order.
fn pdfs(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            pdfs(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("pdf"))
        {
            found.push(path);
        }
    }
}

fn corpora() -> Vec<PathBuf> {
    let folder = std::env::var_os("SEALPOST_CORPORA")
        .expect("SEALPOST_CORPORA names the folder; run `cargo xtask corpora`");
    let mut found = Vec::new();
    pdfs(Path::new(&folder), &mut found);
    assert!(found.len() > 500, "{} PDFs are too few", found.len());
    found
}

/// How many files are of which source package, which is the folder below that of the corpora.
fn sources<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> BTreeMap<String, usize> {
    let folder = std::env::var_os("SEALPOST_CORPORA").unwrap_or_default();
    let mut counts = BTreeMap::new();
    for path in paths {
        let source = path
            .strip_prefix(&folder)
            .ok()
            .and_then(|path| path.iter().next());
        let source = source.unwrap_or_default().to_string_lossy().into_owned();
        *counts.entry(source).or_default() += 1;
    }
    counts
}

fn signed_twice(pdf: &[u8]) -> Result<Vec<u8>, SignError> {
    let picture = picture();
    let field = |name: &str, left: f64| Field {
        name: name.to_owned(),
        page: 0,
        rect: [left, 20.0, left + 60.0, 80.0],
    };
    let pdf = add_fields(pdf, &[field(FIELDS[0], 20.0), field(FIELDS[1], 100.0)])?;
    let once = sign(
        &pdf,
        &SignRequest {
            appearance: Some(&picture),
            ..request(FIELDS[0], &SELLER)
        },
    )?;
    sign(
        &once,
        &SignRequest {
            appearance: Some(&picture),
            ..request(FIELDS[1], &BUYER)
        },
    )
}

#[test]
#[ignore = "needs the corpora: cargo xtask corpora"]
fn every_file_is_signed_twice_or_refused() {
    let desk = Desk::new();
    let (mut refused, mut signed) = (BTreeMap::<String, usize>::new(), Vec::new());
    let mut wrong = Vec::new();
    for (n, path) in corpora().into_iter().enumerate() {
        let before = std::fs::read(&path).unwrap();
        let started = Instant::now();
        match signed_twice(&before) {
            Err(error) => {
                let reason =
                    std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
                        error.source()
                    })
                    .last();
                let reason = reason.unwrap().to_string();
                let mood = judges::qpdf_mood(&path);
                println!("refused ({mood}): {}: {reason}", path.display());
                *refused
                    .entry(format!(
                        "qpdf {mood}: {}",
                        reason.split(" (byte").next().unwrap()
                    ))
                    .or_default() += 1;
            }
            Ok(after) => {
                let report = verify(&after, &trust(), NOW).unwrap();
                let ours = |name: &&str| {
                    report
                        .signatures
                        .iter()
                        .any(|found| found.field == **name && found.verdict == Verdict::Valid)
                };
                if !FIELDS.iter().all(ours) {
                    wrong.push(format!(
                        "we reject our own: {}: {report:#?}",
                        path.display()
                    ));
                }
                let file = desk.put(&format!("{n}.pdf"), &after);
                let (earlier, later) = (judges::qpdf_mood(&path), judges::qpdf_mood(&file));
                if later != earlier && later != 0 {
                    wrong.push(format!(
                        "qpdf likes it less ({earlier} → {later}): {}",
                        path.display()
                    ));
                }
                signed.push((path, file));
            }
        }
        assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
    }
    let files: Vec<&Path> = signed.iter().map(|(_, file)| file.as_path()).collect();
    for ((path, _), judged) in signed.iter().zip(judges::pyhanko_all(&desk.root(), &files)) {
        let valid = judged.as_ref().is_ok_and(|found| {
            FIELDS.iter().all(|name| {
                found
                    .iter()
                    .any(|judged| judged.field == **name && judged.valid)
            })
        });
        if valid {
            continue;
        }
        let said = format!("{judged:?}");
        if let Some((_, why)) = STUMBLES.iter().find(|(words, _)| said.contains(words)) {
            println!("pyHanko stumbles: {}: {why}", path.display());
        } else {
            wrong.push(format!("pyHanko rejects: {}: {judged:?}", path.display()));
        }
    }
    println!("{} signed twice", signed.len());
    for (source, count) in sources(signed.iter().map(|(path, _)| path)) {
        println!("  {count} of {source}");
    }
    for (reason, count) in refused {
        println!("{count} refused: {reason}");
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Files that come with signatures: what pyHanko accepts we accept, but for what is listed here, and never the other way round.
#[test]
#[ignore = "needs the corpora: cargo xtask corpora"]
fn signatures_of_others_are_judged_as_pyhanko_judges_them() {
    let desk = Desk::new();
    let root = desk.root();
    let mut wrong = Vec::new();
    let mut compared = 0;
    let mut signed = Vec::new();
    for path in corpora() {
        match verify(&std::fs::read(&path).unwrap(), &trust(), NOW) {
            Err(VerifyError::Unreadable(_)) => {}
            Ok(report) if report.signatures.is_empty() => {}
            Ok(report) => signed.push((path, report)),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    let files: Vec<&Path> = signed.iter().map(|(path, _)| path.as_path()).collect();
    for ((path, report), judged) in signed.iter().zip(judges::pyhanko_all(&root, &files)) {
        let Ok(judged) = judged else { continue };
        for signature in &report.signatures {
            let Some(theirs) = judged.iter().find(|judged| judged.field == signature.field) else {
                continue;
            };
            compared += 1;
            // Nobody trusts these signers; what can be compared is whether the document is what was signed.
            let about_certificates = [
                Code::Untrusted,
                Code::Expired,
                Code::NotYetValid,
                Code::KeyUsage,
                Code::Timestamp,
            ];
            let ours = signature.findings.iter().all(|finding| {
                finding.severity != Severity::Failure || about_certificates.contains(&finding.code)
            });
            let intact = theirs.intact && !theirs.summary.contains("ILLEGAL_MODIFICATIONS");
            let known = DIFFERENCES
                .iter()
                .find(|(name, _)| path.to_string_lossy().contains(name));
            if let (true, Some((_, why))) = (ours != intact, known) {
                println!("judged differently: {}: {why}", path.display());
            } else if ours != intact {
                let findings: Vec<_> = signature
                    .findings
                    .iter()
                    .map(|finding| finding.detail.as_str())
                    .collect();
                wrong.push(format!(
                    "{} {:?}: we say {:?} {findings:?}, pyHanko {}",
                    path.display(),
                    signature.field,
                    signature.verdict,
                    theirs.summary
                ));
            }
        }
    }
    println!("{compared} signatures compared");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A void copy is made of every file that can be read, and qpdf likes it no less than the file.
#[test]
#[ignore = "needs the corpora: cargo xtask corpora"]
fn every_file_is_marked_or_refused() {
    let desk = Desk::new();
    let void = Void {
        kind: VoidKind::Revoked,
        flow_id: FLOW.to_owned(),
        ended: "2026-11-24 18:24:29".to_owned(),
    };
    let (mut marked, mut wrong) = (0, Vec::new());
    for path in corpora() {
        let before = std::fs::read(&path).unwrap();
        let started = Instant::now();
        let Ok(copy) = mark::void_copy(&before, &void) else {
            continue;
        };
        if started.elapsed() > PATIENCE {
            wrong.push(format!("too slow: {}", path.display()));
        }
        marked += 1;
        let file = desk.put("copy.pdf", &copy);
        let (was, is) = (judges::qpdf_mood(&path), judges::qpdf_mood(&file));
        // 0 is better than 3, and 3 better than 2.
        let rank = |mood| [0, 3, 2].iter().position(|&known| known == mood);
        if rank(is) > rank(was) {
            wrong.push(format!("{was} becomes {is}: {}", path.display()));
        }
    }
    println!("{marked} marked");
    assert!(marked > 500 && wrong.is_empty(), "{}", wrong.join("\n"));
}
