//! What each door can do.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::{Event, Publication};

use crate::http::entrance::Entrance;
use crate::message::Message;
use crate::session::Incoming;

/// One way to speak. Shared by all connections that speak so.
pub trait Door: Debug + Send + Sync {
    /// The encoding of what it pushes: the same for all that share it.
    fn wire(&self) -> Wire;

    /// The next of what a message asks for, from `at` on, which is moved behind it; `None` at the
    /// end. `at` is 0 for the first, and else whatever this left there.
    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>>;

    /// Whether it has words beside publications: for a welcome, and for what became of commands.
    fn has_words(&self) -> bool {
        true
    }

    /// The frame that tells a client of something; `None` where it has no word for it.
    fn encode(&self, event: &Event<'_>) -> Option<Bytes>;

    /// The frame that gives a publication to every member on this wire. `new_epoch` says whether it
    /// is the first that they see of its epoch.
    fn encode_publication(&self, publication: &Publication, new_epoch: bool) -> Bytes;
}

/// An entrance, and the doors behind it: for each of its subprotocols (one, where it has none) a door
/// without echo, and one with it.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) entrance: Entrance,
    pub(super) doors: Vec<[Arc<dyn Door>; 2]>,
}

/// The wires that no door has yet.
#[derive(Debug, Default)]
pub(super) struct Wires {
    given: u8,
}

impl Wires {
    /// One of its own for an encoding that a door pushes.
    #[allow(
        clippy::expect_used,
        reason = "the doors are known as this is compiled"
    )]
    pub(super) fn next(&mut self) -> Wire {
        let wire = Wire::new(self.given).expect("no more encodings than wires");
        self.given += 1;
        wire
    }
}

/// Reads a message that is one request or none at all.
pub(super) fn whole<'a>(
    message: &'a Message<'_>,
    at: &mut usize,
    read: impl FnOnce(&'a Message<'_>) -> Incoming<'a>,
) -> Option<Incoming<'a>> {
    let is_first = *at == 0;
    *at = 1;
    is_first.then(|| read(message))
}
