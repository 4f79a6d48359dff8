//! Timestamps and what keeps signatures checkable: B-T, B-LT, B-LTA, judged by OpenSSL, pyHanko and pdfsig.

use std::path::PathBuf;
use std::sync::LazyLock;

use sealpost_pdf::{
    Evidence, KeyAlgorithm, Responder, Revocation, SignError, SignRequest, Subject, Timestamp,
    TimestampError, TimestampRequest, Trust, Validity, Verdict, add_evidence, add_fields, prepare,
    prepare_archive, verify,
    verify::{Clock, Code, Level, Report, RevocationReason, SignatureKind},
};

use crate::{
    judges,
    parties::{
        AUTHORITY, BUYER, DAY, Desk, FLOW, NOW, SELLER, fields, picture, request, trust, years,
    },
    structures::{STRUCTURES, Sample, Structure},
};

const POLICY: &str = "1.3.6.1.4.1.32473.1.1";
const HOUR: i64 = 3_600_000;

static RESPONDER: LazyLock<Responder> = LazyLock::new(|| {
    let subject = Subject::TimestampAuthority {
        name: "test timestamps",
    };
    let credential = AUTHORITY
        .issue(subject, KeyAlgorithm::Rsa2048, years(10))
        .unwrap();
    Responder::new(credential, POLICY).unwrap()
});

/// The answer to a question an hour after the signer's claim.
fn answer(question: &TimestampRequest) -> Timestamp {
    let response = RESPONDER
        .respond(question.der(), NOW + HOUR, [7; 16])
        .unwrap();
    question.accept(&response).unwrap()
}

/// Signed twice, each signature timestamped.
fn stamped(structure: Structure) -> Vec<u8> {
    let picture = picture();
    let mut pdf = add_fields(&Sample::one_page().write(structure), &fields()).unwrap();
    for (field, credential) in [("seller", &*SELLER), ("buyer", &*BUYER)] {
        let request = SignRequest {
            appearance: Some(&picture),
            ..request(field, credential)
        };
        let mut pending = prepare(&pdf, &request).unwrap();
        let question = pending.timestamp_request([1; 16], Some(POLICY)).unwrap();
        pending.set_timestamp(&answer(&question)).unwrap();
        pdf = pending.finish().unwrap();
    }
    pdf
}

fn revocation_list(revoked: &[Revocation]) -> Vec<u8> {
    let validity = Validity {
        not_before: NOW + HOUR,
        not_after: NOW + 30 * DAY,
    };
    AUTHORITY.revocation_list(revoked, 1, validity).unwrap()
}

fn evidence(revoked: &[Revocation]) -> Evidence {
    Evidence {
        revocation_lists: vec![revocation_list(revoked)],
        ..Evidence::default()
    }
}

fn archived(pdf: &[u8]) -> Vec<u8> {
    let pending = prepare_archive(pdf).unwrap();
    let question = pending.timestamp_request([2; 16], None).unwrap();
    pending.finish(&answer(&question)).unwrap()
}

fn levels(report: &Report) -> Vec<Option<Level>> {
    report
        .signatures
        .iter()
        .map(|signature| signature.level)
        .collect()
}

/// From B-B to B-LTA, in every structure: each level is what it says, to us and to pyHanko.
#[test]
fn signatures_climb_to_lasting_levels() {
    let desk = Desk::new();
    let root = desk.root();
    for structure in STRUCTURES {
        let stamped = stamped(structure);
        let report = verify(&stamped, &trust(), NOW + DAY).unwrap();
        assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
        assert_eq!(levels(&report), [Some(Level::BT); 2]);
        for signature in &report.signatures {
            assert_eq!(
                (signature.clock, signature.signed_at),
                (Clock::TimestampAuthority, Some(NOW + HOUR))
            );
            assert_eq!(signature.claimed_at, Some(NOW));
            let authority = signature.timestamp_authority.as_ref().unwrap();
            assert_eq!(authority.common_name.as_deref(), Some("test timestamps"));
        }

        let evident = add_evidence(&stamped, &evidence(&[])).unwrap();
        let report = verify(&evident, &trust(), NOW + DAY).unwrap();
        assert_eq!(
            (report.verdict, levels(&report)),
            (Verdict::Valid, vec![Some(Level::BLT); 2]),
            "{report:#?}"
        );

        let first = archived(&evident);
        let again = archived(&add_evidence(&first, &evidence(&[])).unwrap());
        let report = verify(&again, &trust(), NOW + DAY).unwrap();
        assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
        assert_eq!(
            levels(&report),
            [Some(Level::BLTA), Some(Level::BLTA), None, None]
        );
        assert_eq!(report.signatures[2].kind, SignatureKind::DocumentTimestamp);
        assert!(report.signatures[3].covers_whole_file);
        // Decades later, when the certificates have expired, the timestamps still say when it was signed.
        let later = verify(&again, &trust(), NOW + 15 * 365 * DAY).unwrap();
        assert!(
            later.signatures[..2]
                .iter()
                .all(|signature| signature.verdict == Verdict::Valid),
            "{later:#?}"
        );

        for (name, pdf, count) in [
            ("b-t", &stamped, 2),
            ("b-lt", &evident, 2),
            ("b-lta", &first, 3),
            ("renewed", &again, 4),
        ] {
            let file = desk.put(&format!("{name}.pdf"), pdf);
            let judged = judges::pyhanko(&root, &file).unwrap();
            assert_eq!(judged.len(), count, "{name}");
            assert!(
                judged.iter().all(|judged| judged.valid),
                "{name} {structure:?}: {judged:?}"
            );
            judges::qpdf_accepts(&file);
            assert_eq!(judges::pdfsig_valid(&file), 2, "{name}");
        }
        for pdf in [&evident, &first, &again] {
            let (passed, said) = judges::pyhanko_lasting(&root, &desk.put("lasting.pdf", pdf));
            let trusted = said.matches(":INTACT:TRUSTED,").count();
            assert!(passed && trusted == 2, "{structure:?}: {said}");
        }
    }
}

/// What was revoked is found in the list that the document carries; when it was revoked after a proven time, it counts on.
#[test]
fn revocation_counts_from_its_time() {
    let stamped = stamped(Structure::Table);
    let with = |since| {
        let revoked = Revocation {
            serial: SELLER.serial_hex(),
            since,
            reason: None,
        };
        let pdf = add_evidence(&stamped, &evidence(&[revoked])).unwrap();
        let report = verify(&pdf, &trust(), NOW + DAY).unwrap();
        let findings = &report.signatures[0].findings;
        (
            report.signatures[0].verdict,
            findings
                .iter()
                .map(|finding| finding.code)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(with(NOW), (Verdict::Invalid, vec![Code::Revoked]));
    assert_eq!(with(NOW + 2 * HOUR), (Verdict::Valid, vec![Code::Revoked]));
    // A list that was out of date by then still knows it; a current one that does not have it knows better.
    let revoked = Revocation {
        serial: SELLER.serial_hex(),
        since: NOW - 3 * DAY,
        reason: None,
    };
    let validity = Validity {
        not_before: NOW - 2 * DAY,
        not_after: NOW - DAY,
    };
    let old = AUTHORITY.revocation_list(&[revoked], 1, validity).unwrap();
    for (current, verdict) in [
        (None, Verdict::Invalid),
        (Some(evidence(&[])), Verdict::Valid),
    ] {
        let mut all = current.unwrap_or_default();
        all.revocation_lists.push(old.clone());
        let pdf = add_evidence(&stamped, &all).unwrap();
        let report = verify(&pdf, &trust(), NOW + DAY).unwrap();
        assert_eq!(report.signatures[0].verdict, verdict, "{report:#?}");
    }
    // Without a timestamp, only the signer says that it was signed before.
    let unproven = crate::parties::signed_twice(&Sample::one_page().write(Structure::Table));
    let revoked = Revocation {
        serial: SELLER.serial_hex(),
        since: NOW + 2 * HOUR,
        reason: None,
    };
    let lists = vec![revocation_list(&[revoked])];
    let report = verify(
        &unproven,
        &Trust {
            revocation_lists: lists,
            ..trust()
        },
        NOW + DAY,
    )
    .unwrap();
    assert_eq!(report.signatures[0].verdict, Verdict::Indeterminate);
    assert_eq!(report.signatures[1].verdict, Verdict::Valid);
    assert!(matches!(
        add_evidence(
            &Sample::one_page().write(Structure::Table),
            &Evidence::default()
        ),
        Err(SignError::NoSignature)
    ));
}

/// Whoever has an authority's key can stamp any time with it. So when it is revoked, and not for a reason that excludes that, its
/// timestamps count only as far as another's shows that they were there before.
#[test]
fn timestamps_of_a_compromised_authority_need_another() {
    let stamper = |name| {
        let subject = Subject::TimestampAuthority { name };
        AUTHORITY
            .issue(subject, KeyAlgorithm::P256, years(10))
            .unwrap()
    };
    let (first, second) = (stamper("first"), stamper("second"));
    let serial = first.serial_hex();
    let first = Responder::new(first, POLICY).unwrap();
    let second = Responder::new(second, POLICY).unwrap();
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let mut pending = prepare(&pdf, &request("seller", &SELLER)).unwrap();
    let question = pending.timestamp_request([1; 16], None).unwrap();
    let response = first.respond(question.der(), NOW + HOUR, [3; 16]).unwrap();
    pending
        .set_timestamp(&question.accept(&response).unwrap())
        .unwrap();
    let stamped = add_evidence(&pending.finish().unwrap(), &evidence(&[])).unwrap();
    let archived_by = |pdf: &[u8], responder: &Responder, at| {
        let pending = prepare_archive(pdf).unwrap();
        let question = pending.timestamp_request([2; 16], None).unwrap();
        let response = responder.respond(question.der(), at, [4; 16]).unwrap();
        pending
            .finish(&question.accept(&response).unwrap())
            .unwrap()
    };
    let judged = |pdf: &[u8], since| {
        let serial = serial.clone();
        let lists = vec![revocation_list(&[Revocation {
            serial,
            since,
            reason: None,
        }])];
        let trust = Trust {
            revocation_lists: lists,
            ..trust()
        };
        let report = verify(pdf, &trust, NOW + 9 * DAY).unwrap();
        let signature = &report.signatures[0];
        (report.verdict, signature.level, signature.clock)
    };
    let unproven = (Verdict::Indeterminate, Some(Level::BB), Clock::Signer);
    let since = NOW + 3 * DAY;
    assert_eq!(judged(&stamped, since), unproven);
    // One of its own proves nothing, nor does another's of afterwards.
    let own = archived_by(&stamped, &first, NOW + DAY);
    assert_eq!(judged(&own, since), unproven);
    let late = archived_by(&stamped, &second, NOW + 4 * DAY);
    assert_eq!(judged(&late, since), unproven);
    let lasting = (Verdict::Valid, Some(Level::BLTA), Clock::TimestampAuthority);
    let early = archived_by(&stamped, &second, NOW + 2 * DAY);
    assert_eq!(judged(&early, since), lasting);
    // Both of its own, and the other's over both.
    let both = archived_by(&own, &second, NOW + 2 * DAY);
    assert_eq!(judged(&both, since), lasting);
}

/// An answer is accepted only for what was asked.
#[test]
fn answers_for_something_else_are_refused() {
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let pending = prepare(&pdf, &request("seller", &SELLER)).unwrap();
    let ask = |nonce: u8, policy| pending.timestamp_request([nonce; 16], policy).unwrap();
    let question = ask(1, None);
    let respond =
        |question: &TimestampRequest| RESPONDER.respond(question.der(), NOW, [7; 16]).unwrap();
    let right = respond(&question);
    assert_eq!(question.accept(&right).unwrap().at(), NOW);

    let another = prepare(&pdf, &request("buyer", &BUYER)).unwrap();
    let another = another.timestamp_request([1; 16], None).unwrap();
    assert!(matches!(
        question.accept(&respond(&another)),
        Err(TimestampError::Another(_))
    ));
    assert!(matches!(
        question.accept(&respond(&ask(2, None))),
        Err(TimestampError::Another(_))
    ));
    let refused = respond(&ask(1, Some("1.2.3.4")));
    assert!(matches!(
        question.accept(&refused),
        Err(TimestampError::Refused { status: 2, .. })
    ));
    let demanding = ask(1, Some(POLICY));
    assert!(demanding.accept(&respond(&demanding)).is_ok());
    assert!(matches!(
        pending.timestamp_request([1; 16], Some("policy")),
        Err(SignError::Policy)
    ));
    let rejected = RESPONDER.respond(b"what?", NOW, [7; 16]).unwrap();
    assert!(
        matches!(question.accept(&rejected), Err(TimestampError::Refused { status: 2, text }) if text == "the request cannot be read")
    );
    for garbage in [
        &b""[..],
        b"\x30",
        b"<html>502</html>",
        &[0x30, 3, 2, 1, 0],
        &vec![0; 1 << 20],
    ] {
        assert_eq!(question.accept(garbage), Err(TimestampError::Malformed));
    }
    // Somebody's certificate for documents makes no timestamps.
    let person = AUTHORITY
        .issue(
            Subject::Person {
                name: "李四",
                flow: FLOW,
            },
            KeyAlgorithm::P256,
            years(1),
        )
        .unwrap();
    let impostor = Responder::new(person, POLICY).unwrap();
    let response = impostor.respond(question.der(), NOW, [7; 16]).unwrap();
    assert!(matches!(
        question.accept(&response),
        Err(TimestampError::Another(_))
    ));
    // Any flipped byte is a flaw, or changes nothing that counts.
    for place in 0..right.len() {
        let mut flipped = right.clone();
        flipped[place] ^= 1;
        if let Ok(timestamp) = question.accept(&flipped) {
            assert_eq!(timestamp.at(), NOW);
        }
    }
    // A timestamp is put only where there is room for it.
    let unroomy = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    assert!(
        sealpost_pdf::sign(&unroomy, &request("seller", &SELLER))
            .unwrap()
            .len()
            + 6 * 1024 * 2
            <= prepare(&unroomy, &request("seller", &SELLER))
                .unwrap()
                .finish()
                .unwrap()
                .len()
    );
}

/// OpenSSL asks and our authority answers; our client asks and OpenSSL's authority answers.
#[test]
fn openssl_and_we_understand_each_other() {
    const OPENSSL: &str = "apt-get install openssl";
    let desk = Desk::new();
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| {
        let (fine, said) = judges::run("openssl", arguments, OPENSSL);
        assert!(fine, "{arguments:?}: {said}");
        said
    };
    let (data, query, reply, root) = (
        text(&desk.put("data", "a receipt")),
        text(&desk.put("query.tsq", "")),
        desk.put("reply.tsr", ""),
        text(&desk.root()),
    );
    for digest in ["-sha256", "-sha384", "-sha512"] {
        openssl(&[
            "ts", "-query", "-data", &data, digest, "-cert", "-out", &query,
        ]);
        let response = RESPONDER
            .respond(&std::fs::read(&query).unwrap(), NOW, [9; 16])
            .unwrap();
        std::fs::write(&reply, response).unwrap();
        let said = openssl(&[
            "ts",
            "-verify",
            "-queryfile",
            &query,
            "-in",
            &text(&reply),
            "-CAfile",
            &root,
            "-attime",
            "1795514400",
        ]);
        assert!(said.contains("Verification: OK"), "{said}");
    }
    openssl(&["ts", "-query", "-data", &data, "-sha1", "-out", &query]);
    let response = RESPONDER
        .respond(&std::fs::read(&query).unwrap(), NOW, [9; 16])
        .unwrap();
    std::fs::write(&reply, response).unwrap();
    let said = openssl(&["ts", "-reply", "-in", &text(&reply), "-text"]);
    assert!(
        said.contains("Rejected") && said.contains("unrecognized or unsupported algorithm"),
        "{said}"
    );

    // OpenSSL as the authority.
    let subject = Subject::TimestampAuthority { name: "OpenSSL's" };
    let credential = AUTHORITY
        .issue(subject, KeyAlgorithm::P256, years(10))
        .unwrap();
    let (key, leaf) = (
        text(&desk.put("key.pem", "")),
        text(&desk.put("leaf.pem", "")),
    );
    let (key_der, leaf_der) = (
        desk.put("key.der", credential.to_pkcs8().unwrap()),
        desk.put("leaf.der", &credential.chain()[0]),
    );
    openssl(&[
        "pkey",
        "-inform",
        "DER",
        "-in",
        &text(&key_der),
        "-out",
        &key,
    ]);
    openssl(&[
        "x509",
        "-inform",
        "DER",
        "-in",
        &text(&leaf_der),
        "-out",
        &leaf,
    ]);
    let serial = text(&desk.put("serial", "01"));
    let settings = text(&desk.put(
        "tsa.cnf",
        format!(
            "[tsa]\ndefault_tsa = us\n[us]\nserial = {serial}\nsigner_digest = sha256\ndefault_policy = {POLICY}\n\
             digests = sha256\naccuracy = secs:1\ness_cert_id_alg = sha256\n"
        ),
    ));
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let mut pending = prepare(&pdf, &request("seller", &SELLER)).unwrap();
    let question = pending.timestamp_request([0xf3; 16], None).unwrap();
    std::fs::write(&query, question.der()).unwrap();
    openssl(&[
        "ts",
        "-reply",
        "-config",
        &settings,
        "-queryfile",
        &query,
        "-signer",
        &leaf,
        "-inkey",
        &key,
        "-chain",
        &root,
        "-out",
        &text(&reply),
    ]);
    let timestamp = question.accept(&std::fs::read(&reply).unwrap()).unwrap();
    pending.set_timestamp(&timestamp).unwrap();
    let signed = pending.finish().unwrap();
    let report = verify(&signed, &trust(), timestamp.at() + DAY).unwrap();
    assert_eq!(report.signatures[0].signed_at, Some(timestamp.at()));
    assert_eq!(report.signatures[0].level, Some(Level::BT), "{report:#?}");
    let judged = judges::pyhanko(&desk.root(), &desk.put("signed.pdf", &signed)).unwrap();
    assert!(judged[0].valid, "{judged:?}");
}

/// OpenSSL reads the revocation list, and finds in it who was revoked.
#[test]
fn openssl_understands_the_revocation_list() {
    let desk = Desk::new();
    let revoked = Revocation {
        serial: BUYER.serial_hex(),
        since: NOW,
        reason: RevocationReason::named("superseded"),
    };
    let list = desk.put("list.crl", revocation_list(&[revoked]));
    let root = desk.root();
    let arguments = [
        "crl",
        "-inform",
        "DER",
        "-in",
        list.to_str().unwrap(),
        "-CAfile",
        root.to_str().unwrap(),
        "-noout",
        "-text",
    ];
    let (fine, said) = judges::run("openssl", &arguments, "apt-get install openssl");
    assert!(fine && said.contains("verify OK"), "{said}");
    assert!(said.contains(&BUYER.serial_hex().to_uppercase()), "{said}");
    assert!(said.contains("Superseded"), "{said}");
    let wrong = Revocation {
        serial: "xyz".to_owned(),
        since: NOW,
        reason: None,
    };
    assert!(AUTHORITY.revocation_list(&[wrong], 1, years(1)).is_err());
}
