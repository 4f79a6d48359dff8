//! SM2 with SM3: signatures judged by OpenSSL and by Bouncy Castle through PDFBox, and theirs by us.

use std::{path::Path, process::Command};

use sealpost_pdf::{
    Authority, Credential, KeyAlgorithm, SignRequest, Subject, Trust, Verdict, add_fields, sign,
    verify,
    verify::{Code, Level},
};

use crate::{
    judges,
    parties::{DAY, Desk, FLOW, NOW, fields, picture, request, years},
    structures::{STRUCTURES, Sample, Structure},
};

/// What OpenSSL has to be told, for it takes no user id for granted.
const USER: &str = "distid:1234567812345678";

struct Parties {
    authority: Authority,
    seller: Credential,
    buyer: Credential,
}

impl Parties {
    fn new() -> Self {
        let authority = Authority::generate("sm2", KeyAlgorithm::Sm2, years(20)).unwrap();
        let seller = Subject::Organization {
            name: "上海某某置业有限公司",
            credit_code: None,
        };
        let buyer = Subject::Person {
            name: "张三",
            flow: FLOW,
        };
        Self {
            seller: authority
                .issue(seller, KeyAlgorithm::Sm2, years(10))
                .unwrap(),
            buyer: authority
                .issue(buyer, KeyAlgorithm::Sm2, years(10))
                .unwrap(),
            authority,
        }
    }

    fn trust(&self) -> Trust {
        Trust::roots([self.authority.certificate().to_vec()])
    }

    fn sign_twice(&self, pdf: &[u8]) -> Vec<u8> {
        let picture = picture();
        let pdf = add_fields(pdf, &fields()).unwrap();
        let seller = SignRequest {
            appearance: Some(&picture),
            name: Some("seller"),
            ..request("seller", &self.seller)
        };
        let buyer = SignRequest {
            name: Some("buyer"),
            ..request("buyer", &self.buyer)
        };
        sign(&sign(&pdf, &seller).unwrap(), &buyer).unwrap()
    }
}

fn openssl(arguments: &[&str]) -> (bool, String) {
    judges::run("openssl", arguments, "apt-get install openssl")
}

/// What PDFBox and Bouncy Castle say of every signature of these files: their lines, split at the tabs.
fn pdfbox(root: &Path, files: &[&Path]) -> Vec<Vec<String>> {
    const INSTALL: &str = "apt-get install default-jdk-headless libbcpkix-java libpdfbox2-java";
    const JARS: [&str; 6] = [
        "bcprov",
        "bcpkix",
        "bcutil",
        "pdfbox2",
        "fontbox2",
        "commons-logging",
    ];
    let jars = JARS.map(|jar| format!("/usr/share/java/{jar}.jar"));
    for jar in &jars {
        assert!(
            Path::new(jar).exists(),
            "{jar} is missing; install it with: {INSTALL}"
        );
    }
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/PdfBoxJudge.java");
    let output = Command::new("java")
        .args(["-cp", &jars.join(":"), judge])
        .arg(root)
        .args(files)
        .output()
        .unwrap_or_else(|error| panic!("java cannot be run ({error}); install it: {INSTALL}"));
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{errors}");
    out.lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// Where the signature in `field`'s place is in the file, brackets left out, and the bytes that it is over.
fn contents(pdf: &[u8]) -> (std::ops::Range<usize>, Vec<u8>) {
    let key = b"/Contents <";
    let at = pdf.windows(key.len()).rposition(|window| window == key);
    let start = at.unwrap() + key.len();
    let end = start + pdf[start..].iter().position(|&byte| byte == b'>').unwrap();
    let signed = [&pdf[..start - 1], &pdf[end + 1..]].concat();
    (start..end, signed)
}

/// The signed attributes of a CMS structure as they are signed, and where its signature is, as OpenSSL reads it.
fn parts(desk: &Desk, cms: &[u8]) -> (Vec<u8>, std::ops::Range<usize>) {
    let file = desk.put("cms.der", cms);
    let (_, parsed) = openssl(&["asn1parse", "-inform", "DER", "-in", file.to_str().unwrap()]);
    // Where an element begins, and where its content is.
    let element = |line: &str| {
        let number = |after: &str| -> usize {
            let rest = line.split(after).nth(1).unwrap().trim_start();
            let digits = rest.split(|c: char| !c.is_ascii_digit());
            digits.take(1).collect::<String>().parse().unwrap()
        };
        let start: usize = line.split(':').next().unwrap().trim().parse().unwrap();
        let content = start + number("hl=");
        (start, content..content + number(" l="))
    };
    // The last octet string is the signature, and the last `[0]` before it has the attributes.
    let mut lines = parsed.lines().rev();
    let (_, signature) = element(lines.find(|line| line.contains("OCTET STRING")).unwrap());
    let (start, content) = element(lines.find(|line| line.contains("cont [ 0 ]")).unwrap());
    let mut attributes = cms[start..content.end].to_vec();
    attributes[0] = 0x31;
    (attributes, signature)
}

#[test]
fn an_sm2_receipt_is_valid_to_us_and_to_bouncy_castle_in_every_structure() {
    let parties = Parties::new();
    let desk = Desk::new();
    let root = desk.put("root.pem", parties.authority.certificate_pem());
    let mut files = Vec::new();
    for structure in STRUCTURES {
        let pdf = parties.sign_twice(&Sample::one_page().write(structure));
        let report = verify(&pdf, &parties.trust(), NOW + DAY).unwrap();
        assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
        for signature in &report.signatures {
            assert_eq!(signature.digest_algorithm, "sm3");
            assert_eq!(signature.signature_algorithm, "sm2");
            assert_eq!(signature.level, Some(Level::BB));
        }
        let file = desk.put(&format!("{structure:?}.pdf"), &pdf);
        judges::qpdf_accepts(&file);
        judges::mutool_draws(&file);
        files.push(file);
    }
    // The same file with another page in it than was signed, and one by somebody else's authority.
    let mut tampered = std::fs::read(&files[0]).unwrap();
    let at = tampered.windows(6).position(|window| window == b"595.30");
    tampered[at.unwrap()] = b'6';
    files.push(desk.put("tampered.pdf", &tampered));
    let other = Parties::new();
    let foreign = other.sign_twice(&Sample::one_page().write(Structure::Table));
    files.push(desk.put("foreign.pdf", &foreign));

    let report = verify(&tampered, &parties.trust(), NOW + DAY).unwrap();
    assert_eq!(report.verdict, Verdict::Invalid);
    assert!(report.signatures.iter().all(|signature| {
        let mut findings = signature.findings.iter();
        findings.any(|finding| finding.code == Code::DigestMismatch)
    }));
    let report = verify(&foreign, &parties.trust(), NOW + DAY).unwrap();
    assert_eq!(report.verdict, Verdict::Indeterminate, "{report:#?}");

    let paths: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    let judged = pdfbox(&root, &paths);
    assert_eq!(judged.len(), 2 * files.len(), "{judged:?}");
    for line in &judged {
        let (intact, trusted) = match line[0].rsplit('/').next().unwrap() {
            "tampered.pdf" => ("broken", "trusted"),
            "foreign.pdf" => ("intact", "untrusted"),
            _ => ("intact", "trusted"),
        };
        assert_eq!((&*line[2], &*line[3]), (intact, trusted), "{line:?}");
        assert_eq!(
            line[4],
            "1.2.156.10197.1.401 with 1.2.156.10197.1.501, certificate SM3WITHSM2"
        );
    }
}

#[test]
fn openssl_verifies_our_chain_and_our_signature() {
    let parties = Parties::new();
    let desk = Desk::new();
    let root = desk.put("root.pem", parties.authority.certificate_pem());
    let leaf = desk.put("leaf.der", &parties.seller.chain()[0]);
    let (root, leaf) = (root.to_str().unwrap(), leaf.to_str().unwrap());
    let (fine, said) = openssl(&["verify", "-vfyopt", USER, "-CAfile", root, leaf]);
    assert!(fine, "{said}");
    let (_, said) = openssl(&["x509", "-noout", "-text", "-in", leaf]);
    assert!(
        said.contains("Signature Algorithm: SM2-with-SM3") && said.contains("ASN1 OID: SM2"),
        "{said}"
    );

    // `openssl cms` of 3.0 has no way to state the user id (and cannot write such a structure itself), so the parts are verified:
    // the digest of the document in the signed attributes, and the signature over these.
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let pdf = sign(&pdf, &request("seller", &parties.seller)).unwrap();
    let (place, signed) = contents(&pdf);
    let cms = hex::decode(&pdf[place]).unwrap();
    let (attributes, signature) = parts(&desk, &cms);
    let content = desk.put("content", signed);
    let (_, digest) = openssl(&["dgst", "-sm3", "-r", content.to_str().unwrap()]);
    let digest = hex::decode(digest.split(' ').next().unwrap()).unwrap();
    assert!(attributes.windows(32).any(|window| window == digest));
    let signature = desk.put("signature", &cms[signature]);
    let attributes = desk.put("attributes", attributes);

    let key = desk.put("key.pem", "");
    let key = key.to_str().unwrap();
    let (fine, said) = openssl(&["x509", "-pubkey", "-noout", "-in", leaf, "-out", key]);
    assert!(fine, "{said}");
    let arguments = [
        "dgst",
        "-sm3",
        "-sigopt",
        USER,
        "-verify",
        key,
        "-signature",
    ];
    let files = [signature.to_str().unwrap(), attributes.to_str().unwrap()];
    let (fine, said) = openssl(&[&arguments[..], &files].concat());
    assert!(fine && said.contains("Verified OK"), "{said}");
}

#[test]
fn a_key_and_a_signature_of_openssl_are_taken() {
    let desk = Desk::new();
    let path = |name: &str| desk.put(name, "").to_str().unwrap().to_owned();
    let (key, certificate, p12) = (path("key.pem"), path("cert.pem"), path("seal.p12"));
    let made = [
        vec![
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:SM2",
            "-out",
            &key,
        ],
        vec![
            "req",
            "-x509",
            "-new",
            "-sm3",
            "-sigopt",
            USER,
            "-key",
            &key,
            "-out",
            &certificate,
            "-subj",
            "/C=CN/O=Shanghai/CN=Seal",
            "-days",
            "3650",
            "-addext",
            "keyUsage=critical,digitalSignature,nonRepudiation",
        ],
        vec![
            "pkcs12",
            "-export",
            "-inkey",
            &key,
            "-in",
            &certificate,
            "-out",
            &p12,
            "-passout",
            "pass:secret",
        ],
    ];
    for arguments in made {
        let (fine, said) = openssl(&arguments);
        assert!(fine, "{arguments:?}: {said}");
    }
    let credential = Credential::from_pkcs12(&std::fs::read(&p12).unwrap(), "secret").unwrap();
    assert_eq!(credential.algorithm(), KeyAlgorithm::Sm2);
    let trust = Trust::roots([credential.chain()[0].clone()]);
    let validity = credential.validity();
    let now = validity.not_before + DAY;

    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let ours = SignRequest {
        signing_time: now,
        ..request("seller", &credential)
    };
    let mut pdf = sign(&pdf, &ours).unwrap();
    let report = verify(&pdf, &trust, now).unwrap();
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");

    // OpenSSL's own signature in the place of ours; each is 70 to 72 bytes long, so one of the same length comes soon.
    let (place, _) = contents(&pdf);
    let cms = hex::decode(&pdf[place.clone()]).unwrap();
    let (attributes, signature) = parts(&desk, &cms);
    let attributes = desk.put("attributes", attributes);
    let out = path("signature");
    let arguments = [
        "dgst",
        "-sm3",
        "-sigopt",
        USER,
        "-sign",
        &key,
        "-out",
        &out,
        attributes.to_str().unwrap(),
    ];
    let theirs = (0..200).find_map(|_| {
        let (fine, said) = openssl(&arguments);
        assert!(fine, "{said}");
        let theirs = std::fs::read(&out).unwrap();
        (theirs.len() == signature.len()).then_some(theirs)
    });
    let at = place.start + 2 * signature.start;
    let digits = hex::encode(theirs.unwrap());
    pdf[at..at + digits.len()].copy_from_slice(digits.as_bytes());
    let report = verify(&pdf, &trust, now).unwrap();
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
    assert_eq!(report.signatures[0].signature_algorithm, "sm2");
    // One digit of it changed.
    let last = &mut pdf[at + digits.len() - 1];
    *last = if *last == b'0' { b'1' } else { b'0' };
    let report = verify(&pdf, &trust, now).unwrap();
    let mut findings = report.signatures[0].findings.iter();
    assert!(findings.any(|finding| finding.code == Code::SignatureMismatch));
}
