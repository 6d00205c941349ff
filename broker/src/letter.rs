//! A message to a user, or a question to all nodes, as it goes from node to node, and the answer that
//! comes back.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use fanfare_shared::envelope::Draft;
use fanfare_shared::{Data, Encoding, RoomName};
use parking_lot::Mutex;
use thiserror::Error;

use crate::backend::BackendError;

/// The room by which every node hears of questions.
pub(crate) static QUESTIONS: LazyLock<RoomName> = LazyLock::new(|| RoomName::of_nodes("questions"));

/// How long answers are awaited. A node that is away for longer took nothing, as far as its sender
/// can say.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Why a survey is not whole.
#[derive(Debug, Clone, Error)]
pub enum SurveyError {
    /// The nodes could not be asked.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Some did not answer in three seconds.
    #[error("{silent} of {asked} nodes did not answer; try again")]
    Silent {
        /// How many did not.
        silent: usize,
        /// How many were asked.
        asked: usize,
    },
}

/// Tells the sender of a message, once, whether any connection took it: no where it is dropped before
/// one did.
pub(crate) struct Receipt(Mutex<Option<Tell>>);

type Tell = Box<dyn FnOnce(bool) + Send>;

impl Receipt {
    pub(crate) fn new(tell: impl FnOnce(bool) + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(tell))))
    }

    /// Notes that a connection took it.
    pub(crate) fn taken(&self) {
        self.tell(true);
    }

    fn tell(&self, taken: bool) {
        let tell = self.0.lock().take();
        if let Some(tell) = tell {
            tell(taken);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.tell(false);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt")
    }
}

/// Which letter a receipt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReturnAddress {
    /// The node that sent it, by a number of this run of it.
    pub(crate) node: u32,
    /// Which of its letters.
    pub(crate) number: u64,
}

/// Something from node to node.
pub(crate) const fn draft(bytes: &[u8]) -> Draft<'_> {
    Draft {
        time: 0,
        from: None,
        event: None,
        echo: true,
        data: Data {
            encoding: Encoding::Binary,
            bytes,
        },
    }
}

/// What stands before a letter's payload: how it is encoded, and the return address.
const HEADER: usize = 13;

/// Puts a payload into a letter.
pub(crate) fn seal(data: Data<&[u8]>, address: ReturnAddress) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + data.bytes.len());
    sealed.push(data.encoding as u8);
    sealed.extend_from_slice(&address.node.to_be_bytes());
    sealed.extend_from_slice(&address.number.to_be_bytes());
    sealed.extend_from_slice(data.bytes);
    sealed
}

/// Takes the payload out of a letter, without copying it. `None` if it is none.
pub(crate) fn open(sealed: &Bytes) -> Option<(ReturnAddress, Data)> {
    let (header, _) = sealed.split_first_chunk::<HEADER>()?;
    let [encoding, n0, n1, n2, n3, number @ ..] = *header;
    let address = ReturnAddress {
        node: u32::from_be_bytes([n0, n1, n2, n3]),
        number: u64::from_be_bytes(number),
    };
    let data = Data {
        encoding: Encoding::from_u8(encoding)?,
        bytes: sealed.slice(HEADER..),
    };
    Some((address, data))
}

/// Writes an answer to a letter or a question.
pub(crate) fn answer(number: u64, answer: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), answer].concat()
}

/// Reads an answer, without copying it: to which letter or question, and what it says.
pub(crate) fn read_answer(bytes: &Bytes) -> Option<(u64, Bytes)> {
    let number = *bytes.first_chunk()?;
    Some((u64::from_be_bytes(number), bytes.slice(size_of::<u64>()..)))
}

/// The answer to a letter: whether a connection took it.
pub(crate) const fn receipt(taken: bool) -> &'static [u8] {
    if taken { &[1] } else { &[0] }
}

/// Whether a receipt says so.
pub(crate) fn is_taken(receipt: &[u8]) -> bool {
    receipt.first() == Some(&1)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_letter_is_opened_as_it_was_sealed() {
        let address = ReturnAddress {
            node: 0x0102_0304,
            number: u64::MAX - 1,
        };
        let data = Data {
            encoding: Encoding::Json,
            bytes: &b"{}"[..],
        };
        let sealed = Bytes::from(seal(data, address));
        let (found, opened) = open(&sealed).unwrap();
        assert_eq!(found, address);
        assert_eq!(
            (opened.encoding, &opened.bytes[..]),
            (data.encoding, data.bytes)
        );
        for length in 0..HEADER {
            assert!(open(&sealed.slice(..length)).is_none());
        }
        assert!(open(&Bytes::from_static(&[0xff; 20])).is_none());
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written() {
        for taken in [false, true] {
            let written = Bytes::from(answer(7, receipt(taken)));
            let (number, read) = read_answer(&written).unwrap();
            assert_eq!((number, is_taken(&read)), (7, taken));
        }
        let nothing = Bytes::from_static(&[0; 8]);
        assert!(!is_taken(&read_answer(&nothing).unwrap().1));
        assert_eq!(read_answer(&nothing.slice(1..)), None);
    }

    #[test]
    fn a_receipt_says_once_whether_it_was_taken() {
        let (told, heard) = mpsc::channel();
        let receipt = || {
            let told = told.clone();
            Receipt::new(move |taken| told.send(taken).unwrap())
        };
        let taken = receipt();
        taken.taken();
        taken.taken();
        drop(taken);
        drop(receipt());
        drop(told);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [true, false]);
    }
}
