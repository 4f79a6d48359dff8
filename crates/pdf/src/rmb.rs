//! Amounts of money as a Chinese receipt states them: in figures (小写) and in capitals (大写).
//!
//! The rules are those of the People's Bank of China's 支付结算办法, annex 1 (正确填写票据和结算凭证的基本规定).

const DIGITS: [char; 10] = ['零', '壹', '贰', '叁', '肆', '伍', '陆', '柒', '捌', '玖'];
/// What four digits are counted in, from the right.
const SECTIONS: [&str; 5] = ["", "万", "亿", "万亿", "亿亿"];

/// The amount in figures with a yen sign and thousands separated: `¥1,409.50`.
#[must_use]
pub fn figures(fen: u64) -> String {
    let yuan = (fen / 100).to_string();
    let mut out = String::from("¥");
    for (i, digit) in yuan.chars().enumerate() {
        if i > 0 && (yuan.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out.push_str(&format!(".{:02}", fen % 100));
    out
}

/// The amount in capitals, 人民币 first: 140950 fen are 人民币壹仟肆佰零玖元伍角.
///
/// Ends in 整 at 元, and in neither 整 nor 正 at 角 or 分. One 零 stands for zeros inside the number; where the annex leaves
/// it open (the last digit before 万, 亿 or 元 is zero and a digit other than zero follows) there is none.
#[must_use]
pub fn capitals(fen: u64) -> String {
    let (yuan, jiao, fen) = (fen / 100, fen / 10 % 10, fen % 10);
    let mut out = String::from("人民币");
    if yuan > 0 {
        push_yuan(&mut out, yuan);
        out.push('元');
    }
    match (jiao, fen) {
        (0, 0) if yuan == 0 => out.push_str("零元整"),
        (0, 0) => out.push('整'),
        (0, _) if yuan > 0 => out.push('零'),
        _ => {}
    }
    for (digit, unit) in [(jiao, '角'), (fen, '分')] {
        if digit > 0 {
            out.push(capital(digit));
            out.push(unit);
        }
    }
    out
}

/// Whole yuan, section by section of four digits.
fn push_yuan(out: &mut String, yuan: u64) {
    let mut started = false;
    // Zeros were passed since the last digit written, beyond those that end a section.
    let mut gap = false;
    for (section, name) in SECTIONS.iter().enumerate().rev() {
        let value = yuan / 10_000_u64.pow(section as u32) % 10_000;
        if value == 0 {
            gap = true;
            continue;
        }
        for (place, unit) in [(1000, "仟"), (100, "佰"), (10, "拾"), (1, "")] {
            let digit = value / place % 10;
            if digit == 0 {
                gap = true;
                continue;
            }
            if gap && started {
                out.push('零');
            }
            (gap, started) = (false, true);
            out.push(capital(digit));
            out.push_str(unit);
        }
        gap = false;
        out.push_str(name);
    }
}

fn capital(digit: u64) -> char {
    DIGITS[(digit % 10) as usize]
}

#[cfg(test)]
mod tests {
    use super::{capitals, figures};
    use proptest::prelude::*;

    /// fen, in figures, in capitals (without 人民币).
    const CASES: &[(u64, &str, &str)] = &[
        (0, "¥0.00", "零元整"),
        (1, "¥0.01", "壹分"),
        (5, "¥0.05", "伍分"),
        (10, "¥0.10", "壹角"),
        (50, "¥0.50", "伍角"),
        (99, "¥0.99", "玖角玖分"),
        (100, "¥1.00", "壹元整"),
        (101, "¥1.01", "壹元零壹分"),
        (110, "¥1.10", "壹元壹角"),
        (111, "¥1.11", "壹元壹角壹分"),
        (1_000, "¥10.00", "壹拾元整"),
        (1_005, "¥10.05", "壹拾元零伍分"),
        (1_050, "¥10.50", "壹拾元伍角"),
        (1_100, "¥11.00", "壹拾壹元整"),
        (10_000, "¥100.00", "壹佰元整"),
        (10_100, "¥101.00", "壹佰零壹元整"),
        (11_000, "¥110.00", "壹佰壹拾元整"),
        (32_504, "¥325.04", "叁佰贰拾伍元零肆分"),
        (100_000, "¥1,000.00", "壹仟元整"),
        (100_001, "¥1,000.01", "壹仟元零壹分"),
        (100_100, "¥1,001.00", "壹仟零壹元整"),
        (101_000, "¥1,010.00", "壹仟零壹拾元整"),
        (110_000, "¥1,100.00", "壹仟壹佰元整"),
        (140_950, "¥1,409.50", "壹仟肆佰零玖元伍角"),
        (168_032, "¥1,680.32", "壹仟陆佰捌拾元叁角贰分"),
        (600_714, "¥6,007.14", "陆仟零柒元壹角肆分"),
        (1_000_000, "¥10,000.00", "壹万元整"),
        (1_000_001, "¥10,000.01", "壹万元零壹分"),
        (1_000_100, "¥10,001.00", "壹万零壹元整"),
        (1_010_000, "¥10,100.00", "壹万零壹佰元整"),
        (1_100_000, "¥11,000.00", "壹万壹仟元整"),
        (1_640_902, "¥16,409.02", "壹万陆仟肆佰零玖元零贰分"),
        (10_000_000, "¥100,000.00", "壹拾万元整"),
        (10_000_500, "¥100,005.00", "壹拾万零伍元整"),
        (10_700_053, "¥107,000.53", "壹拾万柒仟元伍角叁分"),
        (10_100_000, "¥101,000.00", "壹拾万壹仟元整"),
        (100_000_000, "¥1,000,000.00", "壹佰万元整"),
        (100_010_001, "¥1,000,100.01", "壹佰万零壹佰元零壹分"),
        (150_000_000, "¥1,500,000.00", "壹佰伍拾万元整"),
        (1_000_000_000, "¥10,000,000.00", "壹仟万元整"),
        (1_000_100_000, "¥10,001,000.00", "壹仟万壹仟元整"),
        (1_001_000_000, "¥10,010,000.00", "壹仟零壹万元整"),
        (10_000_000_000, "¥100,000,000.00", "壹亿元整"),
        (10_000_000_100, "¥100,000,001.00", "壹亿零壹元整"),
        (10_000_500_000, "¥100,005,000.00", "壹亿零伍仟元整"),
        (10_001_000_000, "¥100,010,000.00", "壹亿零壹万元整"),
        (10_001_000_001, "¥100,010,000.01", "壹亿零壹万元零壹分"),
        (11_000_000_000, "¥110,000,000.00", "壹亿壹仟万元整"),
        (100_000_000_000, "¥1,000,000,000.00", "壹拾亿元整"),
        (100_050_000_000, "¥1,000,500,000.00", "壹拾亿零伍拾万元整"),
        (
            101_010_101_010,
            "¥1,010,101,010.10",
            "壹拾亿壹仟零壹拾万壹仟零壹拾元壹角",
        ),
        (900_000_000_009, "¥9,000,000,000.09", "玖拾亿元零玖分"),
        (
            999_999_999_999,
            "¥9,999,999,999.99",
            "玖拾玖亿玖仟玖佰玖拾玖万玖仟玖佰玖拾玖元玖角玖分",
        ),
    ];

    #[test]
    fn table() {
        for &(fen, small, large) in CASES {
            assert_eq!(figures(fen), small);
            assert_eq!(capitals(fen), format!("人民币{large}"), "{small}");
        }
    }

    /// Reads capitals back the way a person does, knowing nothing of how they were made.
    fn read(capitals: &str) -> u64 {
        let (mut fen, mut section, mut digit) = (0, 0, 0);
        for c in capitals.trim_start_matches("人民币").chars() {
            match c {
                '零' | '整' => {}
                '拾' | '佰' | '仟' => {
                    section += digit * [10, 100, 1000]["拾佰仟".find(c).unwrap() / 3];
                    digit = 0;
                }
                '万' | '亿' | '元' => {
                    let worth = [1_000_000, 10_000_000_000, 100]["万亿元".find(c).unwrap() / 3];
                    fen += (section + digit) * worth;
                    (section, digit) = (0, 0);
                }
                '角' | '分' => {
                    fen += digit * if c == '角' { 10 } else { 1 };
                    digit = 0;
                }
                _ => digit = 1 + "壹贰叁肆伍陆柒捌玖".find(c).unwrap() as u64 / 3,
            }
        }
        fen
    }

    /// Numbers with many zeros in them, which uniform ones hardly have.
    fn sparse() -> impl Strategy<Value = u64> {
        prop::collection::vec(prop_oneof![3 => Just(0_u64), 2 => 1..=9_u64], 1..=12)
            .prop_map(|digits| digits.into_iter().fold(0, |n, d| n * 10 + d))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn reads_back(fen in prop_oneof![0..=999_999_999_999_u64, sparse()]) {
            let text = capitals(fen);
            prop_assert_eq!(read(&text), fen, "{}", &text);
            prop_assert!(!text.contains("零零") && !text.ends_with('零'), "{}", &text);
            prop_assert_eq!(text.ends_with('整'), fen % 100 == 0);
            prop_assert_eq!(text.contains("元零"), fen > 100 && fen % 100 < 10 && fen % 10 > 0);
        }
    }
}
