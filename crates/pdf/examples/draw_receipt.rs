//! Draws a sample receipt: `cargo run -p sealpost-pdf --example draw_receipt -- FOLDER` writes `receipt.pdf`, the void and preview
//! copies of it, and its page as `receipt.png`.

use std::error::Error;
use std::path::PathBuf;

use sealpost_pdf::{DrawMeta, PlaceKind, Receipt, SignerLabel, Void, VoidKind, draw, mark, render};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let receipt = Receipt::parse(&json!({
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
        "supervised_account": "中国建设银行杭州分行 3305 0161 7230 0000 1234",
        "handler": "李晓梅",
        "note": "本款项已进入商品房预售资金监管账户。"
    }))
    .map_err(|errors| format!("{errors:?}"))?;
    let signers = [
        SignerLabel {
            signer: 1,
            name: receipt.payee.clone(),
            kind: PlaceKind::Seal,
        },
        SignerLabel {
            signer: 2,
            name: receipt.payer.name.clone(),
            kind: PlaceKind::Signature,
        },
    ];
    let meta = DrawMeta {
        flow_id: "587a2f4738d44391835198df570b6ee6".to_owned(),
        drawn_at: 1_795_540_800_000,
        verify_url: Some("https://sign.example.com/verify".to_owned()),
    };
    let drawn = draw(&receipt, &signers, &meta)?;
    for place in &drawn.places {
        println!("{place:?}");
    }
    let void = Void {
        kind: VoidKind::Revoked,
        flow_id: meta.flow_id,
        ended: "2026-11-24 18:24:29".to_owned(),
    };
    for (name, bytes) in [
        ("receipt.pdf", &drawn.pdf),
        ("void.pdf", &mark::void_copy(&drawn.pdf, &void)?),
        ("preview.pdf", &mark::preview_copy(&drawn.pdf)?),
        ("receipt.png", &render::page_png(&drawn.pdf, 0, 1200)?),
    ] {
        std::fs::write(folder.join(name), bytes)?;
        println!("{name}: {} bytes", bytes.len());
    }
    Ok(())
}
