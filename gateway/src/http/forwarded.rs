//! Where a client is, by the word of the proxies between: `Forwarded` (RFC 7239), or else
//! `X-Forwarded-For`.

use std::net::{IpAddr, SocketAddr};

use fanfare_shared::config::Proxy;

/// The most headers that are looked at; a request with more was refused before.
const MAX_HEADERS: usize = 512;

/// The address of the client of a request that came from `peer`: the last that is named and is not
/// itself one of the proxies. What comes from anybody else names nobody.
#[must_use]
pub fn client(head: &[u8], peer: IpAddr, proxy: &Proxy) -> IpAddr {
    if !proxy.trusts(peer) {
        return peer;
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(head).is_ok_and(|status| status.is_complete()) {
        return peer;
    }
    let values = |name: &str| {
        let headers = request.headers.iter();
        let named = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
        let texts: Vec<_> = named
            .filter_map(|header| std::str::from_utf8(header.value).ok())
            .collect();
        texts.join(",")
    };
    let forwarded = values("forwarded");
    let (named, read): (_, fn(&str) -> Option<IpAddr>) = if forwarded.is_empty() {
        (values("x-forwarded-for"), address)
    } else {
        (forwarded, forwarded_for)
    };
    let mut nearest = peer;
    for hop in named.rsplit(',') {
        // Who says what is no address says nothing of those before it.
        let Some(address) = read(hop.trim()) else {
            return nearest;
        };
        nearest = address;
        if !proxy.trusts(address) {
            break;
        }
    }
    nearest
}

/// The node that an element of `Forwarded` is for (RFC 7239, section 6).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = { pairs }.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(node.trim().trim_matches('"'))
}

/// An address, in brackets or not, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let parsed = bare.unwrap_or(text).parse().ok();
    parsed.or_else(|| {
        text.parse::<SocketAddr>()
            .ok()
            .map(|with_port| with_port.ip())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy() -> Proxy {
        Proxy {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            protocol: false,
        }
    }

    fn of(peer: &str, headers: &str) -> String {
        let head = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        client(head.as_bytes(), peer.parse().unwrap(), &proxy()).to_string()
    }

    #[test]
    fn the_last_that_is_no_proxy_is_the_client() {
        for (peer, headers, expected) in [
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            (
                "10.0.0.1",
                "X-Forwarded-For: 192.0.2.9, 192.0.2.1, 10.0.0.2\r\n",
                "192.0.2.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.1\r\n",
                "192.0.2.1",
            ),
            ("10.0.0.1", "x-forwarded-for: 10.0.0.3\r\n", "10.0.0.3"),
            (
                "10.0.0.1",
                "X-Forwarded-For: nonsense, 10.0.0.2\r\n",
                "10.0.0.2",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 192.0.2.1:4711\r\n",
                "192.0.2.1",
            ),
            ("fd00::1", "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
            (
                "10.0.0.1",
                "Forwarded: for=192.0.2.1;proto=https\r\n",
                "192.0.2.1",
            ),
            (
                "10.0.0.1",
                "Forwarded: proto=http; For=\"[2001:db8::1]:4711\"\r\n",
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                "Forwarded: for=192.0.2.9, for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.8\r\n",
                "192.0.2.1",
            ),
            ("10.0.0.1", "Forwarded: for=unknown\r\n", "10.0.0.1"),
            (
                "::ffff:10.0.0.1",
                "X-Forwarded-For: 192.0.2.1\r\n",
                "192.0.2.1",
            ),
        ] {
            assert_eq!(of(peer, headers), expected, "{headers}");
        }
    }

    #[test]
    fn the_word_of_anybody_else_is_worth_nothing() {
        for headers in [
            "X-Forwarded-For: 192.0.2.1\r\n",
            "Forwarded: for=192.0.2.1\r\n",
        ] {
            assert_eq!(of("192.0.2.77", headers), "192.0.2.77");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(value in "[ -~]{0,60}") {
            of("10.0.0.1", &format!("X-Forwarded-For: {value}\r\n"));
            of("10.0.0.1", &format!("Forwarded: {value}\r\n"));
        }
    }
}
