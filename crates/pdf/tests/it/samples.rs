//! The receipt that the tests draw.

use sealpost_pdf::{DrawMeta, PlaceKind, Receipt, SignerLabel};
use serde_json::Value;

/// The sample that the example and the bench draw, too.
pub(crate) fn receipt_json() -> Value {
    serde_json::from_str(include_str!("../../examples/receipt.json")).unwrap()
}

pub(crate) fn receipt() -> Receipt {
    Receipt::parse(&receipt_json()).unwrap()
}

/// The seller seals first, then the buyer signs.
pub(crate) fn signers() -> Vec<SignerLabel> {
    vec![
        signer(1, "杭州翡翠湾房地产开发有限公司", PlaceKind::Seal),
        signer(2, "张三", PlaceKind::Signature),
    ]
}

pub(crate) fn signer(number: u32, name: &str, kind: PlaceKind) -> SignerLabel {
    SignerLabel {
        signer: number,
        name: name.to_owned(),
        kind,
    }
}

pub(crate) fn meta() -> DrawMeta {
    DrawMeta {
        flow_id: "587a2f4738d44391835198df570b6ee6".to_owned(),
        drawn_at: 1_795_540_800_000,
        verify_url: Some("https://sign.example.com/verify".to_owned()),
    }
}
