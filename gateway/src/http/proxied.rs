//! The PROXY protocol, versions 1 and 2: the first bytes of a connection, by which a load balancer in
//! TCP says where the client is. Its specification is HAProxy's `proxy-protocol.txt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most bytes that a header may have: more than any balancer sends.
pub const MAX_HEADER: usize = 4096;

/// The longest header of version 1.
const MAX_LINE: usize = 107;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// Perhaps a header, of which more has to come.
    Partial,
    /// A header of so many bytes, and the client that it names; nobody where the balancer speaks for
    /// itself.
    Header(usize, Option<IpAddr>),
    /// No header.
    Other,
}

/// Reads the first bytes of a connection.
#[must_use]
pub fn read(bytes: &[u8]) -> Proxied {
    if is_beginning(bytes, SIGNATURE) {
        return read_binary(bytes);
    }
    if is_beginning(bytes, b"PROXY ") {
        return read_line(bytes);
    }
    Proxied::Other
}

fn is_beginning(bytes: &[u8], of: &[u8]) -> bool {
    let common = bytes.len().min(of.len());
    bytes[..common] == of[..common]
}

/// Version 1, section 2.1: one line.
fn read_line(bytes: &[u8]) -> Proxied {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_LINE {
            Proxied::Partial
        } else {
            Proxied::Other
        };
    };
    let Ok(text) = std::str::from_utf8(&line[..end]) else {
        return Proxied::Other;
    };
    let mut words = text.split(' ').skip(1);
    let source = match words.next() {
        Some("TCP4") => words
            .next()
            .and_then(|word| word.parse::<Ipv4Addr>().ok())
            .map(IpAddr::V4),
        Some("TCP6") => words
            .next()
            .and_then(|word| word.parse::<Ipv6Addr>().ok())
            .map(IpAddr::V6),
        Some("UNKNOWN") => return Proxied::Header(end + 2, None),
        _ => None,
    };
    match source {
        Some(source) => Proxied::Header(end + 2, Some(source)),
        None => Proxied::Other,
    }
}

/// Version 2, section 2.2: the signature, two bytes of what and how, the length of the rest.
fn read_binary(bytes: &[u8]) -> Proxied {
    let Some((header, rest)) = bytes.split_first_chunk::<16>() else {
        return Proxied::Partial;
    };
    let [.., command, family, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let size = header.len() + length;
    if command >> 4 != 2 || size > MAX_HEADER {
        return Proxied::Other;
    }
    let Some(addresses) = rest.get(..length) else {
        return Proxied::Partial;
    };
    let source = match (command & 0xf, family) {
        // LOCAL: a probe of the balancer's own.
        (0, _) => return Proxied::Header(size, None),
        (1, 0x11) => addresses
            .first_chunk::<4>()
            .filter(|_| length >= 12)
            .map(|octets| IpAddr::from(*octets)),
        (1, 0x21) => addresses
            .first_chunk::<16>()
            .filter(|_| length >= 36)
            .map(|octets| IpAddr::from(*octets)),
        // Another transport, which has no address of this kind.
        (1, _) => return Proxied::Header(size, None),
        _ => None,
    };
    match source {
        Some(source) => Proxied::Header(size, Some(source)),
        None => Proxied::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn both_versions_name_the_client() {
        let v4 = IpAddr::from([192, 0, 2, 1]);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        for (header, source) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n".to_vec(),
                Some(v4),
            ),
            (b"PROXY TCP6 2001:db8::1 ::1 4660 80\r\n".to_vec(), Some(v6)),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (binary(0x21, 0x11, &four), Some(v4)),
            (binary(0x21, 0x21, &six), Some(v6)),
            (
                binary(0x21, 0x11, &[&four[..], &[3, 0, 1, 7]].concat()),
                Some(v4),
            ),
            (binary(0x20, 0, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let mut bytes = header.clone();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            assert_eq!(read(&bytes), Proxied::Header(header.len(), source));
            for length in 0..header.len() {
                assert_eq!(read(&bytes[..length]), Proxied::Partial, "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_said_to_be_none() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1\n",
            b"PROXY TCP4 nonsense 10.0.0.1 1 2\r\n",
            b"PROXY TCP9 192.0.2.1 10.0.0.1 1 2\r\n",
            &[b"PROXY ", &[b'x'; 200][..]].concat(),
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 5]),
            &binary(0x25, 0x11, &[0; 12]),
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
        ] {
            let found = read(bytes);
            let later = bytes == b"PROXY TCP4 192.0.2.1\n";
            assert!(found == Proxied::Other || later, "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..3) {
            let begin: &[u8] = match version {
                0 => SIGNATURE,
                1 => b"PROXY ",
                _ => b"",
            };
            let all = [begin, &bytes].concat();
            if let Proxied::Header(size, _) = read(&all) {
                prop_assert!(size <= all.len().min(MAX_HEADER));
            }
        }
    }
}
