//! Request heads: what is decided does not depend on how the bytes arrived, and an accepted request
//! cannot write into its own response.

#![no_main]

use fanfare_gateway::door::Doors;
use fanfare_gateway::http::handshake::{Outcome, Upgrade, read};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

// The input: how much of the request comes first, the request.
fuzz_target!(|input: &[u8]| {
    let [cut, high, request @ ..] = input else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes([*cut, *high])) % (request.len() + 1);
    let doors = Doors::default();
    let first = read(&request[..cut], LIMIT, doors.entrances());
    match read(request, LIMIT, doors.entrances()) {
        Outcome::Partial => assert!(matches!(first, Outcome::Partial)),
        Outcome::Respond(response) => {
            assert!(!matches!(first, Outcome::Upgrade(_)));
            let bytes = response.encode();
            assert!(bytes.starts_with(b"HTTP/1.1 "));
            assert!(bytes.windows(4).any(|window| window == b"\r\n\r\n"));
            assert!(response.status().as_u16() >= 200);
        }
        Outcome::Request => assert!(!matches!(first, Outcome::Upgrade(_) | Outcome::Respond(_))),
        Outcome::Upgrade(upgrade) => {
            check(&upgrade, request);
            match first {
                Outcome::Partial => assert!(cut < upgrade.head),
                Outcome::Upgrade(first) => {
                    assert_eq!(first.head, upgrade.head);
                    assert_eq!(first.response, upgrade.response);
                    assert_eq!(first.rooms, upgrade.rooms);
                }
                Outcome::Respond(_) | Outcome::Request => {
                    panic!("no handshake by its first {cut} bytes, then one")
                }
            }
        }
    }
});

fn check(upgrade: &Upgrade, request: &[u8]) {
    assert!(upgrade.head <= request.len().min(LIMIT));
    assert!(request[..upgrade.head].ends_with(b"\n"));
    let response = std::str::from_utf8(&upgrade.response).expect("text");
    assert!(response.starts_with("HTTP/1.1 101 "));
    assert_eq!(response.find("\r\n\r\n"), Some(response.len() - 4));
    let headers = response.lines().filter(|line| line.contains(": ")).count();
    assert!((3..=4).contains(&headers), "{response}");
}
