//! One client's connection: what its node has of it, and in place of a socket two heaps of what
//! was sent and not yet looked at.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use fanfare_broker::{Outbox, Wire};
use fanfare_gateway::dispatch::Endpoint;
use fanfare_gateway::door::Door;
use fanfare_gateway::message::Message;
use fanfare_gateway::session::Session;
use fanfare_shared::ClientId;

/// How many frames are written in one go.
const FRAMES: usize = 4;

pub(crate) struct Connection {
    client: ClientId,
    slot: usize,
    door: Arc<dyn Door>,
    session: RefCell<Session>,
    open: Cell<bool>,
    /// How many times the client looks until it sees that it is not.
    looks: Cell<usize>,
    pub(crate) outbox: RefCell<Outbox>,
    /// What the client sent, and how far the first was taken.
    pub(crate) inbound: RefCell<VecDeque<Message<'static>>>,
    pub(crate) at: Cell<usize>,
    /// Whether the reader waits until it is woken, and whether it was.
    waits: Cell<bool>,
    woken: Cell<bool>,
    /// What the client was sent.
    pub(crate) received: RefCell<Vec<u8>>,
    /// Whether the client reads nothing for now.
    pub(crate) stuck: Cell<bool>,
    /// Whether something waits until it does.
    pub(crate) blocked: Cell<bool>,
    /// Whether the client hung up, which its node is yet to see.
    pub(crate) gone: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(
        client: ClientId,
        slot: usize,
        door: &Arc<dyn Door>,
        session: Session,
    ) -> Self {
        Self {
            client,
            slot,
            door: Arc::clone(door),
            session: RefCell::new(session),
            open: Cell::new(true),
            looks: Cell::new(0),
            outbox: RefCell::default(),
            inbound: RefCell::default(),
            at: Cell::new(0),
            waits: Cell::new(false),
            woken: Cell::new(false),
            received: RefCell::default(),
            stuck: Cell::new(false),
            blocked: Cell::new(false),
            gone: Cell::new(false),
        }
    }

    /// Sends a command to the node.
    pub(crate) fn send(&self, command: String) {
        let message = Message::Text(command.into());
        self.inbound.borrow_mut().push_back(message);
    }

    /// Has the reader wait until it is woken; what woke it before does not count.
    pub(crate) fn wait(&self) {
        self.waits.set(true);
        self.woken.set(false);
    }

    /// Whether the reader does not wait, or no longer.
    pub(crate) fn may_read(&self) -> bool {
        if self.woken.take() {
            self.waits.set(false);
        }
        !self.waits.get()
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_written(&self) -> bool {
        self.flush();
        self.outbox.borrow().is_empty()
    }

    /// Writes what waits, if the client reads. Who waits for that is woken.
    pub(crate) fn flush(&self) {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_empty() {
            return;
        }
        if self.stuck.get() {
            self.blocked.set(true);
            return;
        }
        let mut received = self.received.borrow_mut();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES];
            let count = outbox.slices(&mut slices);
            let before = received.len();
            for slice in &slices[..count] {
                received.extend_from_slice(slice);
            }
            outbox.advance(received.len() - before);
        }
        // A socket that took all at once was waited for by nobody.
        if self.blocked.take() {
            self.woken.set(true);
        }
    }

    /// Whether a frame may be written at once.
    pub(crate) fn takes_at_once(&self) -> bool {
        self.open.get() && !self.blocked.get() && self.outbox.borrow().is_empty()
    }

    /// Takes nothing any more, which the client sees when it has looked so many times. Answers
    /// whether that is news.
    pub(crate) fn shut(&self, looks: usize) -> bool {
        let is_news = self.open.replace(false);
        if is_news {
            self.looks.set(looks);
        }
        is_news
    }

    /// Looks whether its node has closed it.
    pub(crate) fn looks_closed(&self) -> bool {
        let looks = self.looks.get();
        self.looks.set(looks.saturating_sub(1));
        !self.open.get() && looks == 0
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
        self.door.wire()
    }

    fn door(&self) -> &Arc<dyn Door> {
        &self.door
    }

    fn session(&self) -> &RefCell<Session> {
        &self.session
    }

    fn is_open(&self) -> bool {
        self.open.get()
    }

    fn wake_reader(&self) {
        self.woken.set(true);
    }

    fn kill(&self) {
        self.shut(0);
    }
}
