//! The address guard: which URLs may be called at all, and which addresses a connection may go to.
//!
//! Anyone with an API key can hand in a URL, and the program that calls it usually stands inside somebody's network. So a
//! URL is checked twice: [`Policy::check_url`] looks at what is written (scheme, credentials, port, host) when it is handed in
//! and again before every attempt, and [`Policy::check_addresses`] looks at what the name resolves to at the moment the
//! connection is made, where neither a redirect nor a changed DNS answer can slip past it.
//!
//! The guard decides; it neither resolves nor connects. The connector does that.

mod ports;
mod ranges;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::Uri;
use url::{Host, Url};

pub use ports::BAD;
pub use ranges::SPECIAL;

/// The longest URL that is accepted, in bytes of its normalised form.
pub const MAX_URL_BYTES: usize = 2048;

/// What the operator permits beyond the public internet.
///
/// The default is the strict one: https only, every port but those of [`BAD`], public unicast addresses only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Ranges that are permitted although they are not public, for channels inside the operator's own network.
    pub allow: Vec<IpRange>,
    /// Whether plain `http` URLs are permitted.
    pub allow_http: bool,
    /// The ports that are permitted, and no others; empty permits every port but those of [`BAD`].
    pub ports: Vec<u16>,
}

/// A URL that the policy permits, in the one spelling that is used from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    uri: Uri,
}

/// Why a URL or an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The text is not an absolute URL.
    #[error("not an absolute URL")]
    Syntax,
    /// The URL is longer than [`MAX_URL_BYTES`].
    #[error("longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// The scheme is neither https nor, where the operator permits it, http.
    #[error("the scheme {0} is not permitted")]
    Scheme(String),
    /// The URL carries a user name or a password.
    #[error("credentials in the URL")]
    Credentials,
    /// The port is not one that the operator permits.
    #[error("port {0} is not permitted by delivery.ports")]
    Port(u16),
    /// The address is not public and no allowed range covers it.
    #[error("the address {address} is not permitted ({kind})")]
    Address {
        /// The refused address.
        address: IpAddr,
        /// What the address is for, from the registry of special addresses.
        kind: &'static str,
    },
    /// There is no URL at all.
    #[error("no URL")]
    Missing,
    /// The host name resolved to nothing.
    #[error("the host name has no address")]
    NoAddress,
}

impl Policy {
    /// Permits every http(s) URL and every address, and every port but those of [`BAD`]: for URLs that the operator alone has
    /// set.
    pub fn unrestricted() -> Self {
        Self {
            allow: vec![IpRange::v4(0, 0, 0, 0, 0), IpRange::v6([0; 8], 0)],
            allow_http: true,
            ports: Vec::new(),
        }
    }

    /// Checks a URL as written and gives it back normalised: percent, octal, hexadecimal and internationalised spellings of a
    /// host all become the form that will be resolved. A host that is an address is checked at once.
    ///
    /// # Errors
    /// [`Refused`] with the first rule that the URL breaks.
    pub fn check_url(&self, text: &str) -> Result<Target, Refused> {
        if text.len() > MAX_URL_BYTES {
            return Err(Refused::TooLong);
        }
        // The URL standard drops tabs, newlines and surrounding blanks without a word; here they are a mistake or a trick.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) || text.contains('\\') {
            return Err(Refused::Syntax);
        }
        let url = Url::parse(text).map_err(|_| Refused::Syntax)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            other => return Err(Refused::Scheme(other.to_owned())),
        }
        // `http:host` and `https:///host` parse as if the slashes were right; only the plain form is taken.
        if !text
            .as_bytes()
            .get(url.scheme().len()..)
            .is_some_and(|rest| {
                rest.starts_with(b"://") && rest.get(3).is_some_and(|&byte| byte != b'/')
            })
        {
            return Err(Refused::Syntax);
        }
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(Refused::Credentials);
        }
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(Refused::TooLong);
        }
        let port = url.port_or_known_default().ok_or(Refused::Syntax)?;
        if !self.permits_port(port) {
            return Err(Refused::Port(port));
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check_address(address.into())?,
            Some(Host::Ipv6(address)) => self.check_address(address.into())?,
            Some(Host::Domain(name)) if name.trim_end_matches('.').is_empty() => {
                return Err(Refused::Syntax);
            }
            Some(Host::Domain(_)) => {}
            None => return Err(Refused::Syntax),
        }
        // What the URL standard takes and the HTTP client would not.
        let uri = Uri::from_str(url.as_str()).map_err(|_| Refused::Syntax)?;
        Ok(Target { url, uri })
    }

    fn permits_port(&self, port: u16) -> bool {
        match (port, &*self.ports) {
            (0, _) => false,
            (_, []) => BAD.binary_search(&port).is_err(),
            (_, permitted) => permitted.contains(&port),
        }
    }

    /// Checks one address that a connection would go to.
    ///
    /// # Errors
    /// [`Refused::Address`] when it is not public unicast and no allowed range covers it.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        let Some(kind) = special(address) else {
            return Ok(());
        };
        let permitted = |address: IpAddr| self.allow.iter().any(|range| range.contains(address));
        // An operator who allows 10.0.0.0/8 means those machines, however an IPv4-mapped answer spells them.
        let mapped = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        if permitted(address) || mapped.is_some_and(permitted) {
            return Ok(());
        }
        Err(Refused::Address { address, kind })
    }

    /// Checks everything that a name resolved to. One bad address condemns the answer: a name that points both inside and
    /// outside is a rebinding trick or a mistake, and which address would be tried first is chance.
    ///
    /// # Errors
    /// [`Refused::Address`] for the first bad address, [`Refused::NoAddress`] when there is none at all.
    pub fn check_addresses(&self, addresses: &[IpAddr]) -> Result<(), Refused> {
        if addresses.is_empty() {
            return Err(Refused::NoAddress);
        }
        addresses
            .iter()
            .try_for_each(|&address| self.check_address(address))
    }
}

impl Target {
    /// The URL in its normalised spelling.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The URL as the HTTP client takes it.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Scheme, host and port: what one endpoint's connections have in common.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// The part of a URL's text between the slashes and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// What a special address is for, or `None` for an ordinary public one.
fn special(address: IpAddr) -> Option<&'static str> {
    if let Some((_, kind)) = SPECIAL.iter().find(|(range, _)| range.contains(address)) {
        return Some(kind);
    }
    match address {
        IpAddr::V4(_) => None,
        // Only 2000::/3 is handed out as global unicast (RFC 4291, section 2.4; IANA's IPv6 address space).
        IpAddr::V6(v6) => (v6.segments()[0] & 0xe000 != 0x2000).then_some("not global unicast"),
    }
}

/// A range of addresses in CIDR notation, such as `10.0.0.0/8` or `fd00::/8`; a bare address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    base: IpAddr,
    prefix: u8,
}

/// The text is not a range: an address, optionally with `/` and a prefix length, and no bits set beyond the prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address range such as 10.0.0.0/8 or fd00::/8")]
pub struct NotARange(String);

impl IpRange {
    pub(crate) const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self {
            base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            prefix,
        }
    }

    pub(crate) const fn v6(segments: [u16; 8], prefix: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = segments;
        Self {
            base: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)),
            prefix,
        }
    }

    /// Whether the range covers the address. A range of one family never covers the other.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits())
                    .checked_shr(32 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits())
                    .checked_shr(128 - u32::from(self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for IpRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let wrong = || NotARange(text.chars().take(64).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_| wrong())?;
        let widest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        if prefix > widest {
            return Err(wrong());
        }
        let host_bits = match base {
            IpAddr::V4(v4) => v4.to_bits().checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
            IpAddr::V6(v6) => v6.to_bits().checked_shl(u32::from(prefix)).unwrap_or(0) != 0,
        };
        if host_bits {
            return Err(wrong());
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}
