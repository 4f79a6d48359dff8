//! Authorities, certificates and keys: kept, issued, read from files, and what OpenSSL makes of them.

use sealpost_pdf::{
    Authority, Credential, KeyAlgorithm, SignError, Subject, Trust, Verdict, add_fields, sign,
    verify,
};

use crate::{
    judges,
    parties::{AUTHORITY, BUYER, Desk, FLOW, NOW, SELLER, fields, request, trust, years},
    structures::{Sample, Structure},
};

#[test]
fn an_authority_and_its_credentials_survive_being_kept() {
    let authority = Authority::generate("kept", KeyAlgorithm::P256, years(20)).unwrap();
    let kept = Authority::load(&authority.to_pkcs8().unwrap(), authority.certificate()).unwrap();
    assert_eq!(kept.certificate(), authority.certificate());
    let subject = kept.subject();
    assert!(
        subject.contains("not a licensed CA / 非持牌电子认证机构"),
        "it says what it is not: {subject}"
    );
    for algorithm in [
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
        KeyAlgorithm::Rsa2048,
    ] {
        let issued = kept
            .issue(
                Subject::Person {
                    name: "李四",
                    flow: FLOW,
                },
                algorithm,
                years(1),
            )
            .unwrap();
        let loaded =
            Credential::from_pkcs8(&issued.to_pkcs8().unwrap(), issued.chain().to_vec()).unwrap();
        assert_eq!(
            (loaded.algorithm(), loaded.serial_hex()),
            (algorithm, issued.serial_hex())
        );
        assert_eq!(loaded.serial_hex().len(), 32);
        assert_eq!(loaded.validity(), years(1));
        let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        let signed = sign(&pdf, &request("buyer", &loaded)).unwrap();
        assert_eq!(
            verify(&signed, &Trust::roots([kept.certificate().to_vec()]), NOW)
                .unwrap()
                .verdict,
            Verdict::Valid
        );
    }
    let other = AUTHORITY
        .issue(
            Subject::Person {
                name: "李四",
                flow: FLOW,
            },
            KeyAlgorithm::P256,
            years(1),
        )
        .unwrap();
    let stolen = Credential::from_pkcs8(&other.to_pkcs8().unwrap(), BUYER.chain().to_vec());
    assert!(matches!(stolen, Err(SignError::Certificate(_))));
    assert!(matches!(
        Authority::load(&other.to_pkcs8().unwrap(), &other.chain()[0]),
        Err(SignError::Certificate(_))
    ));
    assert!(matches!(
        Credential::from_pkcs8(b"no key", Vec::new()),
        Err(SignError::Key(_))
    ));
}

#[test]
fn certificates_are_issued_for_fit_names_and_times_only() {
    let person = |name: &str| {
        AUTHORITY.issue(
            Subject::Person { name, flow: FLOW },
            KeyAlgorithm::P256,
            years(1),
        )
    };
    for name in [
        "张",
        "阿卜杜拉·买买提",
        "O'Neill, \"X\" + <y>; #z\\",
        &"长".repeat(64),
    ] {
        let issued = person(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
        let report = verify(
            &sign(&pdf, &request("buyer", &issued)).unwrap(),
            &trust(),
            NOW,
        )
        .unwrap();
        assert_eq!(
            report.signatures[0]
                .signer
                .as_ref()
                .unwrap()
                .common_name
                .as_deref(),
            Some(name)
        );
    }
    for name in ["", " 张三", "张\u{0}三", &"长".repeat(65)] {
        assert!(
            matches!(person(name), Err(SignError::Subject(_))),
            "{name:?}"
        );
    }
    let subject = Subject::Person {
        name: "张三",
        flow: FLOW,
    };
    assert!(matches!(
        AUTHORITY.issue(subject, KeyAlgorithm::P256, years(30)),
        Err(SignError::Certificate(_))
    ));
    let backwards = sealpost_pdf::Validity {
        not_before: NOW,
        not_after: NOW - 1000,
    };
    assert!(matches!(
        AUTHORITY.issue(subject, KeyAlgorithm::P256, backwards),
        Err(SignError::Time(_))
    ));
}

/// OpenSSL reads the certificates, and finds in them what readers look for.
#[test]
fn openssl_understands_the_certificates() {
    let desk = Desk::new();
    let leaf = desk.put("leaf.der", &SELLER.chain()[0]);
    let root = desk.root();
    let (_, text) = judges::run(
        "openssl",
        &[
            "x509",
            "-inform",
            "DER",
            "-in",
            leaf.to_str().unwrap(),
            "-noout",
            "-text",
            "-nameopt",
            "utf8",
        ],
        "apt-get install openssl",
    );
    for expected in [
        "Digital Signature, Non Repudiation",
        "CA:FALSE",
        "X509v3 Key Usage: critical",
        "上海某某置业有限公司",
        "E-mail Protection",
    ] {
        assert!(text.contains(expected), "{expected} is missing in:\n{text}");
    }
    let arguments = [
        "verify",
        "-x509_strict",
        "-purpose",
        "smimesign",
        "-attime",
        "1795514400",
        "-CAfile",
    ];
    let leaf_pem = desk.put("leaf.pem", {
        let (_, pem) = judges::run(
            "openssl",
            &["x509", "-inform", "DER", "-in", leaf.to_str().unwrap()],
            "",
        );
        pem
    });
    let arguments = [
        &arguments[..],
        &[root.to_str().unwrap(), leaf_pem.to_str().unwrap()],
    ]
    .concat();
    let (fine, text) = judges::run("openssl", &arguments, "apt-get install openssl");
    assert!(fine, "{text}");
}

/// How much work it is to open a file, its maker decides; more than is decent is refused before it is done.
#[test]
fn a_pkcs12_file_that_asks_for_too_much_is_not_opened() {
    const OPENSSL: &str = "apt-get install openssl";
    let desk = Desk::new();
    let key = desk.put("key.pem", "");
    let file = desk.put("key.p12", "");
    let (key, out) = (key.to_str().unwrap(), file.to_str().unwrap());
    let openssl = |arguments: &[&str]| {
        let (fine, text) = judges::run("openssl", arguments, OPENSSL);
        assert!(fine, "{arguments:?}: {text}");
    };
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        key,
    ]);
    let export = [
        "pkcs12", "-export", "-nocerts", "-inkey", key, "-out", out, "-passout", "pass:x",
    ];
    let many = "1000001";
    for (more, says) in [
        // The key's own, the digest's alone, and those of the older way.
        (&["-iter", many, "-nomac"][..], "iterations for one key"),
        (
            &["-maciter", "-iter", many, "-keypbe", "NONE"],
            "iterations for one key",
        ),
        (
            &[
                "-iter",
                many,
                "-nomac",
                "-legacy",
                "-keypbe",
                "PBE-SHA1-3DES",
            ],
            "iterations for one key",
        ),
    ] {
        openssl(&[&export[..], more].concat());
        let refused = Credential::from_pkcs12(&std::fs::read(&file).unwrap(), "x");
        let error = refused
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains(says) && error.contains("1000000"),
            "{more:?}: {error}"
        );
    }
    // Less than that is opened; and no certificate is in it.
    openssl(&[&export[..], &["-iter", "100000"]].concat());
    let opened = Credential::from_pkcs12(&std::fs::read(&file).unwrap(), "x");
    assert!(matches!(opened, Err(SignError::Certificate(_))));
    // scrypt takes memory: in the parameters of a file that OpenSSL wrote (N = 16384), N becomes 2^24.
    openssl(&[
        "pkcs8", "-topk8", "-in", key, "-out", out, "-outform", "DER", "-passout", "pass:x",
        "-scrypt",
    ]);
    let mut shrouded = std::fs::read(&file).unwrap();
    let at = shrouded
        .windows(4)
        .position(|octets| octets == [0x02, 0x02, 0x40, 0x00])
        .unwrap();
    shrouded[at..at + 4].copy_from_slice(&[0x02, 0x02, 0x7f, 0xff]);
    let mut many = Vec::new();
    for _ in 0..200 {
        many.extend_from_slice(&shrouded);
    }
    let mut file = vec![0x30, 0x83, 0, 0, 0];
    file[2..5].copy_from_slice(&u32::try_from(many.len()).unwrap().to_be_bytes()[1..]);
    file.extend(many);
    let refused = Credential::from_pkcs12(&file, "x")
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("for all keys"), "{refused}");
}

/// What certification authorities hand out, made by OpenSSL: with modern and with legacy protection, and every kind of key.
#[test]
fn keys_are_read_from_pkcs12_files() {
    const OPENSSL: &str = "apt-get install openssl";
    let desk = Desk::new();
    let root = desk.root();
    let pdf = add_fields(&Sample::one_page().write(Structure::Table), &fields()).unwrap();
    let mut files = Vec::new();
    for (algorithm, legacy) in [
        (KeyAlgorithm::P256, false),
        (KeyAlgorithm::P384, true),
        (KeyAlgorithm::Rsa2048, true),
        (KeyAlgorithm::Rsa4096, false),
    ] {
        let subject = Subject::Organization {
            name: "上海某某置业有限公司",
            credit_code: None,
        };
        let issued = AUTHORITY.issue(subject, algorithm, years(5)).unwrap();
        let key = desk.put("key.der", issued.to_pkcs8().unwrap());
        let (key_pem, leaf, leaf_pem, file) = (
            desk.put("key.pem", ""),
            desk.put("leaf.der", &issued.chain()[0]),
            desk.put("leaf.pem", ""),
            desk.put("key.p12", ""),
        );
        let path = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
        let openssl = |arguments: &[&str]| {
            let (fine, text) = judges::run("openssl", arguments, OPENSSL);
            assert!(fine, "{arguments:?}: {text}");
        };
        openssl(&[
            "pkey",
            "-inform",
            "DER",
            "-in",
            &path(&key),
            "-out",
            &path(&key_pem),
        ]);
        openssl(&[
            "x509",
            "-inform",
            "DER",
            "-in",
            &path(&leaf),
            "-out",
            &path(&leaf_pem),
        ]);
        let (key_pem, leaf_pem, root, out) =
            (path(&key_pem), path(&leaf_pem), path(&root), path(&file));
        let mut arguments = vec![
            "pkcs12",
            "-export",
            "-inkey",
            &key_pem,
            "-in",
            &leaf_pem,
            "-certfile",
            &root,
            "-out",
            &out,
            "-passout",
            "pass:密码 secret",
        ];
        if legacy {
            arguments.push("-legacy");
        }
        openssl(&arguments);

        let file = std::fs::read(&file).unwrap();
        let credential = Credential::from_pkcs12(&file, "密码 secret").unwrap();
        assert_eq!(credential.algorithm(), algorithm);
        assert_eq!(credential.chain(), issued.chain());
        for wrong in [
            Credential::from_pkcs12(&file, "guess"),
            Credential::from_pkcs12(&file[..99], "密码 secret"),
        ] {
            assert!(matches!(wrong, Err(SignError::Pkcs12)));
        }
        let signed = sign(&pdf, &request("seller", &credential)).unwrap();
        assert_eq!(
            verify(&signed, &trust(), NOW).unwrap().verdict,
            Verdict::Valid
        );
        files.push(desk.put(&format!("{algorithm:?}.pdf"), &signed));
    }
    let paths: Vec<_> = files.iter().map(std::path::PathBuf::as_path).collect();
    for (file, judged) in files.iter().zip(judges::pyhanko_all(&desk.root(), &paths)) {
        assert!(judged.unwrap()[0].valid, "{}", file.display());
        assert_eq!(judges::pdfsig_valid(file), 1, "{}", file.display());
    }
}
