//! Reads where a seal or a signature goes: a rectangle, a point, a field of the form, or a word of the text.

use sealpost_pdf::find::MAX_WORD;
use sealpost_pdf::place::{Nth, PageNumber, Spot};

use crate::web::Fields;

/// Points in a millimetre.
const MM: f64 = 72.0 / 25.4;

/// The most further places of one signer.
pub(super) const MORE_PLACES: usize = 9;

/// The place that stands in `member`, if it does.
pub(super) fn find_place(owner: &mut Fields, member: &str) -> Option<Spot> {
    let mut place = owner.find_object(member)?;
    let spot = read_place(&mut place);
    owner.absorb(place);
    spot
}

/// The places in a list that may stand there.
pub(super) fn find_places(owner: &mut Fields, member: &str) -> Vec<Spot> {
    if !owner.has(member) {
        return Vec::new();
    }
    let mut spots = Vec::new();
    for mut place in owner.objects(member, 0..=MORE_PLACES) {
        spots.extend(read_place(&mut place));
        owner.absorb(place);
    }
    spots
}

fn read_place(place: &mut Fields) -> Option<Spot> {
    let ways = ["rect", "center", "field", "keyword"];
    let given: Vec<&str> = ways.into_iter().filter(|way| place.has(way)).collect();
    let [way] = given[..] else {
        for way in ways {
            place.find_value(way);
        }
        for member in ["page", "unit", "occurrence", "offset"] {
            place.find_value(member);
        }
        place.refuse(
            "rect",
            "one_of",
            "a place has one of rect, center, field and keyword",
        );
        return None;
    };
    match way {
        "rect" => {
            let (page, scale) = (needed_page(place), unit(place));
            let rect = place.find_numbers::<4>("rect");
            Some(Spot::Rect {
                page: page?,
                rect: rect?.map(|side| side * scale),
            })
        }
        "center" => {
            let (page, scale) = (needed_page(place), unit(place));
            let at = place.find_numbers::<2>("center");
            Some(Spot::Middle {
                page: page?,
                at: at?.map(|side| side * scale),
            })
        }
        "field" => place.find_text("field", 1..=256).map(Spot::Field),
        _ => {
            let word = place.find_text("keyword", 1..=MAX_WORD);
            let (page, scale) = (find_page(place), unit(place));
            let offset = place.find_numbers::<2>("offset").unwrap_or_default();
            Some(Spot::Word {
                word: word?,
                nth: occurrence(place)?,
                page,
                offset: offset.map(|side| side * scale),
            })
        }
    }
}

fn needed_page(place: &mut Fields) -> Option<PageNumber> {
    if !place.has("page") {
        place.refuse("page", "missing", "it is required");
        return None;
    }
    find_page(place)
}

fn find_page(place: &mut Fields) -> Option<PageNumber> {
    const FAR: i64 = 65_535;
    let page = place.find_integer("page", -FAR..=FAR)?;
    if page == 0 {
        place.refuse(
            "page",
            "out_of_range",
            "pages count from 1, or from -1 for the last one backwards",
        );
        return None;
    }
    PageNumber::try_from(page).ok()
}

/// Points in the unit of the place's lengths.
fn unit(place: &mut Fields) -> f64 {
    place
        .find_word("unit", &[("pt", 1.0), ("mm", MM)])
        .unwrap_or(1.0)
}

/// Which of the places where the word stands: a number from 1, or `last`; the first unless it is said.
fn occurrence(place: &mut Fields) -> Option<Nth> {
    const FAR: i64 = sealpost_pdf::find::MAX_FOUND as i64;
    if !place.has("occurrence") {
        return Some(Nth::From1(1));
    }
    match place.find_value("occurrence") {
        Some(value) if value == "last" => Some(Nth::Last),
        Some(value) => match value.as_i64() {
            Some(number) if (1..=FAR).contains(&number) => {
                usize::try_from(number).ok().map(Nth::From1)
            }
            _ => {
                place.refuse(
                    "occurrence",
                    "bad_format",
                    format!("it must be a number from 1 to {FAR}, or \"last\""),
                );
                None
            }
        },
        None => None,
    }
}
