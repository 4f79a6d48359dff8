//! A receipt for money paid for a new home (新房收据): its fields, their limits, and how it is read from JSON.
//!
//! A [`Receipt`] that exists is valid and can be drawn; [`Receipt::parse`] is the only way to make one. The payer's identity
//! number is masked while it is read: the full number is never kept.

use jiff::civil::Date;
use serde::Serialize;
use serde_json::Value;

/// A valid receipt. Texts are within their limits, free of control characters, and can be drawn with our fonts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Receipt {
    /// Number printed as 编号. At most 32 characters.
    pub number: String,
    /// Day of issue, `YYYY-MM-DD`.
    pub issued_on: Date,
    /// Name of the housing project. At most 64 characters.
    pub project: String,
    /// Building (楼栋). At most 32 characters.
    pub building: Option<String>,
    /// Unit (单元). At most 16 characters.
    pub unit: Option<String>,
    /// Room (房号). At most 32 characters.
    pub room: Option<String>,
    /// Number of the purchase contract. At most 64 characters.
    pub contract_number: Option<String>,
    /// Who paid.
    pub payer: Payer,
    /// What was paid for: 定金, 首付款, 房款, 维修基金, … At most 32 characters.
    pub item: String,
    /// The amount in fen, 1 to [`Receipt::MAX_AMOUNT_FEN`].
    pub amount_fen: u64,
    /// How it was paid (银行转账, POS 刷卡, …). At most 32 characters.
    pub payment_method: Option<String>,
    /// The bank's number of the payment. At most 64 characters.
    pub transaction_number: Option<String>,
    /// Who received the money; the organization that seals. At most 64 characters.
    pub payee: String,
    /// The supervised account (监管账户) the money went to. At most 96 characters.
    pub supervised_account: Option<String>,
    /// Who handled it (经办人). At most 32 characters.
    pub handler: Option<String>,
    /// A note. At most 200 characters.
    pub note: Option<String>,
}

/// Who paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Payer {
    /// Name of the person or the organization. At most 64 characters.
    pub name: String,
    /// The identity number, already masked, as in `110***********1234`.
    pub id_number: Option<String>,
}

/// Why a field was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field within the receipt, as in `payer.name`; empty for the receipt itself.
    pub field: String,
    /// A stable code: `missing`, `unknown_field`, `wrong_type`, `empty`, `too_long`, `out_of_range`, `bad_format`,
    /// `control_character` or `missing_glyph`.
    pub code: &'static str,
    /// What is wrong and what the limit is, in English. Never repeats an identity number.
    pub message: String,
}

impl Receipt {
    /// The largest amount: 9,999,999,999.99 yuan, in fen.
    pub const MAX_AMOUNT_FEN: u64 = 999_999_999_999;

    /// Reads a receipt from its JSON.
    ///
    /// # Errors
    /// All that is wrong with it, field by field, in the order of the fields; unknown fields last.
    pub fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let _ = value;
        Err(Vec::new())
    }
}
