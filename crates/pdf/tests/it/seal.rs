//! Seals, rendered and measured.

use sealpost_pdf::{
    Appearance, Field, NameSeal, OvalSeal, PictureSeal, RoundSeal, SealError, SignRequest,
    add_fields, render, sign,
};

use crate::paper;
use crate::parties::{SELLER, request};
use crate::tools::assert_sound;

fn round(organization: &str, legend: Option<&str>) -> RoundSeal {
    RoundSeal {
        organization: organization.to_owned(),
        legend: legend.map(str::to_owned),
    }
}

/// The red pixels of an appearance shown alone, at 4 pixels to the point: width of the image and (x, y) of each.
fn red_pixels(pdf: &[u8], width: u32) -> Vec<(f64, f64)> {
    let png = render::page_png(pdf, 0, width).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    pixels
        .chunks(3)
        .enumerate()
        .filter(|(_, p)| p[0] > 150 && p[1] < 120)
        .map(|(i, _)| {
            let (x, y) = (i as u32 % info.width, i as u32 / info.width);
            (f64::from(x) + 0.5, f64::from(y) + 0.5)
        })
        .collect()
}

#[test]
fn a_round_seal_is_38_mm_and_red_within_its_circle() {
    let name = "内蒙古自治区呼和浩特市新城区翡翠湾房地产开发集团有限责任公司第一百二十三分公司";
    for length in 2..=40 {
        let organization: String = name.chars().cycle().take(length).collect();
        for legend in [None, Some("财务专用章"), Some("财务专用章（一二三四五）")]
        {
            let seal = round(&organization, legend).draw().unwrap();
            assert!((seal.width_pt / 72.0 * 25.4 - 38.0).abs() < 1e-9);
            assert!(seal.images.is_empty());
            if length % 9 != 2 {
                continue;
            }
            let sheet = paper::sheet(seal.width_pt, seal.height_pt, &[(0.0, 0.0, &seal)]);
            let red = red_pixels(&sheet, 400);
            let farthest = red
                .iter()
                .map(|(x, y)| (x - 200.0).hypot(y - 200.0))
                .fold(0.0, f64::max);
            assert!(
                (196.0..=201.5).contains(&farthest),
                "{organization}: {farthest}"
            );
            // Between the ring and the heads of the characters there is a gap.
            let gap = red
                .iter()
                .filter(|(x, y)| (178.0..185.0).contains(&(x - 200.0).hypot(y - 200.0)));
            assert_eq!(gap.count(), 0, "{organization}");
        }
    }
}

#[test]
fn the_star_points_up() {
    let seal = round("翠湾", None).draw().unwrap();
    let red = red_pixels(
        &paper::sheet(seal.width_pt, seal.height_pt, &[(0.0, 0.0, &seal)]),
        400,
    );
    let star: Vec<_> = red
        .iter()
        .filter(|(x, y)| (x - 200.0).hypot(y - 200.0) < 75.0)
        .collect();
    let left = star.iter().filter(|(x, _)| *x < 200.0).count();
    assert!(star.len() > 2000 && (left as f64 / star.len() as f64 - 0.5).abs() < 0.02);
    let top = star.iter().map(|(_, y)| *y).fold(f64::MAX, f64::min);
    assert!((top - (200.0 - 6.4 / 19.0 * 200.0)).abs() < 8.0, "{top}");
}

#[test]
fn seals_are_sound_content() {
    for (name, legend) in [
        ("翠湾置业", Some("财务专用章")),
        (
            "中国（上海）自由贸易试验区ABC置业有限公司",
            Some("收款专用章"),
        ),
        ("䶮䶮堃喆置业有限公司", None),
    ] {
        let seal = round(name, legend).draw().unwrap();
        assert!(seal.content.len() < 60_000);
        assert_sound(&paper::sheet(150.0, 150.0, &[(20.0, 20.0, &seal)]));
        assert_sound(&paper::sheet(
            80.0,
            60.0,
            &[(0.0, 0.0, &seal.fitted(80.0, 60.0))],
        ));
    }
}

#[test]
fn fitting_keeps_the_proportions() {
    let seal = round("翠湾置业", None).draw().unwrap().fitted(400.0, 60.0);
    assert_eq!((seal.width_pt, seal.height_pt), (400.0, 60.0));
    let red = red_pixels(&paper::sheet(400.0, 60.0, &[(0.0, 0.0, &seal)]), 1600);
    let left = red.iter().map(|(x, _)| *x).fold(f64::MAX, f64::min);
    let right = red.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    assert!((right - left - 240.0).abs() < 3.0 && (left + right - 1600.0).abs() < 3.0);
}

/// Least x, least y, greatest x, greatest y of what is red when a seal is shown alone, as shares of its size.
fn red_bounds(seal: &Appearance) -> [f64; 4] {
    let sheet = paper::sheet(seal.width_pt, seal.height_pt, &[(0.0, 0.0, seal)]);
    let red = red_pixels(&sheet, 600);
    let height = 600.0 * seal.height_pt / seal.width_pt;
    let mut bounds = [f64::MAX, f64::MAX, 0.0, 0.0];
    for (x, y) in red {
        let (x, y) = (x / 600.0, y / height);
        bounds = [
            bounds[0].min(x),
            bounds[1].min(y),
            bounds[2].max(x),
            bounds[3].max(y),
        ];
    }
    bounds
}

fn assert_fills(seal: &Appearance) {
    let [left, top, right, bottom] = red_bounds(seal);
    assert!(
        left < 0.01 && top < 0.01 && right > 0.99 && bottom > 0.99,
        "{left} {top} {right} {bottom}"
    );
}

#[test]
fn oval_seals_fill_45_by_30_mm() {
    let name = "内蒙古自治区呼和浩特市新城区翡翠湾房地产开发集团有限责任公司第一百二十三分公司";
    for length in [2, 9, 23, 40] {
        for number in [None, Some("91330108MA2ABCDE7X".to_owned())] {
            let organization = name.chars().cycle().take(length).collect();
            let legend = Some("收款专用章".to_owned());
            let seal = OvalSeal {
                organization,
                number,
                legend,
            }
            .draw()
            .unwrap();
            assert!((seal.width_pt / 72.0 * 25.4 - 45.0).abs() < 1e-9);
            assert!((seal.height_pt / 72.0 * 25.4 - 30.0).abs() < 1e-9);
            assert_fills(&seal);
            assert_sound(&paper::sheet(140.0, 100.0, &[(5.0, 5.0, &seal)]));
        }
    }
}

#[test]
fn name_seals_fill_their_square() {
    for name in [
        "张三",
        "李晓梅",
        "欧阳娜娜",
        "阿依古丽·买买提",
        "䶮𬱖",
        "一二三四五六七八九",
    ] {
        let seal = NameSeal {
            name: name.to_owned(),
        }
        .draw()
        .unwrap();
        assert_eq!(seal.width_pt, seal.height_pt);
        assert_fills(&seal);
    }
    for name in ["张", "一二三四五六七八九十", "张😀", " · "] {
        assert!(
            NameSeal {
                name: name.to_owned()
            }
            .draw()
            .is_err(),
            "{name}"
        );
    }
}

/// A red disc on white or on nothing, as an operator may send it.
fn disc(background: [u8; 4]) -> Vec<u8> {
    let pixels: Vec<u8> = (0..200 * 100)
        .flat_map(|i| {
            let (x, y) = (f64::from(i % 200) - 99.5, f64::from(i / 200) - 49.5);
            if x.hypot(y) < 40.0 {
                [220, 30, 30, 255]
            } else {
                background
            }
        })
        .collect();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 200, 100);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn a_picture_is_lifted_off_its_paper() {
    for background in [[255; 4], [0; 4]] {
        let png = disc(background);
        let seal = PictureSeal {
            png: &png,
            width_mm: 40.0,
        }
        .draw()
        .unwrap();
        let image = &seal.images[0];
        assert_eq!((image.width, image.height), (80, 80), "{background:?}");
        assert!((seal.width_pt / 72.0 * 25.4 - 40.0).abs() < 1e-9);
        assert_eq!(image.pixels[3], 0, "the corner is clear");
        let sheet = paper::sheet(seal.width_pt, seal.height_pt, &[(0.0, 0.0, &seal)]);
        assert_sound(&sheet);
        // On white it looks as it did: the share of a disc in its square.
        let share = red_pixels(&sheet, 400).len() as f64 / 160_000.0;
        assert!((share - 0.785).abs() < 0.02, "{share}");
    }
}

#[test]
fn pictures_have_limits() {
    let png = disc([255; 4]);
    for (png, width_mm) in [
        (&png[..], 4.0),
        (&png[..], f64::NAN),
        (&png[..60], 40.0),
        (b"", 40.0),
    ] {
        let refused = PictureSeal { png, width_mm }.draw().unwrap_err();
        assert!(matches!(refused, SealError::Picture(_)));
    }
    let long = vec![0; (1 << 20) + 1];
    assert!(
        PictureSeal {
            png: &long,
            width_mm: 40.0
        }
        .draw()
        .is_err()
    );
}

#[test]
fn wrong_names_are_refused() {
    let refused = round("翠", None).draw().unwrap_err();
    assert_eq!(
        refused,
        SealError::Length {
            field: "organization",
            length: 1,
            min: 2,
            max: 40
        }
    );
    assert!(round(&"翠".repeat(41), None).draw().is_err());
    let refused = round("翠湾置业", Some("财务专用章一二三四五六七八"))
        .draw()
        .unwrap_err();
    assert!(refused.to_string().contains("1 to 12"), "{refused}");
    let refused = round("翠湾😀", None).draw().unwrap_err();
    assert!(refused.to_string().contains("U+1F600"), "{refused}");
}

#[test]
fn a_seal_in_a_wide_field_stays_round() {
    for rotate in [0, 90] {
        let page = paper::page(&format!("/MediaBox[0 0 300 300]/Rotate {rotate}"), "");
        let field = Field {
            name: "seller".to_owned(),
            page: 0,
            rect: [20.0, 20.0, 260.0, 80.0],
        };
        let seal = round("翠湾置业", None).draw().unwrap();
        let request = SignRequest {
            appearance: Some(&seal),
            ..request("seller", &SELLER)
        };
        let signed = sign(&add_fields(&page, &[field]).unwrap(), &request).unwrap();
        let red = red_pixels(&signed, 1200);
        let extent = |values: Vec<f64>| {
            let least = values.iter().copied().fold(f64::MAX, f64::min);
            values.iter().copied().fold(0.0, f64::max) - least
        };
        let width = extent(red.iter().map(|(x, _)| *x).collect());
        let height = extent(red.iter().map(|(_, y)| *y).collect());
        assert!(
            (width - 240.0).abs() < 4.0 && (height - 240.0).abs() < 4.0,
            "{width} {height}"
        );
    }
}
