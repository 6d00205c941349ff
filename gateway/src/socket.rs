//! The bytes of one WebSocket: its socket, its outbox, and where it is in its life.
//!
//! Idle, it holds no buffer: the worker lends its scratch buffer while bytes are read, and the
//! outbox is empty. Owned by its worker's thread; nothing here is shared with another.

mod inbound;
pub mod message;
mod write;

use std::cell::{Cell, RefCell};
use std::task::Waker;

use fanfare_broker::Outbox;
use fanfare_shared::ClientId;
use fanfare_shared::code::CloseCode;

pub(crate) use self::inbound::Inbound;
pub(crate) use self::write::Slow;
use crate::stream::Stream;

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

/// What has a socket, and is there as long as something is written to it.
pub(crate) trait Carrier: 'static {
    /// The socket.
    fn socket(&self) -> &Socket;
}

/// One WebSocket.
///
/// What a delivery looks at comes first and together: in a node of many small rooms every
/// connection is cold when its turn comes, and each line of the cache that it takes costs as much
/// as everything else that a delivery does outside the kernel.
#[repr(C)]
pub(crate) struct Socket {
    phase: Cell<Phase>,
    /// Whether the socket takes no more for now, and a task waits until it does.
    blocked: Cell<bool>,
    /// Whether the worker knows that there is something to write, and when it will.
    marked: Cell<Marked>,
    /// Whether the peer received or sent anything since the last ping.
    alive: Cell<bool>,
    /// Whether nothing is read now, since the session has to wait: silence says nothing meanwhile.
    waiting: Cell<bool>,
    stream: Stream,
    outbox: RefCell<Outbox>,
    /// Why it was closed, for the metrics.
    reason: Cell<Option<CloseCode>>,
    /// Wakes the reader when the session may go on.
    reader: Cell<Option<Waker>>,
    /// What was received and not used yet.
    pub(crate) inbound: RefCell<Inbound>,
    /// Whose it is, for the log.
    client: ClientId,
}

impl Socket {
    pub(crate) fn new(stream: impl Into<Stream>, client: ClientId) -> Self {
        Self {
            stream: stream.into(),
            client,
            outbox: RefCell::default(),
            phase: Cell::new(Phase::Open),
            reason: Cell::new(None),
            blocked: Cell::new(false),
            marked: Cell::new(Marked::Not),
            alive: Cell::new(true),
            waiting: Cell::new(false),
            reader: Cell::new(None),
            inbound: RefCell::default(),
        }
    }

    pub(crate) const fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Why the connection was closed; `None` if the peer just went away.
    pub(crate) fn reason(&self) -> Option<CloseCode> {
        self.reason.get()
    }

    /// Notes a sign of life.
    pub(crate) fn is_heard(&self) {
        self.alive.set(true);
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

    /// Has a reader that waits woken.
    pub(crate) fn wait(&self, waker: &Waker) {
        self.reader.set(Some(waker.clone()));
    }

    /// Reads nothing, until the answer is dropped: silence is no fault of the peer then.
    pub(crate) fn unread(&self) -> Unread<'_> {
        self.waiting.set(true);
        Unread(self)
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

/// A socket of which nothing is read, until this is dropped.
pub(crate) struct Unread<'a>(&'a Socket);

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(false);
        // Until the next ping: what the peer sent meanwhile is yet to be read.
        self.0.alive.set(true);
    }
}
