//! What has connections and decides about them: a worker, or the node of a simulation.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::{Hub, Inbox, Members, Roster, Ticket};
use fanfare_shared::{Identity, Publication};
use slab::Slab;

use super::endpoint::Endpoint as _;
use super::hearing::Hearing;
use super::outlet::Outlet;
use super::turn::Turn;
use crate::hook::Hooks;
use crate::session::Surroundings;

/// One worker's part of a node. Owned by one thread.
pub trait Host: Errands {
    /// Which of the node's workers it is.
    fn index(&self) -> usize;
    /// The node's hub.
    fn hub(&self) -> &Hub;
    /// Who of the node is where.
    fn roster(&self) -> &Roster;
    /// Whose the connections without a token are: nobody's.
    fn anonymous(&self) -> &Arc<Identity>;
    /// Its connections, each by its [slot](super::Endpoint::slot).
    fn connections(&self) -> &RefCell<Slab<Rc<Self::Endpoint>>>;
    /// The slots of those that are in rooms.
    fn members(&self) -> &RefCell<Members<usize>>;
    /// What a connection's session has around it.
    fn around<'a>(&'a self, endpoint: &'a Rc<Self::Endpoint>) -> impl Surroundings + 'a;
    /// The application's backend, where it is asked.
    fn hooks(&self) -> Option<&Arc<Hooks>>;
    /// What was done since others could go on.
    fn turn(&self) -> &Turn;
    /// What it knows of what concerns all nodes.
    fn hearing(&self) -> &Hearing;

    /// What the hub has for it.
    fn inbox(&self) -> &Arc<Inbox> {
        self.hub().inbox(self.index())
    }

    /// The connection that a ticket was for, if it is still there.
    fn endpoint_of(&self, ticket: Ticket) -> Option<Rc<Self::Endpoint>> {
        self.connections()
            .borrow()
            .get(ticket.slot)
            .filter(|endpoint| endpoint.client() == ticket.client)
            .map(Rc::clone)
    }
}

/// What a host does aside, since it may take long.
pub trait Errands: Outlet + Sized + 'static {
    /// Encodes a frame that holds publications: at once, or elsewhere while others go on. `None`
    /// where there is no word for it, or the host ends.
    fn encode(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> impl Future<Output = Option<Bytes>>;
    /// The same, one at a time.
    fn encode_in_turn(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> impl Future<Output = Option<Bytes>>;
    /// Checks a client's next token, and lets it decide from then on.
    fn authenticate(&self, endpoint: &Rc<Self::Endpoint>, id: Option<u64>, token: &str);
    /// Counts a connection as one of a user's, who became known; says why it may not be one.
    ///
    /// # Errors
    ///
    /// If the user has as many as they may.
    fn claim_user(&self, endpoint: &Rc<Self::Endpoint>, user: &str) -> Result<(), String>;
    /// Another handle on the host, for a task.
    fn share(&self) -> Rc<Self>;
    /// Runs a task on the host's thread.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}
