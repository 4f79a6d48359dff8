//! What a connection URL says of TLS, in libpq's words.
//!
//! `sslmode` is `disable`, `prefer` (the default: TLS if the server has it), `require`, `verify-ca` or `verify-full`; the last is
//! what `require` is here, too. Wherever there is TLS, the certificate is verified, and but for `verify-ca` the host name in it.
//! `sslrootcert` names certificates to trust, `sslcert` and `sslkey` what this side shows (all PEM).

use std::path::PathBuf;

/// A URL that tokio-postgres understands, and what it does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    /// The URL without what is here.
    pub(super) url: String,
    /// `sslrootcert`.
    pub(super) ca_file: Option<PathBuf>,
    /// `sslcert` and `sslkey`.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    /// `sslmode=verify-ca`: whatever name the certificate has.
    pub(super) any_name: bool,
}

impl Address {
    pub(super) fn parse(url: &str) -> Address {
        let Some((base, query)) = url.split_once('?') else {
            return Address {
                url: url.to_owned(),
                ..Address::default()
            };
        };
        let mut address = Address::default();
        let (mut certificate, mut key) = (None, None);
        let mut kept = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", "verify-full")) => kept.push("sslmode=require"),
                Some(("sslmode", "verify-ca")) => {
                    address.any_name = true;
                    kept.push("sslmode=require");
                }
                Some(("sslrootcert", value)) => address.ca_file = Some(path(value)),
                Some(("sslcert", value)) => certificate = Some(path(value)),
                Some(("sslkey", value)) => key = Some(path(value)),
                _ => kept.push(pair),
            }
        }
        address.identity = certificate.zip(key);
        address.url = if kept.is_empty() {
            base.to_owned()
        } else {
            format!("{base}?{}", kept.join("&"))
        };
        address
    }
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
            (plain.url.as_str(), plain.any_name),
            ("postgres://a@b/c", false)
        );
        let all = "postgres://a@b/c?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=3&sslcert=c.pem&sslkey=k.pem";
        assert_eq!(
            Address::parse(all),
            Address {
                url: "postgres://a@b/c?sslmode=require&connect_timeout=3".into(),
                ca_file: Some("/etc/ca.pem".into()),
                identity: Some(("c.pem".into(), "k.pem".into())),
                any_name: true,
            }
        );
        let full = Address::parse("postgres://a@b/c?sslmode=verify-full");
        assert_eq!(
            (full.url.as_str(), full.any_name),
            ("postgres://a@b/c?sslmode=require", false)
        );
        assert_eq!(
            Address::parse("postgres://a@b/c?sslrootcert=100%").url,
            "postgres://a@b/c"
        );
    }
}
