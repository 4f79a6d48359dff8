//! What the server keeps beside a flow: what the paper says, for pages and the API, and how signers are reached.

use sealpost_flow::{Method, Party, Place, Signer};
use sealpost_pdf::render::PageFrame;
use sealpost_pdf::{Receipt, rmb};
use sealpost_store::Labels;
use serde::{Deserialize, Serialize};

use super::seals::Seal;
use super::view::Fact;

/// Kept as JSON in the store with the flow. Identity numbers are masked before they come here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Details {
    /// What the receipt says: member and value, in the order of the paper.
    #[serde(default)]
    pub(crate) facts: Vec<(String, String)>,
    /// Pages of the document.
    pub(crate) pages: u32,
    /// Where the places to sign are seen.
    #[serde(default)]
    pub(crate) layout: Layout,
    /// What each signer leaves in the document, in the order of their numbers; flows from before this was kept have none.
    #[serde(default)]
    pub(crate) marks: Vec<Mark>,
    /// Whether signatures must be drawn; otherwise they may be typed.
    #[serde(default)]
    pub(crate) drawn_only: bool,
    /// How signers are reached; those without a contact are not in it.
    #[serde(default)]
    pub(crate) contacts: Vec<KeptContact>,
}

/// What one signer leaves in the document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The signature fields of the PDF that are signed, the main one first.
    pub(crate) fields: Vec<String>,
    /// The seal that they show; a person without one signs by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seal: Option<Seal>,
}

/// How one signer is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptContact {
    /// The signer's number.
    pub(crate) signer: u8,
    /// The contact, encrypted, in base64.
    pub(crate) sealed: String,
    /// The contact as people may see it.
    pub(crate) masked: String,
    /// Which way messages go there.
    pub(crate) method: Method,
    /// Whether the signer must enter a code that is sent there.
    pub(crate) code: bool,
}

/// The pages as they are shown, in points.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Width and height of each page; of the first [`LAID_OUT`] only.
    pub(crate) sizes: Vec<[f32; 2]>,
    /// The place of each signer: left, top, width and height from the upper left corner of its page.
    pub(crate) places: Vec<[f32; 4]>,
}

/// More pages than these are not shown one by one.
const LAID_OUT: usize = 100;

/// The members of a receipt in the order of the paper, with their names.
const LABELS: [(&str, &str, &str); 18] = [
    ("number", "编号", "Number"),
    ("issued_on", "开具日期", "Issued on"),
    ("project", "项目名称", "Project"),
    ("building", "楼栋", "Building"),
    ("unit", "单元", "Unit"),
    ("room", "房号", "Room"),
    ("contract_number", "合同编号", "Contract"),
    ("payer", "交款人", "Payer"),
    ("id_number", "证件号码", "Identity number"),
    ("item", "款项名称", "For"),
    ("amount_fen", "金额", "Amount"),
    ("amount_capitals", "大写", "In capitals"),
    ("payment_method", "收款方式", "Paid by"),
    ("transaction_number", "交易流水", "Transaction"),
    ("payee", "收款单位", "Payee"),
    ("supervised_account", "监管账户", "Supervised account"),
    ("handler", "经办人", "Handled by"),
    ("note", "备注", "Note"),
];

impl Mark {
    /// Where nothing else is kept: one field, and an organization's finance seal.
    fn usual(signer: &Signer) -> Self {
        Self {
            fields: vec![format!("sealpost-signer-{}", signer.no)],
            seal: match &signer.party {
                Party::Person { .. } => None,
                Party::Organization { name, .. } => Some(Seal::Finance {
                    organization: name.clone(),
                }),
            },
        }
    }
}

impl Layout {
    /// Of pages and the signers' places on them.
    pub(crate) fn of(frames: &[PageFrame], places: &[Place]) -> Self {
        let locate = |place: &Place| {
            let frame = frames.get(place.page.saturating_sub(1) as usize);
            frame.map_or([0.0; 4], |frame| frame.locate(place.rect.map(f64::from)))
        };
        Self {
            sizes: frames
                .iter()
                .take(LAID_OUT)
                .map(|frame| [frame.width, frame.height])
                .collect(),
            places: places.iter().map(locate).collect(),
        }
    }
}

impl Details {
    /// Of a drawn receipt.
    pub(crate) fn of_receipt(receipt: &Receipt, pages: u32, layout: Layout) -> Self {
        let value = |member: &str| match member {
            "number" => Some(receipt.number.clone()),
            "issued_on" => Some(receipt.issued_on.to_string()),
            "project" => Some(receipt.project.clone()),
            "building" => receipt.building.clone(),
            "unit" => receipt.unit.clone(),
            "room" => receipt.room.clone(),
            "contract_number" => receipt.contract_number.clone(),
            "payer" => Some(receipt.payer.name.clone()),
            "id_number" => receipt.payer.id_number.clone(),
            "item" => Some(receipt.item.clone()),
            "amount_fen" => Some(rmb::figures(receipt.amount_fen)),
            "amount_capitals" => Some(rmb::capitals(receipt.amount_fen)),
            "payment_method" => receipt.payment_method.clone(),
            "transaction_number" => receipt.transaction_number.clone(),
            "payee" => Some(receipt.payee.clone()),
            "supervised_account" => receipt.supervised_account.clone(),
            "handler" => receipt.handler.clone(),
            "note" => receipt.note.clone(),
            _ => None,
        };
        let facts = LABELS
            .iter()
            .filter_map(|(member, ..)| Some(((*member).to_owned(), value(member)?)))
            .collect();
        Self {
            facts,
            pages,
            layout,
            marks: Vec::new(),
            drawn_only: false,
            contacts: Vec::new(),
        }
    }

    /// Whether the document is a receipt that was drawn here.
    pub(crate) fn is_receipt(&self) -> bool {
        !self.facts.is_empty()
    }

    /// What a signer leaves in the document.
    pub(crate) fn mark_of(&self, signer: &Signer) -> Mark {
        let kept = usize::from(signer.no).checked_sub(1);
        kept.and_then(|at| self.marks.get(at))
            .cloned()
            .unwrap_or_else(|| Mark::usual(signer))
    }

    /// How a signer is reached.
    pub(crate) fn contact_of(&self, signer: u8) -> Option<&KeptContact> {
        self.contacts
            .iter()
            .find(|contact| contact.signer == signer)
    }

    /// As kept; what cannot be read is as good as nothing, because nothing depends on it but what people are shown.
    pub(crate) fn parse(json: Option<&str>) -> Self {
        json.and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default()
    }

    /// To be kept.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// With their names, for people.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let fact = |(member, value): &(String, String)| {
            let (key, label_zh, label_en) =
                LABELS.into_iter().find(|(known, ..)| known == member)?;
            Some(Fact {
                key,
                label_zh,
                label_en,
                value: value.clone(),
            })
        };
        self.facts.iter().filter_map(fact).collect()
    }
}

/// By what a person finds the flow of a receipt.
pub(crate) fn labels(receipt: &Receipt) -> Labels {
    let room: Vec<&str> = [&receipt.building, &receipt.unit, &receipt.room]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    Labels {
        project: Some(receipt.project.clone()),
        room: (!room.is_empty()).then(|| room.join(" ")),
        payer_masked: Some(masked_name(&receipt.payer.name)),
    }
}

/// The first character of a person's name; a longer one keeps its last, too: 张三 is 张*, 欧阳娜娜 is 欧**娜.
fn masked_name(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    match characters.as_slice() {
        [] => String::new(),
        [only] => only.to_string(),
        [first, _] => format!("{first}*"),
        [first, middle @ .., last] => format!("{first}{}{last}", "*".repeat(middle.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_masked_but_for_their_ends() {
        for (name, masked) in [
            ("张三", "张*"),
            ("欧阳娜娜", "欧**娜"),
            ("王小明", "王*明"),
            ("李", "李"),
            ("", ""),
        ] {
            assert_eq!(masked_name(name), masked);
        }
    }
}
