//! Which ports may be called.

use sealpost_delivery::guard::{BAD, Policy, Refused};

#[test]
fn ports_of_other_services_are_refused_unless_the_operator_names_ports() {
    let default = Policy::default();
    for port in BAD {
        for url in [
            format!("https://example.com:{port}/callback"),
            format!("https://8.8.8.8:{port}/callback"),
        ] {
            assert_eq!(default.check_url(&url), Err(Refused::Port(*port)), "{url}");
        }
    }
    for port in [80, 443, 8080, 8443, 9000, 32_768, 65_535] {
        let url = format!("https://example.com:{port}/callback");
        assert!(default.check_url(&url).is_ok(), "{url}");
    }
    let named = Policy {
        ports: vec![443, 10080],
        ..Policy::default()
    };
    for (url, refused) in [
        ("https://example.com/", None),
        ("https://example.com:10080/", None),
        ("https://example.com:8443/", Some(8443)),
        ("https://example.com:22/", Some(22)),
        ("https://example.com:0/", Some(0)),
    ] {
        let refused = refused.map(Refused::Port);
        assert_eq!(named.check_url(url).err(), refused, "{url}");
    }
}

#[test]
fn the_refusal_names_the_port_and_the_setting() {
    let refused = Policy::default().check_url("https://example.com:25/");
    let said = refused.unwrap_err().to_string();
    assert!(
        said.contains("25") && said.contains("delivery.ports"),
        "{said}"
    );
}

#[test]
fn plain_http_and_the_operators_own_addresses_have_the_same_ports() {
    let own = Policy::unrestricted();
    assert_eq!(own.check_url("http://10.0.0.1:25/"), Err(Refused::Port(25)));
    assert!(own.check_url("http://10.0.0.1:9093/").is_ok());
}
