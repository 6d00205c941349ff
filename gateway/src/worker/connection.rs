//! One connection of a worker: its socket, its door and its session.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use fanfare_broker::Wire;
use fanfare_shared::ClientId;

use super::quotas::Claims;
use super::rates::Budgets;
use crate::dispatch::Endpoint;
use crate::door::Door;
use crate::session::Session;
use crate::socket::{Carrier, Socket};
use crate::stream::Stream;

/// One connection.
///
/// What a delivery looks at comes first, with what it looks at of the [`Socket`].
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) client: ClientId,
    pub(crate) wire: Wire,
    pub(crate) socket: Socket,
    pub(crate) door: Arc<dyn Door>,
    /// Where the worker keeps it.
    pub(crate) slot: usize,
    pub(crate) opened: Instant,
    pub(crate) session: RefCell<Session>,
    /// What it is counted by: its address, its user.
    pub(crate) claims: RefCell<Claims>,
    /// What it may send now; none where nothing bounds that, or before the first.
    pub(crate) budgets: Cell<Option<Box<Budgets>>>,
}

impl Connection {
    pub(crate) fn new(
        stream: impl Into<Stream>,
        slot: usize,
        client: ClientId,
        door: &Arc<dyn Door>,
        session: Session,
    ) -> Rc<Self> {
        Rc::new(Self {
            client,
            wire: door.wire(),
            socket: Socket::new(stream, client),
            door: Arc::clone(door),
            slot,
            opened: Instant::now(),
            session: RefCell::new(session),
            claims: RefCell::default(),
            budgets: Cell::new(None),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.socket.is_open()
    }
}

impl Carrier for Connection {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Endpoint for Connection {
    fn client(&self) -> ClientId {
        self.client
    }

    fn slot(&self) -> usize {
        self.slot
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn door(&self) -> &Arc<dyn Door> {
        &self.door
    }

    fn session(&self) -> &RefCell<Session> {
        &self.session
    }

    fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    fn wake_reader(&self) {
        self.socket.wake_reader();
    }

    fn kill(&self) {
        self.socket.kill();
    }
}
