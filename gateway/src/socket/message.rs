//! From received bytes to messages: strict about RFC 6455, in place where a message came whole.
//!
//! The reader is fed whatever the socket gave. A message that lies complete in those bytes is
//! unmasked where it lies and borrowed; only what is fragmented or incomplete is copied, as it
//! arrives, so that a declared length allocates nothing and invalid UTF-8 fails at its first byte.

mod fault;
mod partial;

use std::borrow::Cow;

use fanfare_shared::code;
use fanfare_shared::frame::{Header, Opcode, parse_header};
use fastwebsockets::unmask;

pub use self::fault::Fault;
use self::partial::Payload;
pub use crate::message::Message;

/// The part of a message that has arrived, and nothing while there is none.
#[derive(Debug, Default)]
pub struct MessageReader {
    /// Boxed since an idle connection has none.
    partial: Option<Box<Partial>>,
    /// Whether payloads are of no interest any more.
    discards: bool,
}

/// A message of which some has arrived.
#[derive(Debug)]
struct Partial {
    payload: Payload,
    /// The frame whose payload is still arriving, if one is.
    frame: Option<PartialFrame>,
}

#[derive(Debug)]
struct PartialFrame {
    fin: bool,
    left: u64,
    /// The masking key, rotated to where the payload stands.
    mask: [u8; 4],
}

/// What a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping, to be answered with its own payload (section 5.5.2).
    Ping(&'a [u8]),
    /// A pong: a sign of life (section 5.5.3).
    Pong,
    /// The closing handshake, with the peer's code if it gave one (section 5.5.1).
    Close(Option<u16>),
}

impl MessageReader {
    /// Whether no message is here in part.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// How many bytes of memory the part of a message takes that is here.
    #[must_use]
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<Partial>() + partial.payload.capacity()
        })
    }

    /// Keeps no payload any more, of the message that is here in part and of those to come: they
    /// are read over, unchecked, and come out empty where they come in pieces.
    pub fn discard(&mut self) {
        self.discards = true;
        if let Some(partial) = &mut self.partial {
            partial.payload.discard();
        }
    }

    /// Takes frames from the front of `bytes` until there is something to say or more is needed.
    ///
    /// Answers how many bytes were used, and what was received. With `None`, the bytes not used
    /// (a part of a header or of a control frame, at most 139) are to be given again with more
    /// behind them. `max` bounds a message, in bytes.
    pub fn read<'a>(
        &mut self,
        bytes: &'a mut [u8],
        max: usize,
    ) -> Result<(usize, Option<Received<'a>>), Fault> {
        let mut used = 0;
        loop {
            if let Some(partial) = &mut self.partial
                && let Some(frame) = &mut partial.frame
            {
                let rest = &mut bytes[used..];
                let count =
                    usize::try_from(frame.left).map_or(rest.len(), |left| left.min(rest.len()));
                used += count;
                let piece = &mut rest[..count];
                let ended = frame.unmask(piece);
                partial.payload.push(piece)?;
                match ended {
                    Ended::No => return Ok((used, None)),
                    Ended::Frame => partial.frame = None,
                    Ended::Message => {
                        let whole = self.partial.take().map(|partial| partial.payload.finish());
                        return Ok((used, whole.transpose()?.map(Received::Message)));
                    }
                }
                continue;
            }
            let Some(header) = parse_header(&bytes[used..])? else {
                return Ok((used, None));
            };
            let Some(mask) = header.mask else {
                return Err(Fault::Unmasked);
            };
            let start = used + header.size;
            let have = (bytes.len() - start) as u64;
            if header.opcode.is_control() {
                if have < header.len {
                    return Ok((used, None));
                }
                #[allow(clippy::cast_possible_truncation, reason = "at most 125")]
                let end = start + header.len as usize;
                let payload = &mut bytes[start..end];
                unmask(payload, mask);
                return control(header.opcode, payload).map(|received| (end, Some(received)));
            }
            self.check(&header, max)?;
            if self.partial.is_none() && header.fin && have >= header.len {
                // The common case: a whole message, taken where it lies.
                #[allow(clippy::cast_possible_truncation, reason = "not more than there is")]
                let end = start + header.len as usize;
                let payload = &mut bytes[start..end];
                unmask(payload, mask);
                let payload = &*payload;
                let message = if header.opcode == Opcode::Text {
                    let text = simdutf8::basic::from_utf8(payload).map_err(|_| Fault::NotUtf8)?;
                    Message::Text(Cow::Borrowed(text))
                } else {
                    Message::Binary(Cow::Borrowed(payload))
                };
                return Ok((end, Some(Received::Message(message))));
            }
            used = start;
            let discards = self.discards;
            let partial = self
                .partial
                .get_or_insert_with(|| Partial::new(header.opcode, discards));
            partial.frame = Some(PartialFrame {
                fin: header.fin,
                left: header.len,
                mask,
            });
        }
    }

    /// Checks a data frame's place in its message, and the message's size with it.
    fn check(&self, header: &Header, max: usize) -> Result<(), Fault> {
        let before = match (&self.partial, header.opcode) {
            (None, Opcode::Continuation) => return Err(Fault::NothingToContinue),
            (Some(partial), Opcode::Continuation) => partial.payload.len(),
            (Some(_), _) => return Err(Fault::Interleaved),
            (None, _) => 0,
        };
        if header.len > (max - before.min(max)) as u64 {
            return Err(Fault::TooBig(max));
        }
        Ok(())
    }
}

/// What a piece of payload brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Frame,
    Message,
}

impl PartialFrame {
    fn unmask(&mut self, piece: &mut [u8]) -> Ended {
        unmask(piece, self.mask);
        self.mask.rotate_left(piece.len() % 4);
        self.left -= piece.len() as u64;
        match (self.left, self.fin) {
            (0, true) => Ended::Message,
            (0, false) => Ended::Frame,
            _ => Ended::No,
        }
    }
}

impl Partial {
    fn new(opcode: Opcode, discards: bool) -> Box<Self> {
        let payload = match opcode {
            _ if discards => Payload::Discarded(0),
            Opcode::Text => Payload::text(),
            _ => Payload::binary(),
        };
        Box::new(Self {
            payload,
            frame: None,
        })
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Received<'_>, Fault> {
    Ok(match opcode {
        Opcode::Ping => Received::Ping(payload),
        Opcode::Close => Received::Close(close_code(payload)?),
        _ => Received::Pong,
    })
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Fault::HalfCloseCode),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !code::may_be_received(code) {
        return Err(Fault::CloseCode(code));
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| Fault::NotUtf8)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
    const MAX: usize = 1 << 20;

    /// A masked frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..126 => bytes.push(0x80 | len as u8),
            len @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(
            payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        bytes
    }

    /// Feeds `bytes` in pieces of `piece`, and says in words what came out.
    fn read(bytes: &[u8], piece: usize, max: usize) -> Result<Vec<String>, Fault> {
        let mut reader = MessageReader::default();
        let mut pending = Vec::new();
        let mut received = Vec::new();
        for piece in bytes.chunks(piece) {
            pending.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let (used, event) = reader.read(&mut pending[at..], max)?;
                at += used;
                let Some(event) = event else { break };
                received.push(match event {
                    Received::Message(Message::Text(text)) => format!("text {text}"),
                    Received::Message(Message::Binary(bytes)) => format!("binary {bytes:?}"),
                    Received::Ping(payload) => format!("ping {payload:?}"),
                    Received::Pong => "pong".into(),
                    Received::Close(code) => format!("close {code:?}"),
                });
            }
            pending.drain(..at);
            assert!(
                pending.len() <= 139,
                "{} bytes are held back",
                pending.len()
            );
        }
        Ok(received)
    }

    #[test]
    fn a_discarded_payload_takes_no_memory_and_hides_no_close_frame() {
        let long = frame(0x81, &[b'x'; 60_000]);
        let mut reader = MessageReader::default();
        let mut start = long[..50_000].to_vec();
        assert_eq!(reader.read(&mut start, MAX).unwrap(), (50_000, None));
        assert!(reader.held() >= 49_000);
        reader.discard();
        assert!(reader.held() < 1_000);
        let mut rest = [&long[50_000..], &frame(0x01, b"\xff"), &frame(0x80, b"")].concat();
        rest.extend(frame(0x88, b""));
        let mut at = 0;
        let mut seen = Vec::new();
        while let (used, Some(received)) = reader.read(&mut rest[at..], MAX).unwrap() {
            seen.push(format!("{received:?}"));
            at += used;
            assert_eq!(reader.held(), 0);
        }
        assert_eq!(
            seen,
            ["Message(Binary([]))", "Message(Binary([]))", "Close(None)"]
        );
        assert!(reader.is_idle());
    }

    #[test]
    fn messages_are_the_same_however_the_bytes_are_cut() {
        let mut bytes = frame(0x81, "één".as_bytes());
        bytes.extend(frame(0x01, b"frag"));
        bytes.extend(frame(0x89, b"p"));
        bytes.extend(frame(0x00, b"men"));
        bytes.extend(frame(0x80, b"ted"));
        bytes.extend(frame(0x82, &[7; 300]));
        bytes.extend(frame(0x8a, b""));
        bytes.extend(frame(0x88, &[0x03, 0xe8, b'o', b'k']));
        let expected = [
            "text één".to_owned(),
            "ping [112]".into(),
            "text fragmented".into(),
            format!("binary {:?}", [7; 300]),
            "pong".into(),
            "close Some(1000)".into(),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(
                read(&bytes, piece, MAX).unwrap(),
                expected,
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_whole_message_is_not_copied() {
        let mut bytes = frame(0x82, b"abc");
        let range = bytes.as_ptr_range();
        let (_, received) = MessageReader::default().read(&mut bytes, MAX).unwrap();
        let Some(Received::Message(Message::Binary(Cow::Borrowed(payload)))) = received else {
            panic!()
        };
        assert!(range.contains(&payload.as_ptr()));
    }

    #[test]
    fn invalid_utf8_fails_at_its_first_byte() {
        let mut bytes = frame(0x01, b"\xce\xba\xe1\xbd\xb9\xcf");
        bytes.extend(&frame(0x80, b"\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited")[..6 + 7]);
        assert_eq!(read(&bytes, 1, MAX), Err(Fault::NotUtf8));
        assert_eq!(read(&frame(0x81, b"\xce"), MAX, MAX), Err(Fault::NotUtf8));
        assert_eq!(read(&frame(0x81, b"\xce"), 1, MAX), Err(Fault::NotUtf8));
    }

    #[test]
    fn a_declared_length_is_checked_before_a_byte_arrives() {
        let mut huge = vec![0x82, 0xff];
        huge.extend((1u64 << 40).to_be_bytes());
        huge.extend(MASK);
        assert_eq!(read(&huge, 100, MAX), Err(Fault::TooBig(MAX)));
        assert!(read(&frame(0x82, &[0; 10]), 100, 10).is_ok());
        assert_eq!(
            read(&frame(0x82, &[0; 11]), 100, 10),
            Err(Fault::TooBig(10))
        );
        let mut fragments = frame(0x02, &[0; 6]);
        fragments.extend(frame(0x80, &[0; 5]));
        assert_eq!(read(&fragments, 100, 10), Err(Fault::TooBig(10)));
    }

    #[test]
    fn faults_have_their_close_codes() {
        for (bytes, fault, code) in [
            (vec![0x81, 0x00], Fault::Unmasked, 1002),
            (frame(0x80, b"x"), Fault::NothingToContinue, 1002),
            (
                [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
                Fault::Interleaved,
                1002,
            ),
            (frame(0x88, b"x"), Fault::HalfCloseCode, 1002),
            (
                frame(0x88, &1005u16.to_be_bytes()),
                Fault::CloseCode(1005),
                1002,
            ),
            (frame(0x88, b"\x03\xe8\xff"), Fault::NotUtf8, 1007),
            (frame(0x81, b"\xff"), Fault::NotUtf8, 1007),
        ] {
            assert_eq!(read(&bytes, 100, MAX), Err(fault));
            assert_eq!(fault.close_code().as_u16(), code);
        }
    }
}
