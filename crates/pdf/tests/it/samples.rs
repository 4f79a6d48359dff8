//! The receipt that the tests draw.

use sealpost_pdf::{DrawMeta, PlaceKind, Receipt, SignerLabel};
use serde_json::{Value, json};

pub(crate) fn receipt_json() -> Value {
    json!({
        "number": "XF-2026-0001873",
        "issued_on": "2026-11-24",
        "project": "翡翠湾花园",
        "building": "3 号楼",
        "unit": "2 单元",
        "room": "1801 室",
        "contract_number": "HT-2026-FCW-03-1801",
        "payer": {"name": "张三", "id_number": "110101199003071234"},
        "item": "首付款",
        "amount_fen": 164_090_250,
        "payment_method": "银行转账",
        "transaction_number": "2026112410293847561029",
        "payee": "杭州翡翠湾房地产开发有限公司",
        "supervised_account": "商品房预售资金监管专户 3305 0161 7230 0000 1234",
        "handler": "李晓梅",
        "note": "本款项已进入商品房预售资金监管账户。"
    })
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
