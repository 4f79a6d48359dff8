//! The people of the stories: a built-in authority, an organization and a person, and a folder where judges find files.

use std::path::PathBuf;
use std::sync::LazyLock;

use sealpost_pdf::{
    Appearance, Authority, Credential, Field, KeyAlgorithm, SignRequest, Subject, Trust, Validity,
    add_fields, sign,
};

/// 2026-11-24 18:00:00 in Shanghai.
pub(crate) const NOW: i64 = 1_795_514_400_000;
pub(crate) const DAY: i64 = 24 * 3_600_000;
pub(crate) const FLOW: &str = "587a2f4738d44391835198df570b6ee6";

pub(crate) fn years(count: i64) -> Validity {
    Validity {
        not_before: NOW - DAY,
        not_after: NOW + count * 365 * DAY,
    }
}

/// One authority for all tests with P-256 keys, because its making is not what they are about.
pub(crate) static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::generate("test", KeyAlgorithm::P256, years(20)).unwrap());
pub(crate) static SELLER: LazyLock<Credential> = LazyLock::new(|| {
    let subject = Subject::Organization {
        name: "上海某某置业有限公司",
        credit_code: Some("91310000MA1FL00X0X"),
    };
    AUTHORITY
        .issue(subject, KeyAlgorithm::P256, years(10))
        .unwrap()
});
pub(crate) static BUYER: LazyLock<Credential> = LazyLock::new(|| {
    AUTHORITY
        .issue(
            Subject::Person {
                name: "张三",
                flow: FLOW,
            },
            KeyAlgorithm::P256,
            years(10),
        )
        .unwrap()
});

pub(crate) fn trust() -> Trust {
    Trust::roots([AUTHORITY.certificate().to_vec()])
}

/// Two fields at the foot of the first page.
pub(crate) fn fields() -> Vec<Field> {
    let field = |name: &str, left: f64| Field {
        name: name.to_owned(),
        page: 0,
        rect: [left, 100.0, left + 120.0, 220.0],
    };
    vec![field("seller", 60.0), field("buyer", 300.0)]
}

pub(crate) fn request<'a>(field: &'a str, credential: &'a Credential) -> SignRequest<'a> {
    SignRequest {
        field,
        appearance: None,
        credential,
        signing_time: NOW,
        zone_minutes: 480,
        reason: None,
        location: None,
        name: None,
    }
}

/// A red cross.
pub(crate) fn picture() -> Appearance {
    Appearance {
        width_pt: 100.0,
        height_pt: 100.0,
        content: b"0.8 0.1 0.1 RG 4 w 10 10 m 90 90 l 10 90 m 90 10 l S".to_vec(),
        images: Vec::new(),
    }
}

/// The document with both fields, signed by the seller and then by the buyer.
pub(crate) fn signed_twice(pdf: &[u8]) -> Vec<u8> {
    let picture = picture();
    let pdf = add_fields(pdf, &fields()).unwrap();
    let pdf = sign(
        &pdf,
        &SignRequest {
            appearance: Some(&picture),
            ..request("seller", &SELLER)
        },
    )
    .unwrap();
    sign(
        &pdf,
        &SignRequest {
            appearance: Some(&picture),
            ..request("buyer", &BUYER)
        },
    )
    .unwrap()
}

/// A folder of its own for the files of one test.
pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    /// The root's certificate of the authority for all.
    pub(crate) fn root(&self) -> PathBuf {
        self.put("root.pem", AUTHORITY.certificate_pem())
    }
}
