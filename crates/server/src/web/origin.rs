//! Where a request came from: the connection's address, or the client's behind proxies that the operator trusts.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::app::App;
use crate::app::view::Origin;
use sealpost_delivery::guard::IpRange;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl FromRequestParts<App> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        let user_agent = parts
            .headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        let trusted = &app.config().trusted_proxies;
        Ok(Self {
            address: client_address(peer, &parts.headers, trusted).to_canonical(),
            is_unnamed_proxy: is_unnamed_proxy(peer, &parts.headers, trusted),
            user_agent: user_agent.map(|text| text.chars().take(256).collect()),
        })
    }
}

/// Walks `x-forwarded-for` from its end, as long as the one who added the entry is trusted; whoever comes first in the
/// header could have been written by anyone.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpRange]) -> IpAddr {
    let mut address = peer;
    let lists = headers
        .get_all(FORWARDED_FOR)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    for entry in forwarded.into_iter().rev().take(16) {
        if !is_trusted(address, trusted) {
            break;
        }
        match address_of(entry) {
            Some(next) => address = next,
            None => break,
        }
    }
    address
}

fn is_trusted(address: IpAddr, trusted: &[IpRange]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(address))
}

/// An address, with or without a port; of IPv6, with or without brackets around it.
fn address_of(entry: &str) -> Option<IpAddr> {
    let bare = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|both| both.ip());
    entry.parse().ok().or_else(with_port).or_else(bare)
}

/// Whether a program on this machine forwards what others ask, and is not trusted. Whoever is on this machine can seem to be one.
fn is_unnamed_proxy(peer: IpAddr, headers: &HeaderMap, trusted: &[IpRange]) -> bool {
    peer.to_canonical().is_loopback()
        && headers.contains_key(FORWARDED_FOR)
        && !is_trusted(peer, trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let from = |peer: &str, header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, header.parse().unwrap());
            client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(from("10.0.0.1", "1.1.1.1, 203.0.113.9"), "203.0.113.9");
        assert_eq!(from("10.0.0.1", "203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(from("198.51.100.1", "203.0.113.9"), "198.51.100.1");
        assert_eq!(from("10.0.0.1", "unknown"), "10.0.0.1");
        assert_eq!(from("10.0.0.1", "2001:db8::1"), "2001:db8::1");
        // Some proxies write the port, too.
        for (entry, address) in [
            ("203.0.113.9:51324", "203.0.113.9"),
            ("[2001:db8::1]:51324", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1", "10.0.0.1"),
            ("203.0.113.9:x", "10.0.0.1"),
        ] {
            assert_eq!(from("10.0.0.1", entry), address, "{entry}");
        }
    }

    #[test]
    fn a_proxy_on_this_machine_is_known_though_it_is_not_named() {
        let trusted = ["127.0.0.1/32".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let is = |peer: &str, headers: &HeaderMap, trusted: &[IpRange]| {
            is_unnamed_proxy(peer.parse().unwrap(), headers, trusted)
        };
        assert!(!is("127.0.0.1", &headers, &[]));
        headers.insert(FORWARDED_FOR, "203.0.113.9".parse().unwrap());
        assert!(is("127.0.0.1", &headers, &[]));
        assert!(is("::1", &headers, &trusted));
        assert!(!is("127.0.0.1", &headers, &trusted));
        assert!(!is("203.0.113.1", &headers, &[]));
    }
}
