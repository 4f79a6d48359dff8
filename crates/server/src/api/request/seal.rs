//! Reads what a seal looks like: its kind and what is on it, an own picture, or one that is kept.

use crate::app::seals::{MAX_PICTURE, PICTURE_MM, Seal, WantedSeal};
use crate::web::Fields;

/// The most characters on a seal; each text has its own limit, which drawing knows.
const TEXT: std::ops::RangeInclusive<usize> = 1..=64;

/// Reads the members of a seal. `name` is what stands on it unless it says something else.
pub(crate) fn read_seal(seal: &mut Fields, name: Option<&str>) -> Option<WantedSeal> {
    const KINDS: [&str; 6] = ["company", "finance", "contract", "oval", "name", "picture"];
    if !seal.has("kind") {
        seal.refuse("kind", "missing", "it is required");
    }
    let kind = seal.find_word("kind", &KINDS.map(|kind| (kind, kind)))?;
    let text = |seal: &mut Fields, member: &str| match (seal.has(member), name) {
        (false, Some(name)) => name.to_owned(),
        _ => seal.text(member, TEXT),
    };
    Some(match kind {
        "company" => Seal::Company {
            organization: text(seal, "organization"),
            legend: seal.find_text("legend", TEXT),
        }
        .into(),
        "finance" => Seal::Finance {
            organization: text(seal, "organization"),
        }
        .into(),
        "contract" => Seal::Contract {
            organization: text(seal, "organization"),
        }
        .into(),
        "oval" => Seal::Oval {
            organization: text(seal, "organization"),
            number: seal.find_text("number", TEXT),
            legend: seal.find_text("legend", TEXT),
        }
        .into(),
        "name" => Seal::Name {
            name: text(seal, "name"),
        }
        .into(),
        _ => {
            let width = seal.find_number("width_mm", 5.0..=100.0);
            if !seal.has("picture_base64") {
                seal.refuse("picture_base64", "missing", "it is required");
            }
            let png = seal.find_base64("picture_base64", MAX_PICTURE)?;
            WantedSeal::picture(png, width.unwrap_or(PICTURE_MM))
        }
    })
}
