//! The header of a WebSocket frame (RFC 6455, section 5.2): strict reading, and writing of the
//! unmasked frames that a server sends.
//!
//! No I/O and no allocation: a caller gives the bytes it has and learns where the payload is.

use bytes::{Buf as _, Bytes};
use thiserror::Error;

/// What a frame is for (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// A question that a [`Opcode::Pong`] answers.
    Ping = 9,
    /// The answer to a ping, or an unasked sign of life.
    Pong = 10,
}

impl Opcode {
    /// Whether this is a control frame: never fragmented, at most [`MAX_CONTROL`] bytes.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// The most payload a control frame may carry (RFC 6455, section 5.5).
pub const MAX_CONTROL: usize = 125;

/// The longest header that a server writes: two bytes and a 64-bit length, no mask.
pub const MAX_SERVER_HEADER: usize = 10;

/// A parsed frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The masking key, where the frame is masked.
    pub mask: Option<[u8; 4]>,
    /// How many bytes of payload follow. Declared by the peer: never allocate by it.
    pub len: u64,
    /// How many bytes the header itself takes.
    pub size: usize,
}

/// A header that RFC 6455 forbids; the connection fails with 1002.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// A reserved bit is set and no extension was agreed on (section 5.2).
    #[error("a reserved bit is set, but no extension was agreed on")]
    ReservedBit,
    /// The opcode is one of the reserved (section 5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// A control frame is fragmented (section 5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame carries over [`MAX_CONTROL`] bytes (section 5.5).
    #[error("a control frame carries more than 125 bytes")]
    LongControl,
    /// The length is not in its shortest form, or has its highest bit set (section 5.2).
    #[error("the payload length is not in its shortest form")]
    Length,
}

/// Reads the header at the start of `bytes`; `None` while it is not all there.
pub fn parse_header(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(HeaderError::ReservedBit);
    }
    let fin = first & 0x80 != 0;
    let Some(opcode) = Opcode::from_bits(first & 0x0f) else {
        return Err(HeaderError::ReservedOpcode(first & 0x0f));
    };
    let short = second & 0x7f;
    if opcode.is_control() {
        if !fin {
            return Err(HeaderError::FragmentedControl);
        }
        if usize::from(short) > MAX_CONTROL {
            return Err(HeaderError::LongControl);
        }
    }
    let (len, rest) = match short {
        126 => {
            let Some((wide, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let len = u64::from(u16::from_be_bytes(*wide));
            if len < 126 {
                return Err(HeaderError::Length);
            }
            (len, rest)
        }
        127 => {
            let Some((wide, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(*wide);
            if len <= u64::from(u16::MAX) || len >> 63 != 0 {
                return Err(HeaderError::Length);
            }
            (len, rest)
        }
        short => (u64::from(short), rest),
    };
    let (mask, rest) = if second & 0x80 == 0 {
        (None, rest)
    } else {
        let Some((key, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        (Some(*key), rest)
    };
    Ok(Some(Header {
        fin,
        opcode,
        mask,
        len,
        size: bytes.len() - rest.len(),
    }))
}

/// Builds one unmasked, unfragmented frame in place: write the payload behind the room kept for
/// the header, then [`FrameBuilder::finish`].
#[derive(Debug)]
pub struct FrameBuilder(Vec<u8>);

impl FrameBuilder {
    /// Starts a frame whose payload is expected to take about `payload` bytes.
    #[must_use]
    pub fn new(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_SERVER_HEADER + payload);
        buffer.resize(MAX_SERVER_HEADER, 0);
        Self(buffer)
    }

    /// Where the payload is appended. Only append: the front is kept for the header.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Writes the header right before the payload and hands out the frame, nothing copied.
    #[must_use]
    pub fn finish(mut self, opcode: Opcode) -> Bytes {
        let len = self.0.len() - MAX_SERVER_HEADER;
        let first = 0x80 | opcode as u8;
        let start = match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short < 126 => {
                self.0[8..10].copy_from_slice(&[first, short]);
                8
            }
            (_, Ok(wide)) => {
                self.0[6..8].copy_from_slice(&[first, 126]);
                self.0[8..10].copy_from_slice(&wide.to_be_bytes());
                6
            }
            _ => {
                self.0[0..2].copy_from_slice(&[first, 127]);
                self.0[2..10].copy_from_slice(&(len as u64).to_be_bytes());
                0
            }
        };
        let mut frame = Bytes::from(self.0);
        frame.advance(start);
        frame
    }
}

/// Builds a frame around a copy of `payload`.
#[must_use]
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut builder = FrameBuilder::new(payload.len());
    builder.payload().extend_from_slice(payload);
    builder.finish(opcode)
}

/// Builds a close frame (RFC 6455, section 5.5.1); a `reason` over 123 bytes is cut at a
/// character.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_built_parses_back() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let bytes = frame(Opcode::Binary, &vec![7; len]);
            let header = parse_header(&bytes).unwrap().unwrap();
            assert_eq!(header.len, len as u64);
            assert_eq!(bytes.len(), header.size + len);
            assert_eq!(
                (header.fin, header.opcode, header.mask),
                (true, Opcode::Binary, None)
            );
        }
    }

    #[test]
    fn a_header_that_is_not_all_there_is_no_error() {
        let whole = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for end in 0..whole.len() {
            assert_eq!(parse_header(&whole[..end]), Ok(None), "{end} bytes");
        }
        let header = parse_header(&whole).unwrap().unwrap();
        assert_eq!(
            (header.len, header.mask, header.size),
            (65_536, Some([1, 2, 3, 4]), 14)
        );
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        for (bytes, error) in [
            (&[0xc1, 0x80][..], HeaderError::ReservedBit),
            (&[0x83, 0x80], HeaderError::ReservedOpcode(3)),
            (&[0x8b, 0x80], HeaderError::ReservedOpcode(11)),
            (&[0x09, 0x80], HeaderError::FragmentedControl),
            (&[0x89, 0xfe, 0, 126], HeaderError::LongControl),
            (&[0x81, 0xfe, 0, 125], HeaderError::Length),
            (
                &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                HeaderError::Length,
            ),
            (
                &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
                HeaderError::Length,
            ),
        ] {
            assert_eq!(parse_header(bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let bytes = close(1000, &"é".repeat(100));
        assert_eq!(bytes.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&bytes[4..]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Some(header)) = parse_header(&bytes) {
                prop_assert!(header.size <= bytes.len());
            }
        }
    }
}
