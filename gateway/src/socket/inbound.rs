//! What a connection holds of what it received: the part of a message that has come, and what the
//! session could not take yet. Nothing while it is idle.

use std::time::{Duration, Instant};

use super::message::{Fault, MessageReader, Received};
use crate::message::Message;

/// What was received and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    reader: MessageReader,
    /// A message that waits until the session can take it, and how far that has.
    message: Option<(Message<'static>, usize)>,
    /// What came behind it, or the start of a frame.
    rest: Vec<u8>,
    /// Since when a message is cut, if the last one is.
    cut: Option<Instant>,
    /// How many bytes its worker has counted of it.
    pub(crate) counted: usize,
}

impl Inbound {
    /// Holds what came right behind the handshake.
    pub(crate) fn begin(first: Vec<u8>) -> Self {
        Self {
            rest: first,
            ..Self::default()
        }
    }

    /// How many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let message = self
            .message
            .as_ref()
            .map_or(0, |(message, _)| message.len());
        self.reader.held() + message + self.rest.capacity()
    }

    /// Whether a message is cut, and its start came so long ago.
    pub(crate) fn is_late(&self, patience: Duration) -> bool {
        self.cut.is_some_and(|since| since.elapsed() > patience)
    }

    /// Takes the next from `bytes`: see [`MessageReader::read`].
    pub(crate) fn read<'a>(
        &mut self,
        bytes: &'a mut [u8],
        max: usize,
    ) -> Result<(usize, Option<Received<'a>>), Fault> {
        let read = self.reader.read(bytes, max);
        if let Ok((_, Some(Received::Message(_)))) = read {
            self.cut = None;
        }
        read
    }

    /// Notes that no more has come, or only the start of a record where `is_sealed` says so. Where
    /// that is the middle of a message, the time that the rest may take begins with the first such
    /// note.
    pub(crate) fn is_cut(&mut self, is_sealed: bool) {
        if self.rest.is_empty() && self.reader.is_idle() && !is_sealed {
            self.cut = None;
        } else {
            self.cut.get_or_insert_with(Instant::now);
        }
    }

    /// Keeps what was not used.
    pub(crate) fn keep_rest(&mut self, bytes: &[u8]) {
        self.rest = bytes.to_vec();
    }

    /// Keeps a message of which all from `at` on waits, and what came behind it.
    pub(crate) fn keep(&mut self, message: Message<'static>, at: usize, rest: Vec<u8>) {
        self.message = Some((message, at));
        self.rest = rest;
    }

    /// Gives back what was kept.
    pub(crate) fn take_back(&mut self) -> (Option<(Message<'static>, usize)>, Vec<u8>) {
        (self.message.take(), std::mem::take(&mut self.rest))
    }

    /// Copies what was not used to the front of `scratch`; answers how much that is.
    pub(crate) fn copy_rest_to(&self, scratch: &mut [u8]) -> usize {
        let kept = self.rest.len();
        scratch[..kept].copy_from_slice(&self.rest);
        kept
    }

    /// Keeps nothing of messages any more, neither of those that are here in part nor of those to
    /// come: only a close frame is of interest.
    pub(crate) fn discard(&mut self) {
        self.message = None;
        self.cut = None;
        self.reader.discard();
    }
}
