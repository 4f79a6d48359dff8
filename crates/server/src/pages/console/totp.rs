//! The second factor: time-based one-time passwords, RFC 6238 with SHA-1, six digits and 30 seconds, which is what every
//! authenticator app understands.

use aws_lc_rs::hmac;
use qrcode::{Color, QrCode};

/// Seconds of a step.
const STEP: i64 = 30;

/// Steps that a clock may be off, either way.
const SLACK: i64 = 1;

/// Bytes of a secret; RFC 4226 recommends 160 bits.
pub(crate) const SECRET_BYTES: usize = 20;

/// The time step whose code this is, if it is one of now's.
pub(crate) fn step_of(secret: &[u8], code: &str, now: i64) -> Option<i64> {
    let current = now.div_euclid(1000 * STEP);
    let given = code.as_bytes();
    (current - SLACK..=current + SLACK).find(|step| {
        let expected = code_of(secret, *step);
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), given).is_ok()
    })
}

/// The code of a time step.
pub(crate) fn code_of(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    // RFC 4226, section 5.3: the last four bits say where the number stands.
    let at = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
    let number = tag
        .get(at..at + 4)
        .unwrap_or_default()
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

/// The secret as people type it: base32, RFC 4648, without padding.
pub(crate) fn base32(secret: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(secret.len() * 8 / 5 + 1);
    for chunk in secret.chunks(5) {
        let mut bytes = [0_u8; 8];
        bytes[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(bytes);
        for place in 0..(chunk.len() * 8).div_ceil(5) {
            text.push(char::from(
                ALPHABET[(bits >> (35 - 5 * place) & 31) as usize],
            ));
        }
    }
    text
}

/// The `otpauth:` address that authenticator apps read.
pub(crate) fn address(operator: &str, secret: &[u8]) -> String {
    let name: String = url::form_urlencoded::byte_serialize(operator.as_bytes()).collect();
    format!(
        "otpauth://totp/Sealpost:{}?secret={}&issuer=Sealpost",
        name.replace('+', "%20"),
        base32(secret)
    )
}

/// A QR code of a text: its side in modules, and the dark ones as an SVG path.
pub(crate) fn qr(text: &str) -> Option<(usize, String)> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let side = code.width();
    let mut path = String::new();
    for (place, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            path.push_str(&format!("M{} {}h1v1h-1z", place % side, place / side));
        }
    }
    Some((side, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, cut to six digits.
    #[test]
    fn the_codes_are_those_of_the_standard() {
        let secret = b"12345678901234567890";
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_of(secret, seconds / STEP), code);
            assert_eq!(step_of(secret, code, seconds * 1000), Some(seconds / STEP));
            assert_eq!(step_of(secret, code, (seconds + 90) * 1000), None);
        }
    }

    /// RFC 4648, section 10.
    #[test]
    fn base32_is_that_of_the_standard() {
        for (text, encoded) in [
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn the_qr_code_has_dark_modules() {
        let (side, path) = qr(&address("李 雷", &[7; SECRET_BYTES])).unwrap();
        assert!(side >= 29 && path.starts_with('M'), "{side}");
    }
}
