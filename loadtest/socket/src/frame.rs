//! Frames (RFC 6455, section 5): a client's are built, whatever they say, and a server's are read,
//! as strictly as a server that agreed to no extension has to write them.

use std::ops::Range;

use thiserror::Error;

/// The bit of the last frame of a message.
pub const FIN: u8 = 0x80;
/// The opcode of a further frame of a message (section 5.2).
pub const CONTINUATION: u8 = 0x0;
/// The opcode of a text message's first frame.
pub const TEXT: u8 = 0x1;
/// The opcode of a binary message's first frame.
pub const BINARY: u8 = 0x2;
/// The opcode of the closing handshake.
pub const CLOSE: u8 = 0x8;
/// The opcode of a question that a [`PONG`] answers.
pub const PING: u8 = 0x9;
/// The opcode of the answer to a ping.
pub const PONG: u8 = 0xa;

/// The masking key of every frame, the RFC's own example: no proxy is to be protected here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame. `first` is its first byte: [`FIN`] or not, reserved bits, the opcode.
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    let start = frame.len();
    frame.extend_from_slice(payload);
    for four in frame[start..].chunks_mut(MASK.len()) {
        for (byte, key) in four.iter_mut().zip(MASK) {
            *byte ^= key;
        }
    }
    frame
}

/// The header of a masked frame that claims to carry `len` bytes.
#[must_use]
pub fn header(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    #[allow(clippy::cast_possible_truncation, reason = "each arm's range fits")]
    match len {
        0..126 => header.push(0x80 | len as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(len.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// A whole text message.
#[must_use]
pub fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

/// A whole binary message.
#[must_use]
pub fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

/// A close frame with a code and no reason.
#[must_use]
pub fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

/// A frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// What it is for.
    pub opcode: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame, if it has one.
    ///
    /// # Panics
    ///
    /// On any other frame.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, CLOSE, "not a close frame: {self:?}");
        close_code(&self.payload)
    }
}

/// Where a frame's parts are in the bytes that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// What it is for.
    pub opcode: u8,
    /// What it carries. The next frame begins where this ends.
    pub payload: Range<usize>,
}

/// What no server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Breach {
    /// A reserved bit is set, and no extension was agreed on.
    #[error("a frame with a reserved bit")]
    ReservedBit,
    /// The opcode means nothing.
    #[error("a frame with the reserved opcode {0}")]
    ReservedOpcode(u8),
    /// Servers do not mask.
    #[error("a masked frame")]
    Masked,
    /// The length has a shorter form, or is none.
    #[error("a frame whose length is not in its shortest form")]
    Length,
    /// A control frame has to be short, and one frame.
    #[error("a control frame that is too long or fragmented")]
    Control,
}

/// Finds the frame at the start of `bytes`, once all of it is there.
pub fn find(bytes: &[u8]) -> Result<Option<Place>, Breach> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (fin, opcode) = (first & FIN != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Err(Breach::ReservedBit);
    }
    if !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG) {
        return Err(Breach::ReservedOpcode(opcode));
    }
    if second & 0x80 != 0 {
        return Err(Breach::Masked);
    }
    let short = second & 0x7f;
    if opcode >= CLOSE && (!fin || short > 125) {
        return Err(Breach::Control);
    }
    let (len, start) = match short {
        126 => match rest.first_chunk() {
            Some(wide) => (u64::from(u16::from_be_bytes(*wide)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(wide) => (u64::from_be_bytes(*wide), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let shortest = match start {
        2 => 0,
        4 => 126,
        _ => 0x1_0000,
    };
    if len < shortest || len >> 63 != 0 {
        return Err(Breach::Length);
    }
    let left = bytes.len() - start;
    let payload = usize::try_from(len).ok().filter(|len| *len <= left);
    Ok(payload.map(|len| Place {
        fin,
        opcode,
        payload: start..start + len,
    }))
}

/// The code of a close frame's payload, if it has one.
#[must_use]
pub fn close_code(payload: &[u8]) -> Option<u16> {
    let code = payload.first_chunk()?;
    Some(u16::from_be_bytes(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server would send it.
    fn unmasked(first: u8, len: usize) -> Vec<u8> {
        let mut frame = header(first, len as u64);
        frame.truncate(frame.len() - MASK.len());
        frame[1] &= 0x7f;
        frame.resize(frame.len() + len, b'x');
        frame
    }

    #[test]
    fn a_frame_is_found_once_its_last_byte_is_there() {
        for len in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let bytes = unmasked(FIN | TEXT, len);
            let place = find(&bytes).unwrap().expect("all is there");
            assert_eq!((place.fin, place.opcode), (true, TEXT));
            assert_eq!(place.payload, bytes.len() - len..bytes.len());
            for cut in [0, 1, bytes.len() - 1] {
                assert_eq!(find(&bytes[..cut]), Ok(None), "{cut} of {len}");
            }
        }
    }

    #[test]
    fn a_payload_is_masked_by_the_key_before_it() {
        assert_eq!(
            text("Hello"),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        assert_eq!(close(1000)[..2], [0x88, 0x82]);
    }

    #[test]
    fn what_no_server_may_send_is_a_breach() {
        let wide = |len: u64| [&[0x82, 127][..], &len.to_be_bytes()].concat();
        for (bytes, breach) in [
            (unmasked(FIN | 0x40 | TEXT, 1), Breach::ReservedBit),
            (unmasked(FIN | 0x3, 1), Breach::ReservedOpcode(3)),
            (unmasked(FIN | 0xb, 1), Breach::ReservedOpcode(11)),
            (text("masked"), Breach::Masked),
            (unmasked(PING, 1), Breach::Control),
            (unmasked(FIN | PING, 126), Breach::Control),
            (vec![0x82, 126, 0, 125], Breach::Length),
            (wide(0xffff), Breach::Length),
            (wide(1 << 63), Breach::Length),
        ] {
            assert_eq!(find(&bytes), Err(breach), "{bytes:02x?}");
        }
        assert_eq!(find(&wide(1 << 62)), Ok(None), "claimed, not allocated");
    }
}
