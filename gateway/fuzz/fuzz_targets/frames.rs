//! Frames from a client: the same messages or the same fault come out however the bytes are cut,
//! and no more is held back than the reader promises.

#![no_main]

use std::borrow::Cow;

use fanfare_gateway::socket::message::{Fault, Message, MessageReader, Received};
use libfuzzer_sys::fuzz_target;

/// The most bytes that wait for more: a part of a header or of a control frame.
const HELD_BACK: usize = 139;

// The input: which limit, how the bytes are cut (a count, and as many lengths), the bytes.
fuzz_target!(|input: &[u8]| {
    let [limit, cuts, rest @ ..] = input else {
        return;
    };
    let limit = [0, 16, 125, 1 << 10, 1 << 20][usize::from(*limit) % 5];
    let cuts = usize::from(cuts % 16).min(rest.len());
    let (cuts, bytes) = rest.split_at(cuts);
    let whole = read(bytes, &[bytes.len()], limit);
    if !cuts.is_empty() {
        let cuts: Vec<_> = cuts.iter().map(|cut| usize::from(*cut)).collect();
        assert_eq!(read(bytes, &cuts, limit), whole);
    }
    assert_eq!(read(bytes, &[1], limit), whole, "byte by byte");
});

/// What was received, copied; a fault comes last.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Fault(Fault),
}

/// Feeds `bytes` in pieces of the lengths `cuts`, over and over, as a connection does.
fn read(bytes: &[u8], cuts: &[usize], limit: usize) -> Vec<Seen> {
    let mut reader = MessageReader::default();
    let mut seen = Vec::new();
    let mut pending = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*cut).clamp(1, rest.len()));
        rest = behind;
        pending.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let given = pending.len() - at;
            let (used, received) = match reader.read(&mut pending[at..], limit) {
                Ok(read) => read,
                Err(fault) => {
                    seen.push(Seen::Fault(fault));
                    return seen;
                }
            };
            assert!(used <= given, "{used} of {given} bytes used");
            at += used;
            let Some(received) = received else { break };
            assert!(used > 0, "something out of nothing");
            seen.push(copy(received, bytes.len(), limit));
        }
        pending.drain(..at);
        assert!(pending.len() <= HELD_BACK, "{} held back", pending.len());
    }
    seen
}

fn copy(received: Received<'_>, fed: usize, limit: usize) -> Seen {
    let check = |len: usize, assembled: Option<usize>| {
        assert!(len <= limit.min(fed));
        // Memory follows what has arrived, not what was announced.
        assert!(assembled.is_none_or(|capacity| capacity <= 2 * fed.max(8)));
    };
    match received {
        Received::Message(Message::Text(text)) => {
            let assembled = match &text {
                Cow::Borrowed(_) => None,
                Cow::Owned(text) => Some(text.capacity()),
            };
            check(text.len(), assembled);
            Seen::Text(text.into_owned())
        }
        Received::Message(Message::Binary(bytes)) => {
            let assembled = match &bytes {
                Cow::Borrowed(_) => None,
                Cow::Owned(bytes) => Some(bytes.capacity()),
            };
            check(bytes.len(), assembled);
            Seen::Binary(bytes.into_owned())
        }
        Received::Ping(payload) => {
            assert!(payload.len() <= 125);
            Seen::Ping(payload.to_vec())
        }
        Received::Pong => Seen::Pong,
        Received::Close(code) => Seen::Close(code),
    }
}
