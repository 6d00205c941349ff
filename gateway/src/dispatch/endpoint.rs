//! A client's connection, as far as decisions concern it.

use std::cell::RefCell;
use std::sync::Arc;

use fanfare_broker::{Ticket, Wire};
use fanfare_shared::ClientId;

use crate::door::Door;
use crate::session::Session;

/// A client's connection.
pub trait Endpoint: Sized + 'static {
    /// Names it within the cluster.
    fn client(&self) -> ClientId;
    /// Where its host keeps it.
    fn slot(&self) -> usize;
    /// How it is told of publications.
    fn wire(&self) -> Wire;
    /// How it speaks.
    fn door(&self) -> &Arc<dyn Door>;
    /// What it may ask for, and what it waits for. Not to be borrowed across calls of the host.
    fn session(&self) -> &RefCell<Session>;
    /// Whether it takes anything: neither side has begun to close it.
    fn is_open(&self) -> bool;
    /// Has its reader ask again whether the session can take the next request.
    fn wake_reader(&self);
    /// Ends it without a word.
    fn kill(&self);

    /// Leads an answer back to it.
    fn ticket(&self, id: Option<u64>, announced: bool) -> Ticket {
        Ticket {
            slot: self.slot(),
            client: self.client(),
            id,
            announced,
        }
    }
}
