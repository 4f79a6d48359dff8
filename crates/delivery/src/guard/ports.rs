//! Ports on which something else than HTTP listens.

/// The bad ports of WHATWG's Fetch Standard (<https://fetch.spec.whatwg.org/#port-blocking>), which no browser sends HTTP to
/// either: mail, remote shells, names, directories and the like, some of which take a POST for a command. In ascending order.
/// Databases and caches are not among them: they are not public, which the ranges of addresses see to.
pub const BAD: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
];

#[cfg(test)]
mod tests {
    use super::BAD;

    #[test]
    fn the_ports_ascend_and_none_is_given_out_by_the_system() {
        assert!(BAD.is_sorted_by(|a, b| a < b));
        // Ephemeral ports begin at 32768 on Linux.
        assert!(BAD.iter().all(|port| (1..32_768).contains(port)));
    }
}
