//! Reading a long document on a phone: pages that are sharp only while they are near, the place to sign, pinching and turning.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::accessibility;
use super::browser::{DESK, PHONE};
use super::buyer::Buyer;
use crate::support::TestApp;

/// A contract of this many pages, each with its number on it.
fn contract(pages: usize) -> Vec<u8> {
    let kids: Vec<String> = (0..pages)
        .map(|page| format!("{} 0 R", 4 + page * 2))
        .collect();
    let mut objects = vec![
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        format!("<</Type/Pages/Kids[{}]/Count {pages}>>", kids.join(" ")),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
    ];
    for page in 0..pages {
        objects.push(format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {} 0 R/Resources<</Font<</F 3 0 R>>>>>>",
            5 + page * 2
        ));
        let mut content = format!("BT /F 40 Tf 60 740 Td (Page {}) Tj /F 11 Tf", page + 1);
        for line in 1..40 {
            content += &format!(
                " 0 -16 Td ({line}. The buyer and the seller have agreed on what stands here.) Tj"
            );
        }
        content += " ET";
        objects.push(format!(
            "<</Length {}>>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    let mut pdf = b"%PDF-1.7\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in (1..).zip(&objects) {
        table += &format!("{:010} 00000 n \n", pdf.len());
        pdf.extend_from_slice(format!("{number} 0 obj\n{object}\nendobj\n").as_bytes());
    }
    let (start, size) = (pdf.len(), objects.len() + 1);
    let end = format!("{table}trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n");
    pdf.extend_from_slice(end.as_bytes());
    pdf
}

/// How many of the pages are sharp.
const SHARP: &str = "return document.querySelectorAll('.sheet img[srcset]').length;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_pages_are_read_on_a_phone() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    let request = json!({
        "reference": "HT-60",
        "title": "商品房买卖合同",
        "document": { "pdf_base64": STANDARD.encode(contract(60)) },
        "signers": [{ "type": "person", "name": "张三", "place": { "page": 57, "rect": [300, 100, 460, 160] } }],
    });
    let flow = channel.create_flow(request).await;
    let buyer = Buyer::at(&app.signer("张三"), PHONE).await;
    let phone = &buyer.browser;

    // At once the first page, small; then sharp. The others wait until they are near.
    phone.see("#page-1 img[srcset]").await;
    assert!(phone.run(SHARP, vec![]).await.as_u64().unwrap() < 6);
    let loaded = "return performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/pages/')).length;";
    assert!(phone.run(loaded, vec![]).await.as_u64().unwrap() < 30);
    phone.picture("phone-zh-long-1-top").await;

    // One tap leads to the place to sign, and what was left behind is small again.
    assert!(phone.text(".jump").await.contains("57"));
    phone.click(".jump").await;
    phone.see("#page-57 img[srcset]").await;
    phone.see("#page-1 img:not([srcset])").await;
    assert!(phone.run(SHARP, vec![]).await.as_u64().unwrap() < 12);
    phone.picture("phone-zh-long-2-place").await;

    // Closely: two fingers, sharper then, and the page before and after.
    phone.click("#page-57").await;
    phone.reads("#viewer-page", "57 / 60").await;
    let width = "return document.getElementById('viewer-image').getBoundingClientRect().width;";
    let before = phone.run(width, vec![]).await.as_f64().unwrap();
    phone.spread("#viewer-scroll").await;
    let after = phone.run(width, vec![]).await.as_f64().unwrap();
    assert!(after > before * 1.3, "{before} became {after}");
    phone.see("#viewer-image[src$='width=2000']").await;
    phone.picture("phone-zh-long-3-pinched").await;
    phone.pinch("#viewer-scroll").await;
    assert!(phone.run(width, vec![]).await.as_f64().unwrap() < after);
    accessibility::check(phone, "the enlarged page").await;
    phone.click("#viewer-next").await;
    phone.reads("#viewer-page", "58 / 60").await;
    phone.click("#viewer-before").await;
    phone.click("#viewer-before").await;
    phone.reads("#viewer-page", "56 / 60").await;
    phone.click("#viewer [data-close]").await;

    buyer.draws_and_agrees().await;
    phone.picture("phone-zh-long-4-confirm").await;
    buyer.confirms().await;
    buyer.sees("completed").await;
    channel.show_in(&flow, "completed").await;
    buyer.leaves().await;
    app.stop().await;
}

/// At a desk a click enlarges and another shows the whole page again; so do the keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_read_closely_at_a_desk() {
    let app = TestApp::start().await;
    let channel = app.channel("链家").await;
    channel
        .create_flow(crate::support::receipt_for(&["张三"]))
        .await;
    let buyer = Buyer::at(&app.signer("张三"), DESK).await;
    let desk = &buyer.browser;
    let width = "return document.getElementById('viewer-image').getBoundingClientRect().width;";
    let shown = async || desk.run(width, vec![]).await.as_f64().unwrap();
    desk.click(".sheet").await;
    desk.see("#viewer-image").await;
    let whole = shown().await;
    desk.click("#viewer-image").await;
    assert!(shown().await > whole * 2.0);
    desk.picture("desk-zh-6-enlarged").await;
    desk.run("document.getElementById('viewer-scroll').focus();", vec![])
        .await;
    desk.press("0").await;
    assert_eq!(shown().await, whole);
    desk.press("+").await;
    assert!(shown().await > whole * 1.5);
    buyer.leaves().await;
    app.stop().await;
}
