//! What a handshake shows for itself: tokens, and the web page that it comes from.
//!
//! Read apart from the handshake itself, and only on nodes that ask for it: most handshakes should
//! not pay for this.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// The subprotocol that carries a token: browsers can set no header but that of the subprotocols.
const TOKEN_PROTOCOL: &str = "fanfare.token.";

/// The most headers of a request; one with more was refused before.
const MAX_HEADERS: usize = 512;

/// Where tokens are looked for beside the headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places<'a> {
    /// The cookie that has one.
    pub cookie: Option<&'a str>,
    /// Whether one may stand in the address.
    pub query: bool,
    /// The other headers that are kept, in lower case.
    pub headers: &'a [String],
}

/// What a handshake shows for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The tokens, each once; more than one is one too many.
    pub tokens: Vec<String>,
    /// The page that the browser shows (RFC 6454); none outside of browsers.
    pub origin: Option<String>,
    /// The host that is connected to.
    pub host: String,
    /// The headers that are kept, by their names in lower case; of several the last.
    pub headers: BTreeMap<String, String>,
    /// Whether the client cannot see why a handshake is refused, and so has to be told in a close
    /// frame: scripts in browsers see no status.
    pub is_blind: bool,
}

/// Reads what a whole head shows.
#[must_use]
pub fn read(head: &[u8], places: Places<'_>) -> Credentials {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let mut found = Credentials::default();
    if !request.parse(head).is_ok_and(|status| status.is_complete()) {
        return found;
    }
    for header in request.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value) else {
            continue;
        };
        let (name, value) = (header.name, value.trim());
        if let Some(kept) = places
            .headers
            .iter()
            .find(|kept| kept.eq_ignore_ascii_case(name))
        {
            found.headers.insert(kept.clone(), value.to_owned());
        }
        if name.eq_ignore_ascii_case("authorization") {
            // RFC 6750, section 2.1; the scheme's case does not matter (RFC 9110, section 11.1).
            if let Some((scheme, token)) = value.split_once(' ')
                && scheme.eq_ignore_ascii_case("bearer")
            {
                found.add(token.trim());
            }
        } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            let offered = value.split(',').map(str::trim);
            for token in offered.filter_map(|one| one.strip_prefix(TOKEN_PROTOCOL)) {
                found.add(token);
                found.is_blind = true;
            }
        } else if name.eq_ignore_ascii_case("cookie") {
            if let Some(cookie) = places.cookie {
                let pairs = value
                    .split(';')
                    .filter_map(|pair| pair.trim().split_once('='));
                for (_, token) in pairs.filter(|(name, _)| *name == cookie) {
                    found.add(token.trim_matches('"'));
                }
            }
        } else if name.eq_ignore_ascii_case("origin") {
            found.origin = Some(value.to_owned());
            found.is_blind = true;
        } else if name.eq_ignore_ascii_case("host") {
            value.clone_into(&mut found.host);
        }
    }
    if places.query {
        let target = request.path.unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for token in query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("token="))
        {
            found.add(&percent_decode_str(token).decode_utf8_lossy());
        }
    }
    found
}

impl Credentials {
    fn add(&mut self, token: &str) {
        if !self.tokens.iter().any(|known| known == token) {
            self.tokens.push(token.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(target: &str, headers: &str, places: Places<'_>) -> Credentials {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n");
        read(head.as_bytes(), places)
    }

    #[test]
    fn a_token_is_found_wherever_it_may_stand() {
        let everywhere = Places {
            cookie: Some("session"),
            query: true,
            headers: &[],
        };
        for (target, headers) in [
            ("/ws", "Authorization: Bearer a.b.c\r\n"),
            ("/ws", "authorization: bearer  a.b.c\r\n"),
            (
                "/ws",
                "Sec-WebSocket-Protocol: fanfare.v1.json, fanfare.token.a.b.c\r\n",
            ),
            ("/ws", "Cookie: x=1; session=a.b.c; y=2\r\n"),
            ("/ws", "Cookie: session=\"a.b.c\"\r\n"),
            ("/ws?room=x&token=a%2Eb.c", ""),
            // The same one twice is one.
            ("/ws?token=a.b.c", "Authorization: Bearer a.b.c\r\n"),
        ] {
            let found = shown(target, headers, everywhere);
            assert_eq!(found.tokens, ["a.b.c"], "{target} {headers}");
            assert_eq!(found.host, "a.example");
        }
    }

    #[test]
    fn a_token_is_not_taken_from_where_it_may_not_stand() {
        for (target, headers) in [
            ("/ws?token=a.b.c", ""),
            ("/ws", "Cookie: session=a.b.c\r\n"),
            ("/ws", "Authorization: Basic a.b.c\r\n"),
            ("/ws", "X-Authorization: Bearer a.b.c\r\n"),
        ] {
            let found = shown(target, headers, Places::default());
            assert_eq!(found.tokens, [""; 0], "{target} {headers}");
        }
        let cookie = Places {
            cookie: Some("session"),
            ..Places::default()
        };
        let found = shown("/ws", "Cookie: xsession=a.b.c\r\n", cookie);
        assert_eq!(found.tokens, [""; 0]);
    }

    #[test]
    fn different_tokens_are_all_found() {
        let headers = "Authorization: Bearer a\r\nSec-WebSocket-Protocol: fanfare.token.b\r\n";
        assert_eq!(shown("/ws", headers, Places::default()).tokens, ["a", "b"]);
    }

    #[test]
    fn a_browser_cannot_see_why_it_is_refused() {
        let is_blind = |headers| shown("/ws", headers, Places::default()).is_blind;
        assert!(is_blind("Origin: https://a.example\r\n"));
        assert!(is_blind("Sec-WebSocket-Protocol: fanfare.token.a\r\n"));
        assert!(!is_blind("Authorization: Bearer a\r\n"));
    }
}
