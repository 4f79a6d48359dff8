//! A receipt for money paid for a new home (新房收据): its fields, their limits, and how it is read from JSON.
//!
//! A [`Receipt`] that exists is valid and can be drawn; [`Receipt::parse`] is the only way to make one. The payer's identity
//! number is masked while it is read: the full number is never kept.

use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::font;

/// A valid receipt. Texts are within their limits, free of control characters, and can be drawn with our fonts. Lengths
/// count characters (Unicode scalar values).
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
    /// The identity number, already masked, as in `110***********1234`. 5 to 32 characters.
    pub id_number: Option<String>,
}

/// Why a field was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field within the receipt, as in `payer.name`; empty for the receipt itself.
    pub field: String,
    /// A stable code: `missing`, `unknown_field`, `wrong_type`, `empty`, `too_short`, `too_long`, `out_of_range`,
    /// `bad_format`, `control_character` or `missing_glyph`.
    pub code: &'static str,
    /// What is wrong and what the limit is, in English. Never repeats an identity number.
    pub message: String,
    /// The limit that was broken, when there is one: characters, or fen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// The most errors that are reported at once.
const MAX_ERRORS: usize = 50;

impl Receipt {
    /// The largest amount: 9,999,999,999.99 yuan, in fen.
    pub const MAX_AMOUNT_FEN: u64 = 999_999_999_999;

    /// Reads a receipt from its JSON. A member that is `null` counts as absent; blanks around a text are cut off.
    ///
    /// # Errors
    /// All that is wrong with it (up to 50 errors), in the order of the fields; unknown fields last.
    pub fn parse(value: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let receipt = read(value, &mut errors);
        match receipt {
            Some(receipt) if errors.is_empty() => Ok(receipt),
            _ => {
                errors.truncate(MAX_ERRORS);
                Err(errors)
            }
        }
    }
}

fn read(value: &Value, errors: &mut Vec<FieldError>) -> Option<Receipt> {
    let mut fields = Fields::open(value, "", errors)?;
    let number = fields.text("number", 32);
    let issued_on = fields.date("issued_on");
    let project = fields.text("project", 64);
    let building = fields.optional_text("building", 32);
    let unit = fields.optional_text("unit", 16);
    let room = fields.optional_text("room", 32);
    let contract_number = fields.optional_text("contract_number", 64);
    let payer = fields.payer("payer");
    let item = fields.text("item", 32);
    let amount_fen = fields.amount("amount_fen");
    let payment_method = fields.optional_text("payment_method", 32);
    let transaction_number = fields.optional_text("transaction_number", 64);
    let payee = fields.text("payee", 64);
    let supervised_account = fields.optional_text("supervised_account", 96);
    let handler = fields.optional_text("handler", 32);
    let note = fields.optional_text("note", 200);
    fields.close();
    Some(Receipt {
        number: number?,
        issued_on: issued_on?,
        project: project?,
        building,
        unit,
        room,
        contract_number,
        payer: payer?,
        item: item?,
        amount_fen: amount_fen?,
        payment_method,
        transaction_number,
        payee: payee?,
        supervised_account,
        handler,
        note,
    })
}

/// A JSON object that is being read member by member. Each reading method notes its error and returns `None`.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    prefix: &'static str,
    known: Vec<&'static str>,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Fields<'a> {
    fn open(
        value: &'a Value,
        prefix: &'static str,
        errors: &'a mut Vec<FieldError>,
    ) -> Option<Self> {
        let Value::Object(object) = value else {
            errors.push(FieldError {
                field: prefix.trim_end_matches('.').to_owned(),
                code: "wrong_type",
                message: format!("it must be an object, not {}", kind(value)),
                limit: None,
            });
            return None;
        };
        Some(Fields {
            object,
            prefix,
            known: Vec::new(),
            errors,
        })
    }

    /// Reports the members that nobody asked for.
    fn close(self) {
        for name in self
            .object
            .keys()
            .filter(|name| !self.known.contains(&name.as_str()))
        {
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            self.errors.push(FieldError {
                field: format!("{}{name}", self.prefix),
                code: "unknown_field",
                message: format!(
                    "it is not a field of a receipt; known: {}",
                    self.known.join(", ")
                ),
                limit: None,
            });
        }
    }

    fn error(&mut self, name: &str, code: &'static str, message: String) {
        let field = format!("{}{name}", self.prefix);
        self.errors.push(FieldError {
            field,
            code,
            message,
            limit: None,
        });
    }

    fn limited(&mut self, name: &str, code: &'static str, message: String, limit: u64) {
        let field = format!("{}{name}", self.prefix);
        self.errors.push(FieldError {
            field,
            code,
            message,
            limit: Some(limit),
        });
    }

    fn find(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn require(&mut self, name: &'static str) -> Option<&'a Value> {
        let found = self.find(name);
        if found.is_none() {
            self.error(name, "missing", "it is required".to_owned());
        }
        found
    }

    fn text(&mut self, name: &'static str, limit: usize) -> Option<String> {
        let value = self.require(name)?;
        self.check_text(name, value, limit)
    }

    fn optional_text(&mut self, name: &'static str, limit: usize) -> Option<String> {
        let value = self.find(name)?;
        self.check_text(name, value, limit)
    }

    fn check_text(&mut self, name: &str, value: &Value, limit: usize) -> Option<String> {
        let Value::String(text) = value else {
            self.error(
                name,
                "wrong_type",
                format!("it must be a string, not {}", kind(value)),
            );
            return None;
        };
        let text = text.trim();
        let length = text.chars().count();
        if length == 0 {
            let message = format!("it must have 1 to {limit} characters");
            self.error(name, "empty", message);
        } else if length > limit {
            let message = format!("it has {length} characters; at most {limit} are possible");
            self.limited(name, "too_long", message, limit as u64);
        } else if let Some(c) = text.chars().find(|c| c.is_control()) {
            let message = format!("it contains the control character U+{:04X}", u32::from(c));
            self.error(name, "control_character", message);
        } else if let Some(c) = font::missing_glyph(text) {
            let message = format!(
                "it contains “{}” (U+{:04X}), which the receipt's font cannot draw",
                c.escape_debug(),
                u32::from(c)
            );
            self.error(name, "missing_glyph", message);
        } else {
            return Some(text.to_owned());
        }
        None
    }

    fn date(&mut self, name: &'static str) -> Option<Date> {
        let text = self.text(name, 10)?;
        let date = text
            .parse::<Date>()
            .ok()
            .filter(|date| date.to_string() == text);
        match date {
            Some(date) if (1949..=9999).contains(&date.year()) => return Some(date),
            Some(_) => {
                let message = "it must be a day of the years 1949 to 9999".to_owned();
                self.error(name, "out_of_range", message);
            }
            None => {
                let message = "it must be a day that exists, as YYYY-MM-DD".to_owned();
                self.error(name, "bad_format", message);
            }
        }
        None
    }

    fn amount(&mut self, name: &'static str) -> Option<u64> {
        let value = self.require(name)?;
        let number = match value {
            Value::Number(number) if !number.is_f64() => number,
            _ => {
                let message = format!("it must be an integer (fen), not {}", kind(value));
                self.error(name, "wrong_type", message);
                return None;
            }
        };
        let fen = number
            .as_u64()
            .filter(|fen| (1..=Receipt::MAX_AMOUNT_FEN).contains(fen));
        if fen.is_none() {
            let message = format!("it must be 1 to {} fen", Receipt::MAX_AMOUNT_FEN);
            self.limited(name, "out_of_range", message, Receipt::MAX_AMOUNT_FEN);
        }
        fen
    }

    fn payer(&mut self, name: &'static str) -> Option<Payer> {
        let value = self.require(name)?;
        let mut fields = Fields::open(value, "payer.", self.errors)?;
        let name = fields.text("name", 64);
        let id_number = fields.id_number("id_number");
        fields.close();
        Some(Payer {
            name: name?,
            id_number,
        })
    }

    /// Masked at once; only the masked form leaves this function.
    fn id_number(&mut self, name: &'static str) -> Option<String> {
        const MIN: usize = 5;
        const MAX: usize = 32;
        let number = self.optional_text(name, MAX)?;
        let length = number.chars().count();
        if length < MIN {
            let message = format!("it has {length} characters; at least {MIN} are needed");
            self.limited(name, "too_short", message, MIN as u64);
            return None;
        }
        Some(mask(&number))
    }
}

/// Leaves so much of an identity number that its owner knows it again: `110***********1234`.
fn mask(number: &str) -> String {
    let length = number.chars().count();
    let (head, tail) = match length {
        15.. => (3, 4),
        8..15 => (2, 2),
        _ => (1, 1),
    };
    let masked = |(i, c)| {
        if i < head || i >= length - tail {
            c
        } else {
            '*'
        }
    };
    number.chars().enumerate().map(masked).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks() {
        for (number, masked) in [
            ("110101199003071234", "110***********1234"),
            ("110101900307123", "110********7123"),
            ("E12345678", "E1*****78"),
            ("A1234", "A***4"),
        ] {
            assert_eq!(mask(number), masked);
        }
    }
}
