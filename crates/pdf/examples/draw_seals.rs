//! A sheet of sample seals: `cargo run -p sealpost-pdf --example draw_seals -- seals.pdf`.

#[path = "../tests/it/paper.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod paper;

use std::error::Error;

use sealpost_pdf::{NameSeal, OvalSeal, RoundSeal};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "seals.pdf".to_owned());
    let names = [
        "翠湾置业",
        "杭州翡翠湾置业有限公司",
        "杭州翡翠湾房地产开发有限公司",
        "中国（上海）自由贸易试验区ABC置业有限公司",
        "内蒙古自治区呼和浩特市新城区翡翠湾房地产开发集团有限责任公司",
        "内蒙古自治区呼和浩特市新城区翡翠湾房地产开发集团有限责任公司第一百二十三分公司",
    ];
    let mut seals = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let legend = ["财务专用章", "收款专用章", "财务专用章（1）"][i % 3];
        let seal = RoundSeal {
            organization: (*name).to_owned(),
            legend: (i != 1).then(|| legend.to_owned()),
        };
        let appearance = seal.draw()?;
        println!("{name}: {} bytes", appearance.content.len());
        seals.push(appearance);
    }
    for (organization, number) in [
        ("杭州翡翠湾房地产开发有限公司", Some("91330108MA2ABCDE7X")),
        ("翠湾置业", None),
        (
            "内蒙古自治区呼和浩特市新城区翡翠湾房地产开发集团有限责任公司",
            Some("91150102MA0ABCDE7X"),
        ),
    ] {
        let seal = OvalSeal {
            organization: organization.to_owned(),
            number: number.map(str::to_owned),
            legend: Some("收款专用章".to_owned()),
        };
        seals.push(seal.draw()?);
    }
    for name in [
        "张三",
        "李晓梅",
        "欧阳娜娜",
        "阿依古丽·买",
        "阿依古丽·买买提",
        "䶮𬱖",
    ] {
        seals.push(
            NameSeal {
                name: name.to_owned(),
            }
            .draw()?,
        );
    }
    let placed: Vec<_> = seals
        .iter()
        .enumerate()
        .map(|(i, seal)| {
            (
                20.0 + 140.0 * (i % 3) as f64,
                540.0 - 120.0 * (i / 3) as f64,
                seal,
            )
        })
        .collect();
    std::fs::write(&path, paper::sheet(450.0, 660.0, &placed))?;
    Ok(())
}
