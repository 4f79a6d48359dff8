//! The addresses that are not somebody's public machine, with what each range is for.
//!
//! From IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates), with the cloud providers' metadata
//! addresses that lie in otherwise public space. The first range that covers an address names it, so a narrow range stands
//! before the wide one around it.

use super::IpRange;

/// Every special range with its purpose. IPv6 outside `2000::/3` is refused as a whole; its ranges are listed for their names.
pub const SPECIAL: &[(IpRange, &str)] = &[
    // IPv4.
    (IpRange::v4(0, 0, 0, 0, 8), "this network"),
    (IpRange::v4(10, 0, 0, 0, 8), "private"),
    (IpRange::v4(100, 100, 100, 200, 32), "cloud metadata"),
    (IpRange::v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (IpRange::v4(127, 0, 0, 0, 8), "loopback"),
    (IpRange::v4(168, 63, 129, 16, 32), "cloud metadata"),
    (IpRange::v4(169, 254, 169, 254, 32), "cloud metadata"),
    (IpRange::v4(169, 254, 0, 0, 16), "link-local"),
    (IpRange::v4(172, 16, 0, 0, 12), "private"),
    (IpRange::v4(192, 0, 0, 0, 24), "protocol assignments"),
    (IpRange::v4(192, 0, 2, 0, 24), "documentation"),
    (IpRange::v4(192, 88, 99, 0, 24), "6to4 relay"),
    (IpRange::v4(192, 168, 0, 0, 16), "private"),
    (IpRange::v4(198, 18, 0, 0, 15), "benchmark"),
    (IpRange::v4(198, 51, 100, 0, 24), "documentation"),
    (IpRange::v4(203, 0, 113, 0, 24), "documentation"),
    (IpRange::v4(224, 0, 0, 0, 4), "multicast"),
    (IpRange::v4(255, 255, 255, 255, 32), "broadcast"),
    (IpRange::v4(240, 0, 0, 0, 4), "reserved"),
    // IPv6 within 2000::/3.
    (IpRange::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (IpRange::v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmark"),
    (
        IpRange::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "protocol assignments",
    ),
    (
        IpRange::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "documentation",
    ),
    (IpRange::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (
        IpRange::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "documentation",
    ),
    // IPv6 outside 2000::/3.
    (IpRange::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (IpRange::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (
        IpRange::v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
        "IPv4-mapped",
    ),
    (
        IpRange::v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
        "IPv4-translated",
    ),
    (IpRange::v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible"),
    (IpRange::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64"),
    (IpRange::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "NAT64"),
    (IpRange::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard"),
    (
        IpRange::v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
        "segment routing",
    ),
    (
        IpRange::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
        "cloud metadata",
    ),
    (
        IpRange::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "unique-local",
    ),
    (IpRange::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (IpRange::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (IpRange::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];
