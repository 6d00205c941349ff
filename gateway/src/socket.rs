//! One WebSocket on a worker: its socket, its outbox, and where it is in its life.
//!
//! Idle, it holds no buffer: the worker lends its scratch buffer while bytes are read, and the
//! outbox is empty. Owned by its worker's thread; nothing here is shared with another.

mod inbound;
pub mod message;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use fanfare_broker::Outbox;
use fanfare_shared::ClientId;
use fanfare_shared::code::CloseCode;
use fanfare_shared::codec::Format;
use tokio::net::TcpStream;

pub(crate) use self::inbound::Inbound;
pub(crate) use self::read::{expect_more_later, run};
pub(crate) use self::write::Slow;
use crate::session::Session;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages go both ways.
    Open,
    /// Our close frame is written or waits in the outbox; the peer's is awaited.
    Closing,
    /// Both close frames are on their way (RFC 6455, section 7.1.1): once the outbox is empty,
    /// the sending side is shut, and whatever still comes in is read and dropped.
    Closed,
    /// The socket failed or was given up.
    Dead,
}

/// When a connection will be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    /// There is nothing to write, or the socket takes no more.
    Not,
    /// When the batch of publications is done of which it was given some.
    Delivered,
    /// As soon as the worker comes to it.
    Answered,
}

/// One WebSocket.
///
/// What a delivery looks at comes first and together: in a node of many small rooms every
/// connection is cold when its turn comes, and each line of the cache that it takes costs as much
/// as everything else that a delivery does outside the kernel.
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) client: ClientId,
    pub(crate) format: Format,
    phase: Cell<Phase>,
    /// Whether the socket takes no more for now, and a task waits until it does.
    blocked: Cell<bool>,
    /// Whether the worker knows that there is something to write, and when it will.
    marked: Cell<Marked>,
    stream: TcpStream,
    outbox: RefCell<Outbox>,
    /// Whether the peer received or sent anything since the last ping.
    alive: Cell<bool>,
    /// Whether nothing is read now, since the session has to wait: silence says nothing meanwhile.
    waiting: Cell<bool>,
    /// Whether a plain connection's own messages come back to it.
    pub(crate) echo: bool,
    /// Why it was closed, for the metrics.
    reason: Cell<Option<CloseCode>>,
    /// Where the worker keeps it.
    pub(crate) slot: usize,
    pub(crate) opened: Instant,
    pub(crate) session: RefCell<Session>,
    /// Wakes the reader when the session may go on.
    reader: Cell<Option<Waker>>,
    /// What was received and not used yet.
    pub(crate) inbound: RefCell<Inbound>,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        slot: usize,
        client: ClientId,
        format: Format,
        echo: bool,
    ) -> Rc<Self> {
        Rc::new(Self {
            client,
            format,
            echo,
            slot,
            opened: Instant::now(),
            stream,
            session: RefCell::default(),
            outbox: RefCell::default(),
            phase: Cell::new(Phase::Open),
            reason: Cell::new(None),
            blocked: Cell::new(false),
            marked: Cell::new(Marked::Not),
            alive: Cell::new(true),
            waiting: Cell::new(false),
            reader: Cell::new(None),
            inbound: RefCell::default(),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Why the connection was closed; `None` if the peer just went away.
    pub(crate) fn reason(&self) -> Option<CloseCode> {
        self.reason.get()
    }

    /// From now on, only what the peer does next counts as a sign of life.
    pub(crate) fn expect_sign_of_life(&self) {
        self.alive.set(false);
    }

    /// Whether the peer gave a sign of life, or could not, since nothing is read from it. Where the
    /// peer itself is waited for, since it takes nothing, silence counts.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.get() || (self.waiting.get() && !self.blocked.get())
    }

    /// Lets the reader go on, if it waits for the session.
    pub(crate) fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// Gives back memory that the outbox no longer needs. Answers how many bytes wait.
    pub(crate) fn trim_outbox(&self) -> usize {
        let mut outbox = self.outbox.borrow_mut();
        outbox.trim();
        outbox.bytes()
    }

    /// How many bytes wait to be written.
    pub(crate) fn outbox_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }
}
