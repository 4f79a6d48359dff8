//! Verification: a flipped byte is found wherever it is, later changes are judged as pyHanko judges them, and hostile files
//! do no harm.

mod changes;
mod sections;

use std::sync::LazyLock;

use proptest::prelude::*;
use sealpost_pdf::{
    Authority, KeyAlgorithm, Subject, Trust, Unreadable, Validity, Verdict, VerifyError,
    add_fields, sign, verify,
    verify::{ChangeKind, Clock, Code, Level, Report},
};

use crate::{
    judges,
    parties::{
        AUTHORITY, BUYER, DAY, Desk, FLOW, NOW, SELLER, fields, request, signed_twice, trust, years,
    },
    structures::{STRUCTURES, Sample, Structure},
};

/// Signed twice, with everything in plain sight.
static SIGNED: LazyLock<Vec<u8>> =
    LazyLock::new(|| signed_twice(&Sample::one_page().write(Structure::Table)));

fn judged(pdf: &[u8]) -> Report {
    verify(pdf, &trust(), NOW).unwrap()
}

/// Whether a document would pass for signed.
fn passes(pdf: &[u8]) -> bool {
    verify(pdf, &trust(), NOW).is_ok_and(|report| report.verdict == Verdict::Valid)
}

fn codes(report: &Report, signature: usize) -> Vec<Code> {
    let findings = report.signatures[signature].findings.iter();
    findings
        .map(|finding| finding.code)
        .filter(|code| *code != Code::RevocationUnknown)
        .collect()
}

/// The ranges of the file that its last signature signs.
fn signed_ranges(pdf: &[u8]) -> [std::ops::Range<usize>; 2] {
    let text = String::from_utf8_lossy(pdf);
    let numbers = text
        .rsplit("/ByteRange [")
        .next()
        .unwrap()
        .split(']')
        .next()
        .unwrap()
        .to_owned();
    let numbers: Vec<usize> = numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    [
        numbers[0]..numbers[0] + numbers[1],
        numbers[2]..numbers[2] + numbers[3],
    ]
}

/// Where something stands last.
fn last_place(pdf: &[u8], needle: &str) -> usize {
    let place = pdf
        .windows(needle.len())
        .rposition(|window| window == needle.as_bytes());
    place.unwrap_or_else(|| panic!("{needle} is missing"))
}

#[test]
fn a_report_says_who_when_and_by_whose_clock() {
    let report = judged(&SIGNED);
    assert_eq!(report.verdict, Verdict::Valid);
    assert_eq!(report.file_bytes, SIGNED.len());
    assert_eq!(report.empty_fields, Vec::<String>::new());
    let [seller, buyer] = &report.signatures[..] else {
        panic!("{report:#?}")
    };
    assert_eq!(
        (seller.field.as_str(), buyer.field.as_str()),
        ("seller", "buyer")
    );
    assert_eq!((seller.revision, buyer.revision), (3, 4));
    assert_eq!(
        (seller.covers_whole_file, buyer.covers_whole_file),
        (false, true)
    );
    assert_eq!(
        (seller.level, seller.clock, seller.signed_at),
        (Some(Level::BB), Clock::Signer, Some(NOW))
    );
    assert_eq!(
        (
            seller.digest_algorithm.as_str(),
            seller.signature_algorithm.as_str()
        ),
        ("sha256", "ecdsa-p256")
    );
    let party = seller.signer.as_ref().unwrap();
    assert_eq!(party.organization.as_deref(), Some("上海某某置业有限公司"));
    assert_eq!(party.serial, SELLER.serial_hex());
    assert_eq!(seller.chain.len(), 1);
    assert_eq!(seller.changes.len(), 1);
    assert_eq!(
        (seller.changes[0].kind, seller.changes[0].permitted),
        (ChangeKind::FieldSigned, true)
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "valid");
    assert_eq!(
        json["signatures"][0]["findings"][0]["code"],
        "revocation_unknown"
    );
    assert_eq!(json["signatures"][0]["level"], "B-B");
}

#[test]
fn documents_without_signatures_are_unsigned() {
    let plain = Sample::one_page().write(Structure::ObjectStreams);
    assert_eq!(judged(&plain).verdict, Verdict::Unsigned);
    let report = judged(&add_fields(&plain, &fields()).unwrap());
    assert_eq!(
        (report.verdict, report.empty_fields),
        (
            Verdict::Unsigned,
            vec!["seller".to_owned(), "buyer".to_owned()]
        )
    );
    let nothing = verify(b"nothing", &trust(), NOW);
    assert_eq!(nothing, Err(VerifyError::Unreadable(Unreadable::NotPdf)));
}

#[test]
fn what_cannot_be_trusted_is_indeterminate_and_what_is_wrong_is_invalid() {
    let stranger = Authority::generate("stranger", KeyAlgorithm::P256, years(20)).unwrap();
    let unknown = verify(
        &SIGNED,
        &Trust::roots([stranger.certificate().to_vec()]),
        NOW,
    )
    .unwrap();
    assert_eq!(unknown.verdict, Verdict::Indeterminate);
    assert_eq!(codes(&unknown, 0), [Code::Untrusted]);
    assert_eq!(
        verify(&SIGNED, &Trust::default(), NOW).unwrap().verdict,
        Verdict::Indeterminate
    );

    let short = |not_before, not_after| {
        let validity = Validity {
            not_before,
            not_after,
        };
        let person = Subject::Person {
            name: "张三",
            flow: FLOW,
        };
        let person = AUTHORITY
            .issue(person, KeyAlgorithm::P256, validity)
            .unwrap();
        let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        sign(&pdf, &request("buyer", &person)).unwrap()
    };
    let at = |pdf: &[u8], now| {
        let report = verify(pdf, &trust(), now).unwrap();
        (report.verdict, codes(&report, 0))
    };
    let a_day = short(NOW - 1000, NOW + DAY);
    assert_eq!(at(&a_day, NOW), (Verdict::Valid, vec![]));
    // Later, nobody but the signer says when it was signed.
    assert_eq!(
        at(&a_day, NOW + 2 * DAY),
        (Verdict::Indeterminate, vec![Code::Expired])
    );
    assert_eq!(
        at(&short(NOW + 1000, NOW + DAY), NOW),
        (Verdict::Invalid, vec![Code::NotYetValid])
    );
    assert_eq!(
        at(&short(NOW - DAY, NOW - 1000), NOW),
        (Verdict::Invalid, vec![Code::Expired])
    );
    // A clock that runs ahead.
    assert_eq!(
        at(&a_day, NOW - DAY),
        (Verdict::Indeterminate, vec![Code::ClaimedTime])
    );
}

/// One bit, in each region of the file: the judges agree that it is no longer what was signed.
#[test]
fn judges_agree_on_flipped_bytes() {
    let find = |needle: &str| last_place(&SIGNED, needle);
    let places = [
        ("header", 6),
        ("content", find("1640902") + 2),
        ("page", find("595.303937") + 8),
        ("field", find("/T (seller)") + 5),
        ("date", find("/M (D:2026") + 8),
        ("range", find("/ByteRange [") + 14),
        ("last trailer", find("/Size ") + 6),
    ];
    let desk = Desk::new();
    for (name, place) in places {
        let mut flipped = SIGNED.clone();
        flipped[place] ^= 1;
        assert!(!passes(&flipped), "{name}");
        let file = desk.put("flipped.pdf", &flipped);
        let valid = judges::pyhanko(&desk.root(), &file)
            .is_ok_and(|found| found.iter().all(|judged| judged.valid));
        assert!(!valid, "pyHanko accepts {name}");
        assert!(judges::pdfsig_valid(&file) < 2, "pdfsig accepts {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Every byte that is signed counts.
    #[test]
    fn a_flipped_byte_is_found(place in any::<prop::sample::Index>(), flip in 1_u8..) {
        let [first, second] = signed_ranges(&SIGNED);
        let place = place.index(first.len() + second.len());
        let place = if place < first.end { place } else { second.start + place - first.len() };
        let mut flipped = SIGNED.clone();
        flipped[place] ^= flip;
        prop_assert!(!passes(&flipped), "byte {place}");
    }
}

/// Each byte around the edges, where an off-by-one would hide.
#[test]
fn every_byte_at_an_edge_counts() {
    let [first, second] = signed_ranges(&SIGNED);
    let edges = (0..32)
        .chain(first.end - 32..first.end)
        .chain(second.start..second.start + 32)
        .chain(second.end - 32..second.end);
    for place in edges {
        for flip in [1, 0x20, 0x80] {
            let mut flipped = SIGNED.clone();
            flipped[place] ^= flip;
            assert!(!passes(&flipped), "byte {place}");
        }
    }
    for length in second.end - 64..second.end {
        assert!(!passes(&SIGNED[..length]), "cut to {length}");
    }
}

/// Another signature put where the byte range leaves a gap, or a range that leaves more out.
#[test]
fn byte_ranges_leave_out_the_signature_alone() {
    let place = last_place(&SIGNED, "/ByteRange [") + 12;
    let width = SIGNED[place..]
        .iter()
        .position(|&byte| byte == b']')
        .unwrap();
    let numbers = String::from_utf8_lossy(&SIGNED[place..place + width]).into_owned();
    let numbers: Vec<usize> = numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let with = |numbers: &[usize]| {
        let mut pdf = SIGNED.clone();
        let joined = numbers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ");
        pdf[place..place + width].copy_from_slice(format!("{joined:<width$}").as_bytes());
        pdf
    };
    assert!(passes(&SIGNED));
    for wrong in [
        vec![0, numbers[1], numbers[2], numbers[3] - 3],
        vec![0, numbers[1] - 1, numbers[2], numbers[3]],
        vec![0, numbers[1], numbers[2] + 1, numbers[3] - 1],
        vec![1, numbers[1] - 1, numbers[2], numbers[3]],
        vec![0, numbers[1], numbers[2], usize::MAX >> 1],
        vec![0, numbers[1], numbers[2]],
        vec![0, 0, 0, 0],
        vec![],
    ] {
        let report = judged(&with(&wrong));
        let buyer = report
            .signatures
            .iter()
            .position(|signature| signature.field == "buyer")
            .unwrap();
        assert_eq!(codes(&report, buyer)[0], Code::ByteRange, "{wrong:?}");
        assert_eq!(report.verdict, Verdict::Invalid, "{wrong:?}");
    }
}

/// A certificate for web servers signs no receipts; a root's own key does not either.
#[test]
fn certificates_are_used_for_what_they_are_for() {
    let root = sealpost_pdf::Credential::from_pkcs8(
        &AUTHORITY.to_pkcs8().unwrap(),
        vec![AUTHORITY.certificate().to_vec()],
    )
    .unwrap();
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let report = judged(&sign(&pdf, &request("seller", &root)).unwrap());
    assert_eq!(
        (report.verdict, codes(&report, 0)),
        (Verdict::Invalid, vec![Code::KeyUsage])
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Whatever is done to a signed document, verification answers, and never calls it valid unless nothing signed changed.
    #[test]
    fn mutated_documents_are_judged(
        structure in prop::sample::select(&STRUCTURES[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..10),
        copies in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..200), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        static DOCUMENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            STRUCTURES.iter().map(|structure| signed_twice(&Sample::one_page().write(*structure))).collect()
        });
        let which = STRUCTURES.iter().position(|other| *other == structure).unwrap();
        let original = &DOCUMENTS[which];
        let mut pdf = original.clone();
        for (place, byte) in edits {
            let place = place.index(pdf.len());
            pdf[place] = byte;
        }
        for (from, to, length) in copies {
            let from = from.index(pdf.len());
            let piece = pdf[from..pdf.len().min(from + length)].to_vec();
            let to = to.index(pdf.len());
            pdf.splice(to..to, piece);
        }
        if let Some(cut) = cut {
            pdf.truncate(cut.index(pdf.len()));
        }
        if let Ok(report) = verify(&pdf, &trust(), NOW)
            && report.verdict == Verdict::Valid
        {
            // What a signature leaves out is its own hexadecimal digits alone.
            let mut rest = original.as_slice();
            while let Some(start) = rest.windows(11).position(|window| window == b"/Contents <") {
                let place = original.len() - rest.len();
                let gap = place + start + 11..place + start + rest[start..].iter().position(|&byte| byte == b'>').unwrap();
                prop_assert_eq!(&pdf[place..gap.start], &original[place..gap.start]);
                rest = &original[gap.end..];
            }
            let place = original.len() - rest.len();
            prop_assert_eq!(&pdf[place..original.len()], rest);
        }
    }
}

/// The signer's own text cannot make a report large or unreadable.
#[test]
fn texts_of_signers_are_repeated_within_limits() {
    let long = "理由".repeat(256);
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let signed = sign(
        &pdf,
        &sealpost_pdf::SignRequest {
            reason: Some(&long),
            ..request("buyer", &BUYER)
        },
    )
    .unwrap();
    assert_eq!(
        judged(&signed).signatures[0].reason.as_deref(),
        Some(long.as_str())
    );
}
