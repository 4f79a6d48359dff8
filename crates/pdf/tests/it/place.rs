//! Places, from how people say them.

use sealpost_pdf::place::{MAX_WORDS, Nth, PageNumber, Spot, SpotError, Spotted, Words};
use sealpost_pdf::{Field, NameSeal, RoundSeal, add_fields, draw, find::find_word, render};

use crate::mark::pixels_like;
use crate::parties::signed_twice;
use crate::samples::{meta, receipt, signers};
use crate::structures::{Sample, Structure};
use crate::{paper, tools};

const SEAL: (f64, f64) = (100.0, 60.0);

fn locate(pdf: &[u8], spot: &Spot, size: (f64, f64)) -> Result<Spotted, SpotError> {
    sealpost_pdf::place::locate(pdf, spot, size, &mut Words::default())
}

fn middle([left, bottom, right, top]: [f64; 4]) -> (f64, f64) {
    ((left + right) / 2.0, (bottom + top) / 2.0)
}

fn near(one: (f64, f64), other: (f64, f64)) -> bool {
    (one.0 - other.0).abs() < 0.1 && (one.1 - other.1).abs() < 0.1
}

fn center(page: PageNumber, at: [f64; 2]) -> Spot {
    Spot::Middle { page, at }
}

fn word(word: &str, nth: Nth, page: Option<PageNumber>) -> Spot {
    Spot::Word {
        word: word.to_owned(),
        nth,
        page,
        offset: [0.0, 0.0],
    }
}

#[test]
fn a_point_is_where_people_see_it() {
    // What is seen of each is 300 points wide and 400 high.
    for (entries, expected) in [
        ("/MediaBox[0 0 300 400]", (200.0, 150.0)),
        (
            "/MediaBox[-50 -50 400 400]/CropBox[0 0 300 400]",
            (200.0, 150.0),
        ),
        ("/MediaBox[0 0 400 300]/Rotate 90", (250.0, 200.0)),
        ("/MediaBox[0 0 300 400]/Rotate 180", (100.0, 250.0)),
        ("/MediaBox[0 0 400 300]/Rotate 270", (150.0, 100.0)),
    ] {
        let pdf = paper::page(entries, "");
        let found = locate(&pdf, &center(1, [200.0, 150.0]), SEAL).unwrap();
        assert!(near(middle(found.rect), expected), "{entries}: {found:?}");
        let frame = render::page_frames(&pdf).unwrap()[0];
        let [left, top, width, height] = frame.locate(found.rect);
        assert_eq!([left, top, width, height], [150.0, 220.0, 100.0, 60.0]);
    }
}

#[test]
fn what_would_reach_beyond_the_page_is_moved_on_to_it() {
    let pdf = paper::page("/MediaBox[0 0 300 400]", "");
    let found = locate(&pdf, &center(-1, [299.0, 2.0]), SEAL).unwrap();
    assert_eq!(found.rect, [200.0, 0.0, 300.0, 60.0]);
    let beyond = locate(&pdf, &center(1, [301.0, 2.0]), SEAL);
    let size = SpotError::OffPage {
        width: 300,
        height: 400,
    };
    assert_eq!(beyond, Err(size));
    for page in [0, 2, -2] {
        let missing = SpotError::NoSuchPage { page, pages: 1 };
        assert_eq!(locate(&pdf, &center(page, [1.0, 1.0]), SEAL), Err(missing));
    }
}

#[test]
fn a_word_is_where_it_stands() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    const PAYEE: &str = "杭州翡翠湾房地产开发有限公司";
    let places = find_word(&pdf, PAYEE).unwrap();
    for (nth, place) in [
        (Nth::From1(1), &places[0]),
        (Nth::From1(2), &places[1]),
        (Nth::Last, &places[1]),
    ] {
        let found = locate(&pdf, &word(PAYEE, nth, Some(1)), (20.0, 10.0)).unwrap();
        assert!(near(middle(found.rect), middle(place.rect)), "{found:?}");
    }
    let aside = Spot::Word {
        word: PAYEE.to_owned(),
        nth: Nth::Last,
        page: None,
        offset: [30.0, -12.0],
    };
    let (x, y) = middle(places[1].rect);
    let found = locate(&pdf, &aside, (20.0, 10.0)).unwrap();
    assert!(near(middle(found.rect), (x + 30.0, y - 12.0)), "{found:?}");
    for (text, nth, times) in [("没有", Nth::Last, 0), (PAYEE, Nth::From1(3), 2)] {
        let missing = SpotError::NoSuchWord {
            word: text.to_owned(),
            times,
        };
        assert_eq!(locate(&pdf, &word(text, nth, None), SEAL), Err(missing));
    }
}

#[test]
fn an_empty_signature_field_is_itself_signed() {
    let field = Field {
        name: "盖章处".to_owned(),
        page: 0,
        rect: [10.0, 20.0, 110.0, 80.0],
    };
    let plain = Sample::one_page().write(Structure::Table);
    let pdf = add_fields(&plain, std::slice::from_ref(&field)).unwrap();
    let named = |name: &str| Spot::Field(name.to_owned());
    let expected = Spotted {
        page: 0,
        rect: field.rect,
        field: Some(field.name.clone()),
    };
    assert_eq!(locate(&pdf, &named("盖章处"), SEAL), Ok(expected));
    let missing = SpotError::NoSuchField("甲方".to_owned());
    assert_eq!(locate(&pdf, &named("甲方"), SEAL), Err(missing));
    let signed = SpotError::FieldSigned("seller".to_owned());
    assert_eq!(
        locate(&signed_twice(&plain), &named("seller"), SEAL),
        Err(signed)
    );
}

/// A text field gives its place, even when only the page knows of it; one that is nowhere to be seen gives none.
#[test]
fn other_fields_give_their_place() {
    let pdf = |rect: &str| {
        paper::file(&[
            b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>".to_vec(),
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 400]/Annots[4 0 R]/Resources<<>>>>"
                .to_vec(),
            format!("<</Type/Annot/Subtype/Widget/FT/Tx/T(stamp)/DA(/F 9 Tf)/Rect[{rect}]>>")
                .into_bytes(),
        ])
    };
    let stamp = Spot::Field("stamp".to_owned());
    let found = locate(&pdf("150 90 30 40"), &stamp, SEAL).unwrap();
    assert_eq!((found.rect, found.field), ([30.0, 40.0, 150.0, 90.0], None));
    let nowhere = SpotError::FieldNotShown("stamp".to_owned());
    assert_eq!(locate(&pdf("0 0 0 0"), &stamp, SEAL), Err(nowhere));
}

/// A name seal stands beside a signature, and a seal can be looked at by itself.
#[test]
fn appearances_stand_beside_each_other_and_alone() {
    let round = RoundSeal {
        organization: "翠湾置业有限公司".to_owned(),
        legend: None,
    };
    let name = NameSeal {
        name: "张三".to_owned(),
    };
    let (round, name) = (round.draw().unwrap(), name.draw().unwrap());
    let both = round.beside(&name);
    assert!(both.width_pt > round.width_pt + name.width_pt);
    assert!((both.height_pt - round.height_pt).abs() < 1e-9);
    let pdf = both.to_pdf().unwrap();
    tools::with_file(&pdf, |path| tools::run("qpdf", &["--check", path]));
    let red = pixels_like(&pdf, 0, [0xd7, 0x14, 0x1a]);
    let edge = round.width_pt / both.width_pt;
    let (left, right): (Vec<_>, Vec<_>) = red.into_iter().partition(|(x, _)| *x <= edge);
    assert!(left.len() > 5000 && right.len() > 2000);
}

#[test]
fn only_so_many_words_are_looked_for() {
    let pdf = draw(&receipt(), &signers(), &meta()).unwrap().pdf;
    let mut words = Words::default();
    let mut look = |text: &str| {
        let spot = word(text, Nth::Last, None);
        sealpost_pdf::place::locate(&pdf, &spot, SEAL, &mut words)
    };
    for number in 1..MAX_WORDS {
        assert!(look(&format!("没有{number}")).is_err());
    }
    assert!(look("张三").is_ok());
    assert_eq!(look("李四"), Err(SpotError::TooManyWords));
    assert!(look("张三").is_ok());
}
