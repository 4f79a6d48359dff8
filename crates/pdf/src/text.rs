//! Text strings and dates of PDF (ISO 32000-2 sections 7.9.2 and 7.9.4).

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// A text string as it is written in a file: literal when it is plain ASCII, else UTF-16BE in hexadecimal.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        let mut out = vec![b'('];
        for byte in text.bytes() {
            if matches!(byte, b'(' | b')' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b')');
        return out;
    }
    let mut out = String::from("<FEFF");
    for unit in text.encode_utf16() {
        out.push_str(&format!("{unit:04X}"));
    }
    out.push('>');
    out.into_bytes()
}

/// What a text string says. Bytes of PDFDocEncoding are read as Latin-1, which differs only in typographic signs.
pub(crate) fn decode(bytes: &[u8]) -> String {
    match bytes {
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        plain => plain.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> String {
    char::decode_utf16(bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])))
        .map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// A date, such as `D:20261124180000+08'00'`, of UTC milliseconds; `None` outside the years that can be stated.
pub(crate) fn encode_date(at: i64, zone_minutes: i16) -> Option<String> {
    let offset = Offset::from_seconds(i32::from(zone_minutes) * 60).ok()?;
    let local = offset.to_datetime(Timestamp::from_millisecond(at).ok()?);
    if !(1..=9999).contains(&local.year()) {
        return None;
    }
    let sign = if zone_minutes < 0 { '-' } else { '+' };
    let (hours, minutes) = (
        zone_minutes.unsigned_abs() / 60,
        zone_minutes.unsigned_abs() % 60,
    );
    Some(format!(
        "D:{}{sign}{hours:02}'{minutes:02}'",
        local.strftime("%Y%m%d%H%M%S")
    ))
}

/// UTC milliseconds of a date; what it leaves out is the first of its kind, and a missing zone is UTC.
pub(crate) fn decode_date(text: &str) -> Option<i64> {
    let text = text.strip_prefix("D:").unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if !matches!(digits, 4 | 6 | 8 | 10 | 12 | 14) {
        return None;
    }
    let (date, zone) = text.split_at(digits);
    let part = |range: std::ops::Range<usize>, default: i8| {
        date.get(range)
            .map_or(Some(default), |text| text.parse().ok())
    };
    let local = DateTime::new(
        date[..4].parse().ok()?,
        part(4..6, 1)?,
        part(6..8, 1)?,
        part(8..10, 0)?,
        part(10..12, 0)?,
        part(12..14, 0)?,
        0,
    )
    .ok()?;
    let mut zone = zone.chars();
    let sign = match zone.next() {
        None | Some('Z') => 0,
        Some('+') => 1,
        Some('-') => -1,
        Some(_) => return None,
    };
    let digits: String = zone.filter(|character| *character != '\'').collect();
    let number = |range| {
        digits
            .get(range)
            .filter(|text: &&str| !text.is_empty())
            .map_or(Some(0), |text| text.parse().ok())
    };
    let seconds: i32 = sign * (number(0..2)? * 3600 + number(2..4)? * 60);
    Some(
        Offset::from_seconds(seconds)
            .ok()?
            .to_timestamp(local)
            .ok()?
            .as_millisecond(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_being_written_and_read() {
        for text in ["", "plain (with) \\ signs", "张三", "𠮷野家", "é"] {
            let written = encode(text);
            let mut parser = crate::syntax::Parser::new(&written, 0);
            let item = parser.item().expect("a string");
            assert_eq!(decode(item.value.string().expect("a string")), text);
        }
    }

    #[test]
    fn dates_survive_being_written_and_read() {
        let at = 1_795_514_400_000;
        assert_eq!(
            encode_date(at, 480).as_deref(),
            Some("D:20261124180000+08'00'")
        );
        for zone in [0, 480, -330, 45] {
            assert_eq!(
                encode_date(at, zone).as_deref().and_then(decode_date),
                Some(at)
            );
        }
        assert_eq!(decode_date("D:20261124100000Z"), Some(at));
        assert_eq!(decode_date("20261124100000"), Some(at));
        assert_eq!(decode_date("D:2026"), Some(1_767_225_600_000));
        for wrong in [
            "",
            "D:",
            "D:20261",
            "D:20261324",
            "D:20261124100000?08",
            "D:20261124100000+9999",
        ] {
            assert_eq!(decode_date(wrong), None, "{wrong}");
        }
    }
}
