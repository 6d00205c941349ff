//! What each door can do.

use std::fmt::Debug;

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::{Event, Publication};

use crate::message::Message;
use crate::session::Incoming;

/// One way to speak. Shared by all connections that speak so.
pub trait Door: Debug + Send + Sync {
    /// The encoding of what it pushes: the same for all that share it.
    fn wire(&self) -> Wire;

    /// The next of what a message asks for, from `at` on, which is moved behind it; `None` at the
    /// end. `at` is 0 for the first, and else whatever this left there.
    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>>;

    /// The frame that tells a client of something; `None` where it has no word for it.
    fn encode(&self, event: &Event<'_>) -> Option<Bytes>;

    /// The frame that gives a publication to every member on this wire. `new_epoch` says whether it
    /// is the first that they see of its epoch.
    fn encode_publication(&self, publication: &Publication, new_epoch: bool) -> Bytes;
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
