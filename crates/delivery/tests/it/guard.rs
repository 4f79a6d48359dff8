//! The address guard, case by case.

use std::net::IpAddr;

use sealpost_delivery::guard::{IpRange, Policy, Refused};

/// Addresses that are refused, and what they are.
const REFUSED: &[(&str, &str)] = &[
    ("0.0.0.0", "this network"),
    ("0.0.0.1", "this network"),
    ("0.255.255.255", "this network"),
    ("10.0.0.0", "private"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "carrier-grade NAT"),
    ("100.100.100.100", "carrier-grade NAT"),
    ("100.100.100.200", "cloud metadata"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("127.0.0.0", "loopback"),
    ("127.0.0.1", "loopback"),
    ("127.1.2.3", "loopback"),
    ("127.255.255.255", "loopback"),
    ("168.63.129.16", "cloud metadata"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.253", "link-local"),
    ("169.254.169.254", "cloud metadata"),
    ("169.254.170.2", "link-local"),
    ("169.254.255.255", "link-local"),
    ("172.16.0.0", "private"),
    ("172.20.10.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.1", "protocol assignments"),
    ("192.0.0.170", "protocol assignments"),
    ("192.0.0.192", "protocol assignments"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("192.168.0.1", "private"),
    ("192.168.255.255", "private"),
    ("198.18.0.0", "benchmark"),
    ("198.19.255.255", "benchmark"),
    ("198.51.100.7", "documentation"),
    ("203.0.113.255", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"),
    ("254.1.1.1", "reserved"),
    ("255.255.255.254", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::2", "IPv4-compatible"),
    ("::7f00:1", "IPv4-compatible"),
    ("::8.8.8.8", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:10.0.0.1", "IPv4-mapped"),
    ("::ffff:169.254.169.254", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("::ffff:0:8.8.8.8", "IPv4-translated"),
    ("64:ff9b::127.0.0.1", "NAT64"),
    ("64:ff9b::10.1.2.3", "NAT64"),
    ("64:ff9b::8.8.8.8", "NAT64"),
    ("64:ff9b:1::a00:1", "NAT64"),
    ("64:ff9b:1:ffff::1", "NAT64"),
    ("64:ff9b:2::1", "not global unicast"),
    ("100::1", "discard"),
    ("100::ffff:ffff:ffff:ffff", "discard"),
    ("100:0:0:1::1", "not global unicast"),
    ("200::1", "not global unicast"),
    ("400::1", "not global unicast"),
    ("1fff:ffff::1", "not global unicast"),
    ("2001::1", "Teredo"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
    ("2001:1::1", "protocol assignments"),
    ("2001:2::1", "benchmark"),
    ("2001:3::1", "protocol assignments"),
    ("2001:4:112::1", "protocol assignments"),
    ("2001:10::1", "protocol assignments"),
    ("2001:20::1", "protocol assignments"),
    ("2001:30::1", "protocol assignments"),
    ("2001:1ff:ffff::1", "protocol assignments"),
    ("2001:db8::1", "documentation"),
    ("2001:db8:ffff::1", "documentation"),
    ("2002::1", "6to4"),
    ("2002:7f00:1::1", "6to4"),
    ("2002:0a00:0001::1", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("2002:ffff:ffff::", "6to4"),
    ("3fff::1", "documentation"),
    ("3fff:fff:ffff::1", "documentation"),
    ("4000::1", "not global unicast"),
    ("5f00::1", "segment routing"),
    ("8000::1", "not global unicast"),
    ("e000::1", "not global unicast"),
    ("fbff::1", "not global unicast"),
    ("fc00::1", "unique-local"),
    ("fd00::1", "unique-local"),
    ("fd00:ec2::254", "cloud metadata"),
    ("fdff:ffff::1", "unique-local"),
    ("fe00::1", "not global unicast"),
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("fec0::1", "site-local"),
    ("feff::1", "site-local"),
    ("ff00::1", "multicast"),
    ("ff02::1", "multicast"),
    ("ff0e::1", "multicast"),
];

/// Addresses right beside the special ranges, and some well-known public ones.
const PERMITTED: &[&str] = &[
    "1.0.0.0",
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "114.114.114.114",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.5.5.5",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2001:db7::1",
    "2001:db9::1",
    "2003::1",
    "2400:3200::1",
    "2408:8000::1",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "3ffe::1",
    "3fff:1000::1",
];

#[test]
fn special_addresses_are_refused_by_name() {
    for (address, kind) in REFUSED {
        let address: IpAddr = address.parse().unwrap();
        match Policy::default().check_address(address) {
            Err(Refused::Address { kind: found, .. }) => assert_eq!(found, *kind, "{address}"),
            other => panic!("{address}: {other:?}"),
        }
    }
}

#[test]
fn public_addresses_are_permitted() {
    for address in PERMITTED {
        assert_eq!(
            Policy::default().check_address(address.parse().unwrap()),
            Ok(()),
            "{address}"
        );
    }
}

/// URLs that are refused as written under the default policy.
const REFUSED_URLS: &[(&str, &str)] = &[
    ("", "syntax"),
    ("/callback", "syntax"),
    ("example.com/callback", "syntax"),
    ("//example.com/callback", "syntax"),
    ("https:example.com", "syntax"),
    ("https:/example.com", "syntax"),
    ("https:///example.com", "syntax"),
    ("https://", "syntax"),
    ("https://.", "syntax"),
    ("https://?x", "syntax"),
    ("https:\\\\example.com", "syntax"),
    ("https://example.com\\@127.0.0.1/", "syntax"),
    (" https://example.com", "syntax"),
    ("https://example.com ", "syntax"),
    ("https://exa mple.com", "syntax"),
    ("https://exam\tple.com", "syntax"),
    ("https://exam\nple.com", "syntax"),
    ("https://exam\rple.com/", "syntax"),
    ("https://exam\u{0}ple.com", "syntax"),
    ("https://exa\u{3000}mple.com", "syntax"),
    ("https://example.com:99999", "syntax"),
    ("https://example.com:-1", "syntax"),
    ("https://example.com:0", "port"),
    ("https://[::1", "syntax"),
    ("https://[fe80::1%25eth0]/", "syntax"),
    ("https://[::1]x/", "syntax"),
    ("https://256.256.256.256/", "syntax"),
    ("https://1.2.3.4.5/", "syntax"),
    ("https://127.0.0.0x100/", "syntax"),
    ("https://exa%00mple.com/", "syntax"),
    ("https://exa%2fmple.com/", "syntax"),
    ("https://xn--/", "syntax"),
    ("http://example.com/", "scheme"),
    ("HTTP://example.com/", "scheme"),
    ("ftp://example.com/", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("gopher://example.com/", "scheme"),
    ("javascript:alert(1)", "scheme"),
    ("data:text/plain,x", "scheme"),
    ("ws://example.com/", "scheme"),
    ("unix:/run/docker.sock", "scheme"),
    ("https://user@example.com/", "credentials"),
    ("https://user:password@example.com/", "credentials"),
    ("https://:password@example.com/", "credentials"),
    ("https://@example.com/", "credentials"),
    ("https://:@example.com/", "credentials"),
    ("https://example.com@127.0.0.1/", "credentials"),
    ("https://127.0.0.1#@example.com/", "address"),
    ("https://127.0.0.1/", "address"),
    ("https://127.1/", "address"),
    ("https://127.0.1/", "address"),
    ("https://0/", "address"),
    ("https://0x7f.1/", "address"),
    ("https://0x7f000001/", "address"),
    ("https://2130706433/", "address"),
    ("https://017700000001/", "address"),
    ("https://0177.0.0.1/", "address"),
    ("https://0x7f.0x0.0x0.0x1/", "address"),
    ("https://127.0.0.1./", "address"),
    ("https://%31%32%37.0.0.1/", "address"),
    ("https://１２７.０.０.１/", "address"),
    ("https://①②⑦.⓪.⓪.①/", "address"),
    ("https://127。0。0。1/", "address"),
    ("https://169.254.169.254/latest/meta-data/", "address"),
    ("https://0xa9fea9fe/", "address"),
    ("https://10.0.0.1:8443/", "address"),
    ("https://[::1]/", "address"),
    ("https://[0:0:0:0:0:0:0:1]/", "address"),
    ("https://[::]/", "address"),
    ("https://[::ffff:127.0.0.1]/", "address"),
    ("https://[::ffff:7f00:1]/", "address"),
    ("https://[64:ff9b::7f00:1]/", "address"),
    ("https://[2002:7f00:1::]/", "address"),
    ("https://[fd00:ec2::254]/", "address"),
    ("https://[fe80::1]/", "address"),
];

#[test]
fn urls_are_refused_as_written() {
    for (url, rule) in REFUSED_URLS {
        let found = match Policy::default().check_url(url) {
            Err(Refused::Syntax) => "syntax",
            Err(Refused::Scheme(_)) => "scheme",
            Err(Refused::Credentials) => "credentials",
            Err(Refused::Port(_)) => "port",
            Err(Refused::Address { .. }) => "address",
            Err(other) => panic!("{url:?}: {other:?}"),
            Ok(target) => panic!("{url:?} is permitted as {target:?}"),
        };
        assert_eq!(found, *rule, "{url:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(2048));
    assert_eq!(Policy::default().check_url(&long), Err(Refused::TooLong));
    let grows = format!("https://example.com/{}", "签".repeat(400));
    assert_eq!(
        Policy::default().check_url(&grows),
        Err(Refused::TooLong),
        "percent-encoded it is longer than the limit"
    );
}

#[test]
fn urls_are_permitted_and_normalised() {
    let cases = [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com/Path", "https://example.com/Path"),
        ("https://example.com:443/", "https://example.com/"),
        (
            "https://example.com:8443/x?y=1",
            "https://example.com:8443/x?y=1",
        ),
        ("https://example.com./", "https://example.com./"),
        ("https://ex%61mple.com/", "https://example.com/"),
        (
            "https://回调.例子.中国/签",
            "https://xn--zbss05j.xn--fsqu00a.xn--fiqs8s/%E7%AD%BE",
        ),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        (
            "https://[2606:4700:4700::1111]/",
            "https://[2606:4700:4700::1111]/",
        ),
        ("https://localhost/", "https://localhost/"), // what it resolves to is refused at the connection
        ("https://example.com/a@b", "https://example.com/a@b"),
    ];
    for (url, normalised) in cases {
        let target = Policy::default()
            .check_url(url)
            .unwrap_or_else(|refused| panic!("{url}: {refused}"));
        assert_eq!(target.as_str(), normalised);
    }
}

#[test]
fn an_operator_permits_http_ports_and_ranges() {
    let policy = Policy {
        allow: vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd12::/16".parse().unwrap(),
            "127.0.0.1".parse().unwrap(),
        ],
        allow_http: true,
        ports: vec![80, 443],
    };
    for url in [
        "http://10.1.2.3/",
        "http://127.0.0.1/",
        "https://[fd12::1]/",
        "http://example.com:443/",
    ] {
        assert!(policy.check_url(url).is_ok(), "{url}");
    }
    for url in [
        "http://127.0.0.2/",
        "https://[fd13::1]/",
        "https://192.168.0.1/",
        "ftp://10.0.0.1/",
    ] {
        assert!(policy.check_url(url).is_err(), "{url}");
    }
    assert_eq!(
        policy.check_url("http://10.0.0.1:8080/"),
        Err(Refused::Port(8080))
    );
    assert!(
        policy
            .check_address("::ffff:10.0.0.1".parse().unwrap())
            .is_ok(),
        "the same machine, spelled otherwise"
    );
    assert!(
        policy
            .check_address("64:ff9b::10.0.0.1".parse().unwrap())
            .is_err(),
        "another way there is not meant"
    );
}

#[test]
fn one_bad_address_condemns_the_answer() {
    let answer = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        Policy::default().check_addresses(&addresses)
    };
    assert_eq!(answer(&[]), Err(Refused::NoAddress));
    assert_eq!(answer(&["1.1.1.1", "2606:4700:4700::1111"]), Ok(()));
    assert!(answer(&["1.1.1.1", "127.0.0.1"]).is_err());
    assert!(answer(&["10.0.0.1", "1.1.1.1"]).is_err());
    assert!(answer(&["1.1.1.1", "::ffff:1.1.1.1"]).is_err());
}

#[test]
fn ranges_are_read_strictly() {
    for text in [
        "10.0.0.0/8",
        "10.1.2.3",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "::1",
        "255.255.255.255/32",
        "::1/128",
    ] {
        assert!(text.parse::<IpRange>().is_ok(), "{text}");
    }
    for text in [
        "",
        "10",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "fd00::/129",
        "fd00::1/8",
        "/8",
        "a/8",
        "10.0.0.0 /8",
    ] {
        assert!(text.parse::<IpRange>().is_err(), "{text}");
    }
    let all: IpRange = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("1.2.3.4".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
    let six: IpRange = "::/0".parse().unwrap();
    assert!(six.contains("fe80::1".parse().unwrap()));
    assert_eq!(
        "fd00::/8".parse::<IpRange>().unwrap().to_string(),
        "fd00::/8"
    );
}

#[test]
fn the_table_is_long_enough() {
    assert!(REFUSED.len() + PERMITTED.len() + REFUSED_URLS.len() >= 150);
}
