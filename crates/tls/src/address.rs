//! What a connection string says of TLS, in libpq's words.
//!
//! `sslmode` is `disable`, `prefer` (the default: TLS if the server has it), `require`, `verify-ca` or `verify-full`; the last is
//! what `require` is here, too. Wherever there is TLS, the certificate is verified, and but for `verify-ca` the host name in it.
//! `sslrootcert` names certificates to trust, `sslcert` and `sslkey` what this side shows (all PEM).

use std::fmt;
use std::path::PathBuf;

/// A connection string that tokio-postgres understands, and what it does not.
#[derive(Default, PartialEq, Eq)]
pub struct Address {
    /// The string without what is here. It may hold a password.
    pub connection: String,
    /// `sslrootcert`.
    pub ca_file: Option<PathBuf>,
    /// `sslcert`.
    pub certificate: Option<PathBuf>,
    /// `sslkey`, which goes with it.
    pub key: Option<PathBuf>,
    /// `sslmode=verify-ca`: whatever name the certificate has.
    pub any_name: bool,
}

impl Address {
    /// Reads either form that libpq knows: `postgres://user@host/database?sslmode=…` and `host=… user=… sslmode=…`. What does
    /// not read stays in [`Address::connection`], whose own parser says what is wrong with it.
    pub fn parse(text: &str) -> Address {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Address::of_url(text)
        } else {
            Address::of_words(text)
        }
    }

    fn of_url(url: &str) -> Address {
        let Some((base, query)) = url.split_once('?') else {
            return Address {
                connection: url.to_owned(),
                ..Address::default()
            };
        };
        let mut found = Found::default();
        let mut kept = Vec::new();
        for pair in query.split('&') {
            let known = pair
                .split_once('=')
                .and_then(|(key, value)| found.take(key, || path(value), value));
            match known {
                None => kept.push(pair),
                Some(instead) => kept.extend(instead),
            }
        }
        found.address(if kept.is_empty() {
            base.to_owned()
        } else {
            format!("{base}?{}", kept.join("&"))
        })
    }

    fn of_words(text: &str) -> Address {
        let Some(pairs) = pairs(text) else {
            return Address {
                connection: text.to_owned(),
                ..Address::default()
            };
        };
        let mut found = Found::default();
        let mut kept = Vec::new();
        for Pair { key, value, raw } in &pairs {
            match found.take(key, || PathBuf::from(value), value) {
                None => kept.push(*raw),
                Some(instead) => kept.extend(instead),
            }
        }
        found.address(kept.join(" "))
    }
}

/// Without the string, which may hold a password.
impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Address")
            .field("ca_file", &self.ca_file)
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("any_name", &self.any_name)
            .finish_non_exhaustive()
    }
}

/// What has been found of TLS so far.
#[derive(Default)]
struct Found {
    ca_file: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    any_name: bool,
}

impl Found {
    /// What stands instead of a word that tokio-postgres does not know; `None` for one that it does.
    fn take(
        &mut self,
        key: &str,
        path: impl FnOnce() -> PathBuf,
        value: &str,
    ) -> Option<Option<&'static str>> {
        match (key, value) {
            // Of several the last counts, with all that it says.
            ("sslmode", mode) => {
                self.any_name = mode == "verify-ca";
                return matches!(mode, "verify-ca" | "verify-full")
                    .then_some(Some("sslmode=require"));
            }
            ("sslrootcert", _) => self.ca_file = Some(path()),
            ("sslcert", _) => self.certificate = Some(path()),
            ("sslkey", _) => self.key = Some(path()),
            _ => return None,
        }
        Some(None)
    }

    fn address(self, connection: String) -> Address {
        Address {
            connection,
            ca_file: self.ca_file,
            certificate: self.certificate,
            key: self.key,
            any_name: self.any_name,
        }
    }
}

/// One `key=value`, and how it was written.
struct Pair<'t> {
    key: &'t str,
    value: String,
    raw: &'t str,
}

/// The pairs of `host=a user='b c'`; `None` for what is none of that.
fn pairs(text: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_end();
        let written = after.trim_start();
        let (value, after) = value(written)?;
        let raw = &rest[..rest.len() - after.len()];
        pairs.push(Pair { key, value, raw });
        rest = after.trim_start();
    }
    Some(pairs)
}

/// The value that a text begins with, in quotes or up to a space, and what follows it. A backslash takes the next character as
/// it is.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            _ if !quoted && character.is_whitespace() => return Some((value, &text[at..])),
            _ => value.push(character),
        }
    }
    (!quoted).then_some((value, ""))
}

/// A value of a query, with its `%2F` and the like decoded; what does not decode stays as it is.
fn path(value: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = (byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| hex::decode(digits).ok());
        match decoded.as_deref() {
            Some([decoded]) => {
                bytes.push(*decoded);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn what_is_said_of_tls_is_taken_out() {
        let plain = Address::parse("postgres://a@b/c");
        assert_eq!(
            (plain.connection.as_str(), plain.any_name),
            ("postgres://a@b/c", false)
        );
        let all = "postgres://a@b/c?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3&sslcert=c.pem&sslkey=k.pem";
        assert_eq!(
            Address::parse(all),
            Address {
                connection: "postgres://a@b/c?sslmode=require&connect_timeout=3".into(),
                ca_file: Some("/etc/ca.pem".into()),
                certificate: Some("c.pem".into()),
                key: Some("k.pem".into()),
                any_name: true,
            }
        );
        let full = Address::parse("postgres://a@b/c?sslmode=verify-full");
        assert_eq!(
            (full.connection.as_str(), full.any_name),
            ("postgres://a@b/c?sslmode=require", false)
        );
        assert_eq!(
            Address::parse("postgres://a@b/c?sslrootcert=100%").connection,
            "postgres://a@b/c"
        );
    }

    #[test]
    fn of_several_modes_the_last_counts_wholly() {
        for (first, last, known, any_name) in [
            ("verify-ca", "verify-full", ["require", "require"], false),
            ("verify-ca", "require", ["require", "require"], false),
            ("verify-ca", "disable", ["require", "disable"], false),
            ("verify-full", "verify-ca", ["require", "require"], true),
            ("disable", "verify-ca", ["disable", "require"], true),
        ] {
            for (start, between) in [("postgres://a@b/c?", "&"), ("host=b ", " ")] {
                let with = |[first, last]: [&str; 2]| {
                    format!("{start}sslmode={first}{between}sslmode={last}")
                };
                let address = Address::parse(&with([first, last]));
                assert_eq!(address.connection, with(known));
                assert_eq!(address.any_name, any_name, "{first}, then {last}");
            }
        }
    }

    #[test]
    fn words_are_read_as_urls_are() {
        let all = r"host=db.example user = 'b c\'s' sslmode=verify-ca sslrootcert='/etc/our ca.pem' sslcert=c.pem sslkey=k\ .pem";
        assert_eq!(
            Address::parse(all),
            Address {
                connection: r"host=db.example user = 'b c\'s' sslmode=require".into(),
                ca_file: Some("/etc/our ca.pem".into()),
                certificate: Some("c.pem".into()),
                key: Some("k .pem".into()),
                any_name: true,
            }
        );
        for kept in [
            "host=/run user=a options='-c x=y'",
            "sslmode=disable",
            "",
            "nonsense",
            "password='open",
        ] {
            assert_eq!(Address::parse(kept).connection, kept);
        }
        assert!(!format!("{:?}", Address::parse("password=hush")).contains("hush"));
    }
}
