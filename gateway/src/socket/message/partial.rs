//! The payload of a message that arrives in pieces. Text is checked as it comes, each byte once,
//! and so is known to be UTF-8 when it is whole.

use std::borrow::Cow;

use super::fault::Fault;
use crate::message::Message;

/// What has arrived of a message's payload.
#[derive(Debug)]
pub(super) enum Payload {
    Text {
        text: String,
        /// The start of a character whose end is still to come: three bytes at most.
        cut: Vec<u8>,
    },
    Binary(Vec<u8>),
    /// Of no interest: only its length is known.
    Discarded(usize),
}

impl Payload {
    pub(super) fn text() -> Self {
        Self::Text {
            text: String::new(),
            cut: Vec::new(),
        }
    }

    pub(super) fn binary() -> Self {
        Self::Binary(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text { text, cut } => text.len() + cut.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Discarded(len) => *len,
        }
    }

    /// The memory that it takes, in bytes.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Text { text, cut } => text.capacity() + cut.capacity(),
            Self::Binary(bytes) => bytes.capacity(),
            Self::Discarded(_) => 0,
        }
    }

    /// Lets go of what has arrived, and of what will.
    pub(super) fn discard(&mut self) {
        *self = Self::Discarded(self.len());
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Text { text, cut } => {
                let behind = complete(text, cut, piece)?;
                push_text(text, cut, behind)
            }
            Self::Binary(bytes) => {
                bytes.extend_from_slice(piece);
                Ok(())
            }
            Self::Discarded(len) => {
                *len += piece.len();
                Ok(())
            }
        }
    }

    /// The whole message.
    pub(super) fn finish(self) -> Result<Message<'static>, Fault> {
        match self {
            Self::Text { text, cut } if cut.is_empty() => Ok(Message::Text(Cow::Owned(text))),
            Self::Text { .. } => Err(Fault::NotUtf8),
            Self::Binary(bytes) => Ok(Message::Binary(Cow::Owned(bytes))),
            Self::Discarded(_) => Ok(Message::Binary(Cow::Borrowed(&[]))),
        }
    }
}

/// Adds what `piece` has of the character that was cut off, and answers what is behind it.
fn complete<'a>(
    text: &mut String,
    cut: &mut Vec<u8>,
    mut piece: &'a [u8],
) -> Result<&'a [u8], Fault> {
    while !cut.is_empty()
        && let Some((byte, behind)) = piece.split_first()
    {
        cut.push(*byte);
        piece = behind;
        match str::from_utf8(cut) {
            Ok(character) => {
                text.push_str(character);
                cut.clear();
            }
            Err(error) if error.error_len().is_some() => return Err(Fault::NotUtf8),
            Err(_) => {}
        }
    }
    Ok(piece)
}

/// Adds `piece`, which begins with a character, and keeps back one that it does not end.
fn push_text(text: &mut String, cut: &mut Vec<u8>, piece: &[u8]) -> Result<(), Fault> {
    match simdutf8::compat::from_utf8(piece) {
        Ok(whole) => text.push_str(whole),
        Err(error) if error.error_len().is_none() => {
            let (whole, start) = piece.split_at(error.valid_up_to());
            cut.extend_from_slice(start);
            push_text(text, cut, whole)?;
        }
        Err(_) => return Err(Fault::NotUtf8),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<Message<'static>, Fault> {
        let mut payload = Payload::text();
        for piece in bytes.chunks(piece) {
            payload.push(piece)?;
        }
        assert_eq!(payload.len(), bytes.len());
        payload.finish()
    }

    #[test]
    fn text_is_the_same_however_it_is_cut() {
        let text = "aé漢🎺🎺漢éa".repeat(3);
        for piece in 1..=text.len() {
            let whole = read(text.as_bytes(), piece);
            assert_eq!(whole, Ok(Message::Text(text.as_str().into())), "{piece}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_as_soon_as_that_is_known() {
        for bytes in [
            &b"a\xff"[..],
            b"\xc3\x28a",
            b"\xe6\xbc\x28",
            b"\xed\xa0\x80",
            b"\xf0\x9f\x8e\xff",
            b"\xf4\x90\x80\x80",
            b"\xf0\x9f\x8e",
        ] {
            for piece in 1..=bytes.len() {
                assert_eq!(
                    read(bytes, piece),
                    Err(Fault::NotUtf8),
                    "{bytes:02x?} {piece}"
                );
            }
            let mut payload = Payload::text();
            for (at, byte) in bytes.iter().enumerate() {
                let arrived = str::from_utf8(&bytes[..=at]);
                let hopeless = arrived.is_err_and(|error| error.error_len().is_some());
                assert_eq!(
                    payload.push(&[*byte]).is_err(),
                    hopeless,
                    "{bytes:02x?} {at}"
                );
                if hopeless {
                    break;
                }
            }
        }
    }
}
