//! OCSP: OpenSSL's responder is asked, its answers are kept in the document, and pyHanko finds them there.

use sealpost_pdf::{
    Authority, Evidence, KeyAlgorithm, OcspError, OcspRequest, Responder, SignRequest, Subject,
    Trust, Validity, Verdict, add_evidence, add_fields, needed_evidence, prepare, prepare_archive,
    verify,
    verify::{Code, Level, RevocationSource, RevocationStatus},
};

use crate::{
    judges,
    outside::{By, Outside, Standing},
    parties::{DAY, fields, request},
    structures::{Sample, Structure},
};

const HOUR: i64 = 3_600_000;

/// Who gives timestamps beside the authority outside, at the machine's time.
struct Stamps {
    authority: Authority,
    responder: Responder,
}

impl Stamps {
    fn new(now: i64) -> Self {
        let validity = Validity {
            not_before: now - DAY,
            not_after: now + 1000 * DAY,
        };
        let authority = Authority::generate("stamps", KeyAlgorithm::P256, validity).unwrap();
        let subject = Subject::TimestampAuthority { name: "stamps" };
        let shorter = Validity {
            not_after: validity.not_after - DAY,
            ..validity
        };
        let credential = authority
            .issue(subject, KeyAlgorithm::P256, shorter)
            .unwrap();
        let responder = Responder::new(credential, "1.2.3.4").unwrap();
        Self {
            authority,
            responder,
        }
    }

    fn list(&self, now: i64) -> Vec<u8> {
        let validity = Validity {
            not_before: now - HOUR,
            not_after: now + DAY,
        };
        self.authority.revocation_list(&[], 1, validity).unwrap()
    }
}

/// Signed by the signer outside, with a timestamp at `at`.
fn signed(outside: &Outside, stamps: &Stamps, at: i64) -> Vec<u8> {
    let signer = outside.signer();
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let request = SignRequest {
        signing_time: at,
        ..request("seller", &signer)
    };
    let mut pending = prepare(&pdf, &request).unwrap();
    let question = pending.timestamp_request([1; 16], None).unwrap();
    let answer = stamps.responder.respond(question.der(), at, [3; 16]);
    let timestamp = question.accept(&answer.unwrap()).unwrap();
    pending.set_timestamp(&timestamp).unwrap();
    pending.finish().unwrap()
}

fn question(outside: &Outside, nonce: Option<[u8; 16]>) -> OcspRequest {
    let (signer, root) = (outside.certificate("signer"), outside.certificate("root"));
    OcspRequest::new(&signer, &root, nonce).unwrap()
}

/// What is needed is known from the certificates; with it the signature lasts, to us and to pyHanko, without asking anybody.
#[test]
fn an_answer_in_the_document_makes_the_signature_last() {
    let outside = Outside::new();
    let now = outside.now;
    let stamps = Stamps::new(now);
    // The answer is from just before, as one that was fetched for another signature.
    let at = now + HOUR / 2;
    let pdf = signed(&outside, &stamps, at);
    let trust = Trust {
        timestamp_roots: vec![stamps.authority.certificate().to_vec()],
        ..outside.trust()
    };
    let needed = needed_evidence(&pdf, &trust).unwrap();
    assert_eq!(needed.len(), 2, "the signer's and the timestamp's");
    assert_eq!(needed[0].certificate, outside.certificate("signer"));
    assert_eq!(needed[0].ocsp, ["http://ocsp.outside.example/"]);
    assert_eq!(
        needed[0].revocation_lists,
        ["http://crl.outside.example/root.crl"]
    );
    assert!(needed[1].ocsp.is_empty());
    // Nobody is called whom a stranger's certificate names.
    assert!(needed_evidence(&pdf, &Trust::default()).unwrap().is_empty());

    let question =
        OcspRequest::new(&needed[0].certificate, &needed[0].issuer, Some([5; 16])).unwrap();
    let answer = outside.answer(question.der(), Standing::Good, By::Responder);
    let answer = question.accept(&answer, now).unwrap();
    assert_eq!(answer.revoked_at(), None);
    assert!(
        answer
            .next_update()
            .is_some_and(|next| next > now + 6 * DAY)
    );
    let evidence = Evidence {
        ocsp_responses: vec![answer.der().to_vec()],
        revocation_lists: vec![stamps.list(now)],
        ..Evidence::default()
    };
    let lasting = add_evidence(&pdf, &evidence).unwrap();
    let report = verify(&lasting, &trust, now + HOUR).unwrap();
    let signature = &report.signatures[0];
    assert_eq!(
        (signature.verdict, signature.level),
        (Verdict::Valid, Some(Level::BLT)),
        "{report:#?}"
    );
    assert_eq!(signature.revocation.status, RevocationStatus::Good);
    assert_eq!(signature.revocation.source, Some(RevocationSource::Ocsp));
    // What the document says nobody has to be asked for again, though its authority may be gone.
    assert!(needed_evidence(&lasting, &trust).unwrap().is_empty());
    // Without the timestamp authority's list, half of the evidence is missing.
    let half = Evidence {
        revocation_lists: Vec::new(),
        ..evidence
    };
    let half = add_evidence(&pdf, &half).unwrap();
    let still = needed_evidence(&half, &trust).unwrap();
    assert_eq!(still, [needed[1].clone()]);
    let half = verify(&half, &trust, now + HOUR).unwrap();
    assert_eq!(half.signatures[0].level, Some(Level::BT), "{half:#?}");
    // Over the newest timestamp nothing in the document is newer: its authority is asked whatever the document says.
    let pending = prepare_archive(&lasting).unwrap();
    let request = pending.timestamp_request([2; 16], None).unwrap();
    let answer = stamps.responder.respond(request.der(), at, [4; 16]);
    let archived = pending.finish(&request.accept(&answer.unwrap()).unwrap());
    let asked = needed_evidence(&archived.unwrap(), &trust).unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].certificate, needed[1].certificate);
    assert!(asked[0].of_newest_timestamp && !needed[1].of_newest_timestamp);

    let file = outside.desk.put("lasting.pdf", &lasting);
    let stamps_root = outside
        .desk
        .put("stamps.pem", stamps.authority.certificate_pem());
    let moment = jiff::Timestamp::from_millisecond(now + HOUR).unwrap();
    let moment = moment.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let root = outside.path("root.pem");
    let arguments = [
        "sign",
        "adesverify",
        "--no-strict-syntax",
        "--validation-time",
        &moment,
        "--trust",
        root.to_str().unwrap(),
        "--trust",
        stamps_root.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    let (passed, said) = judges::run("pyhanko", &arguments, "cargo xtask test");
    assert!(passed && said.contains(":INTACT:TRUSTED,"), "{said}");
    judges::qpdf_accepts(&file);
}

/// A revocation counts from its time.
#[test]
fn a_revocation_counts_from_its_time() {
    let outside = Outside::new();
    let now = outside.now;
    let stamps = Stamps::new(now);
    let trust = Trust {
        timestamp_roots: vec![stamps.authority.certificate().to_vec()],
        ..outside.trust()
    };
    let question = question(&outside, None);
    let answer = outside.answer(question.der(), Standing::Revoked, By::Root);
    let answer = question.accept(&answer, now).unwrap();
    let since = answer.revoked_at().unwrap();
    assert!((now - HOUR - 1000..=now - HOUR).contains(&since));
    let judged = |at| {
        let evidence = Evidence {
            ocsp_responses: vec![answer.der().to_vec()],
            ..Evidence::default()
        };
        let pdf = add_evidence(&signed(&outside, &stamps, at), &evidence).unwrap();
        let mut report = verify(&pdf, &trust, now + HOUR).unwrap();
        report.signatures.remove(0)
    };
    // OpenSSL's certificates begin now, so only what revocation says is looked at here.
    let after = judged(now);
    assert_eq!(after.revocation.status, RevocationStatus::Revoked);
    assert_eq!(after.revocation.revoked_at, Some(since));
    assert_eq!(after.verdict, Verdict::Invalid);
    let before = judged(now - 2 * HOUR);
    assert_eq!(before.revocation.status, RevocationStatus::RevokedLater);
    let of_revocation = before
        .findings
        .iter()
        .find(|finding| finding.code == Code::Revoked);
    assert!(of_revocation.is_some(), "{before:#?}");
}

/// An answer counts only for what was asked, from whom may say so, while it is current.
#[test]
fn other_answers_do_not_count() {
    let outside = Outside::new();
    let now = outside.now;
    let question = question(&outside, Some([5; 16]));
    let right = outside.answer(question.der(), Standing::Good, By::Responder);
    assert!(question.accept(&right, now).is_ok());

    let unknown = outside.answer(question.der(), Standing::Unknown, By::Responder);
    assert_eq!(question.accept(&unknown, now), Err(OcspError::Unknown));
    let usurped = outside.answer(question.der(), Standing::Good, By::Signer);
    assert!(matches!(
        question.accept(&usurped, now),
        Err(OcspError::Another(_))
    ));
    let other = OcspRequest::new(
        &outside.certificate("signer"),
        &outside.certificate("root"),
        Some([6; 16]),
    );
    assert!(matches!(
        other.unwrap().accept(&right, now),
        Err(OcspError::Another("its nonce is another"))
    ));
    let of_responder = OcspRequest::new(
        &outside.certificate("responder"),
        &outside.certificate("root"),
        None,
    );
    assert!(matches!(
        of_responder.unwrap().accept(&right, now),
        Err(OcspError::Another(_))
    ));
    for (moved, says) in [
        (-DAY, "it is from the future"),
        (8 * DAY, "it is out of date"),
    ] {
        assert_eq!(
            question.accept(&right, now + moved),
            Err(OcspError::Another(says))
        );
    }
    // It tells in the protocol's own words that it understands nothing.
    assert_eq!(
        question.accept(&[0x30, 3, 0x0a, 1, 1], now),
        Err(OcspError::Refused(1))
    );
    for garbage in [&b""[..], b"0", b"<html>502</html>", &vec![0x30; 1 << 20]] {
        assert_eq!(question.accept(garbage, now), Err(OcspError::Malformed));
    }
    // Any flipped byte is a flaw, or changes nothing that counts.
    for place in 0..right.len() {
        let mut flipped = right.clone();
        flipped[place] ^= 1;
        if let Ok(answer) = question.accept(&flipped, now) {
            assert_eq!(answer.revoked_at(), None);
        }
    }
    assert!(OcspRequest::new(b"?", b"?", None).is_err());
}
