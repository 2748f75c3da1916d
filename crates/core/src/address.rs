//! Where a node listens, as text: `host:port` (spec/ledger.md, "Genesis document").

use core::net::{Ipv4Addr, Ipv6Addr};

/// The most bytes of an address; the longest name, a colon and five digits have 259.
pub const ADDRESS_LEN_MAX: usize = 261;

const NAME_LEN_MAX: usize = 253;
const LABEL_LEN_MAX: usize = 63;

/// Whether a text is an address that others can reach a node at: a DNS name, an IPv4 address, or an IPv6 address in
/// brackets; a colon; a port from 1 to 65535.
///
/// Nothing is resolved. An address that means "all of this machine's" is none: nobody else can dial it.
#[must_use]
pub fn is_address(text: &str) -> bool {
    if text.len() > ADDRESS_LEN_MAX {
        return false;
    }
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        return inside
            .strip_suffix(']')
            .and_then(|ip| ip.parse::<Ipv6Addr>().ok())
            .is_some_and(|ip| !ip.is_unspecified());
    }
    match host.parse::<Ipv4Addr>() {
        Ok(ip) => !ip.is_unspecified(),
        Err(_) => is_name(host),
    }
}

/// RFC 1123, section 2.1. A last label of digits alone is left to IPv4 addresses: `10.0.0.256` is no name.
fn is_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= NAME_LEN_MAX
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_LEN_MAX).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// One form for each port: no sign, no zeros in front.
fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
        && !port.starts_with('0')
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn names_and_both_kinds_of_ip_address_with_a_port() {
        for address in [
            "a:1",
            "node.example:65535",
            "Node-1.b2.example:7041",
            "1.example:7041",
            "xn--bcher-kva.example:7041",
            "192.0.2.1:7041",
            "127.0.0.1:7041",
            "[2001:db8::1]:7041",
            "[::1]:7041",
            "[::ffff:192.0.2.1]:7041",
        ] {
            assert!(is_address(address), "{address}");
        }
    }

    #[test]
    fn nothing_else() {
        for address in [
            "",
            ":",
            "a",
            ":7041",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:01",
            "a:7041 ",
            " a:7041",
            "a b:7041",
            "a..b:7041",
            "a.:7041",
            "-a:7041",
            "a-:7041",
            "a_b:7041",
            "é:7041",
            "a/b:7041",
            "https://a:7041",
            "user@a:7041",
            "10.0.0.256:7041",
            "10.1:7041",
            "0.0.0.0:7041",
            "[::]:7041",
            "::1:7041",
            "2001:db8::1:7041",
            "[::1]7041",
            "[::1:7041",
            "[fe80::1%eth0]:7041",
            "[127.0.0.1]:7041",
            "[a]:7041",
            "a:7041\n",
            "a\0:7041",
        ] {
            assert!(!is_address(address), "{address:?}");
        }
    }

    #[test]
    fn names_and_labels_have_bounds() {
        let label = |len| "a".repeat(len);
        let name = |len: usize| -> String {
            let mut name = [label(63), label(63), label(63)].join(".");
            name.push('.');
            name.push_str(&label(len - name.len()));
            name
        };
        for (host, fits) in [
            (label(63), true),
            (label(64), false),
            (name(253), true),
            (name(254), false),
        ] {
            let address = std::format!("{host}:65535");
            assert_eq!(is_address(&address), fits, "{}", host.len());
        }
    }
}
