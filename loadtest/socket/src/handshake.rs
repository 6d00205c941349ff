//! The opening handshake (RFC 6455, section 4), with the key of the RFC's own example.

/// The key of every request (section 1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What has to come back for it.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request to open a WebSocket at `path`; `extra` are more header lines, each with its end.
#[must_use]
pub fn request(host: &str, path: &str, extra: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
    )
}

/// How long the head at the start of `bytes` is, its empty line included, once that is there.
#[must_use]
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Whether a response's head opens the WebSocket that [`request`] asked for. No extension was
/// offered, so none may be chosen.
#[must_use]
pub fn is_accepted(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let values = |wanted: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim()).collect::<Vec<_>>()
    };
    head.starts_with("HTTP/1.1 101 ")
        && values("sec-websocket-accept") == [ACCEPT]
        && values("sec-websocket-extensions").is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_response_to_this_very_request_opens_a_websocket() {
        let good = format!("HTTP/1.1 101 x\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        assert_eq!(head_len(good.as_bytes()), Some(good.len()));
        assert_eq!(head_len(&good.as_bytes()[..good.len() - 1]), None);
        assert!(is_accepted(good.as_bytes()));
        for bad in [
            good.replace("101", "200"),
            good.replace(ACCEPT, KEY),
            good.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
            "HTTP/1.1 101 x\r\n\r\n".to_owned(),
        ] {
            assert!(!is_accepted(bad.as_bytes()), "{bad}");
        }
    }
}
