//! Writing a connection: the outbox, one vectored write per flush, and the way to the end.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::{Backlog, Frame, Outbox, Overflow, RoomKey};
use fanfare_shared::code::CloseCode;
use fanfare_shared::config::SlowConsumer;
use fanfare_shared::frame;
use tokio::task::spawn_local;

use super::{Carrier, Marked, Phase, Socket};
use crate::panic;

/// The most frames in one write; a longer queue takes several.
const FRAMES_PER_WRITE: usize = 64;

/// What became of a delivery to a connection whose outbox was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Older publications gave way to it.
    Dropped(usize),
    /// The connection has to go.
    Disconnect,
}

impl Socket {
    /// Appends a reply or push. On overflow the connection is a slow consumer, and has to be
    /// closed as one.
    pub(crate) fn push(
        carrier: &Rc<impl Carrier>,
        frame: &Frame,
        bound: usize,
    ) -> Result<(), Overflow> {
        let socket = carrier.socket();
        let push = || socket.outbox.borrow_mut().push(frame.clone(), bound);
        push().or_else(|Overflow| Self::make_room(carrier).and_then(|()| push()))
    }

    /// Appends a publication by its room's rule for slow consumers.
    pub(crate) fn push_publication(
        carrier: &Rc<impl Carrier>,
        frame: &Frame,
        room: RoomKey,
        rule: SlowConsumer,
        bound: usize,
    ) -> Result<(), Slow> {
        let socket = carrier.socket();
        let mut dropped = 0;
        if rule == SlowConsumer::Latest && socket.blocked.get() {
            dropped = socket.outbox.borrow_mut().drop_room(room);
        }
        let push = || {
            let mut outbox = socket.outbox.borrow_mut();
            outbox.push_publication(frame.clone(), room, bound)
        };
        let mut pushed = push().or_else(|Overflow| Self::make_room(carrier).and_then(|()| push()));
        if pushed.is_err() && rule != SlowConsumer::Disconnect {
            dropped += socket.outbox.borrow_mut().drop_oldest(frame.len(), bound);
            pushed = push();
        }
        match (pushed, dropped) {
            (Ok(()), 0) => Ok(()),
            (Ok(()), dropped) => Err(Slow::Dropped(dropped)),
            // By the rule, or since replies alone fill the outbox.
            (Err(Overflow), _) => Err(Slow::Disconnect),
        }
    }

    /// Whether a frame may be given to the socket at once: nothing waits before it, and it goes as
    /// it is. What waits in the outbox of an open connection does so because it is marked or blocked.
    pub(crate) fn takes_at_once(&self) -> bool {
        let takes =
            self.is_open() && !self.blocked.get() && !self.is_marked() && self.stream.is_direct();
        debug_assert!(!takes || self.outbox.borrow().is_empty());
        takes
    }

    /// The socket, for a frame that it [takes at once](Self::takes_at_once).
    ///
    /// Past tokio, whose note of the socket's readiness is one more cold line of the cache: the
    /// socket says itself whether it is ready.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Notes that the [socket](Self::fd) took the start of the first frame in the outbox.
    pub(crate) fn advance(&self, bytes: usize) {
        self.outbox.borrow_mut().advance(bytes);
    }

    /// Writes what waits before its turn, since nothing more fits. An outbox that is full of a
    /// burst says nothing of the peer: only where the socket takes no more is it slow.
    fn make_room(carrier: &Rc<impl Carrier>) -> Result<(), Overflow> {
        if carrier.socket().blocked.get() {
            return Err(Overflow);
        }
        Self::flush(carrier);
        Ok(())
    }

    /// Marks the connection as one that was given a publication; answers whether that is news.
    pub(crate) fn mark_delivered(&self) -> bool {
        let is_news = !self.is_marked();
        if is_news {
            self.marked.set(Marked::Delivered);
        }
        is_news
    }

    /// Marks the connection as one that was told something else; answers whether that is news.
    pub(crate) fn mark_answered(&self) -> bool {
        self.marked.replace(Marked::Answered) != Marked::Answered
    }

    /// Whether it is marked as one with something to write.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.get() != Marked::Not
    }

    /// Writes what waits, as far as the socket takes it; the rest follows when it takes more.
    pub(crate) fn flush(carrier: &Rc<impl Carrier>) {
        let socket = carrier.socket();
        socket.marked.set(Marked::Not);
        if socket.blocked.get() || socket.phase.get() == Phase::Dead {
            return;
        }
        match socket.write_ready() {
            Ok(true) => socket.flushed(),
            Ok(false) => {
                socket.blocked.set(true);
                let carrier = Rc::clone(carrier);
                spawn_local(async move {
                    let socket = carrier.socket();
                    let flushed = panic::contain(socket.flush_when_writable()).await;
                    if flushed.is_err() {
                        socket.kill();
                    }
                });
            }
            Err(error) => socket.write_failed(&error),
        }
    }

    /// Whether the socket takes everything that waits.
    pub(crate) fn is_written(carrier: &Rc<impl Carrier>) -> bool {
        Self::flush(carrier);
        !carrier.socket().blocked.get()
    }

    /// Writes until the outbox is empty (true) or the socket is full (false).
    fn write_ready(&self) -> io::Result<bool> {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.is_empty() {
            let written = match outbox.single() {
                Some(frame) => self.stream.try_write(frame),
                None => self.write_several(&outbox),
            };
            match written {
                Ok(count) => outbox.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.stream.try_flush() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Apart from the way of a single frame, for which the list of slices would cost more than all
    /// else that is not the kernel's.
    fn write_several(&self, outbox: &Outbox) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
        let count = outbox.slices(&mut slices);
        self.stream.try_write_vectored(&slices[..count])
    }

    async fn flush_when_writable(&self) {
        while self.phase.get() != Phase::Dead {
            let writable = self.stream.writable().await;
            let before = self.outbox_bytes() + self.stream.unsent();
            let outcome = writable.and_then(|()| self.write_ready());
            if self.outbox_bytes() + self.stream.unsent() < before {
                // The peer takes what was sent. Our ping may wait behind it for long.
                self.alive.set(true);
            }
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    self.blocked.set(false);
                    self.wake_reader();
                    self.flushed();
                    return;
                }
                Err(error) => {
                    self.write_failed(&error);
                    return;
                }
            }
        }
    }

    fn flushed(&self) {
        if self.phase.get() == Phase::Closed {
            // Section 7.1.1: the server closes TCP first. Only this side, so that what the peer
            // still has under way does not turn into a reset which takes our last frames with it.
            let _ = self.stream.finish();
        }
    }

    fn write_failed(&self, error: &io::Error) {
        tracing::debug!(client = %self.client, %error, "write failed");
        self.kill();
    }

    // --- the end ---

    /// Starts the closing handshake (section 7.1.2): nothing but our close frame follows what is
    /// queued. Answers whether the connection was open.
    pub(crate) fn start_close(
        carrier: &Rc<impl Carrier>,
        code: CloseCode,
        reason: &str,
        within: Duration,
    ) -> bool {
        let socket = carrier.socket();
        if !socket.is_open() {
            return false;
        }
        if code == CloseCode::SlowConsumer {
            socket.outbox.borrow_mut().drop_all();
        }
        socket.reason.set(Some(code));
        let last = frame::close(code.as_u16(), reason);
        Self::say_close(carrier, last, Phase::Closing, within);
        true
    }

    /// Answers the peer's close frame, if ours is not out yet (section 5.5.1).
    pub(crate) fn answer_close(carrier: &Rc<impl Carrier>, code: Option<u16>, within: Duration) {
        let socket = carrier.socket();
        match socket.phase.get() {
            Phase::Open => {
                socket.reason.set(Some(CloseCode::Normal));
                let answer = match code {
                    Some(code) => frame::close(code, ""),
                    None => frame::frame(frame::Opcode::Close, &[]),
                };
                Self::say_close(carrier, answer, Phase::Closed, within);
            }
            Phase::Closing => socket.phase.set(Phase::Closed),
            Phase::Closed | Phase::Dead => {}
        }
    }

    /// Waits for no answer to our close frame: the peer broke the protocol (section 7.1.7).
    pub(crate) fn expect_no_answer(&self) {
        if self.phase.get() == Phase::Closing {
            self.phase.set(Phase::Closed);
        }
    }

    fn say_close(carrier: &Rc<impl Carrier>, last: Bytes, phase: Phase, within: Duration) {
        let socket = carrier.socket();
        // The bounds do not hold for the last frame.
        let last = Backlog::default().frame(last);
        let pushed = socket.outbox.borrow_mut().push(last, usize::MAX);
        debug_assert!(pushed.is_ok());
        socket.phase.set(phase);
        socket.wake_reader();
        let carrier = Rc::downgrade(carrier);
        spawn_local(async move {
            tokio::time::sleep(within).await;
            if let Some(carrier) = carrier.upgrade() {
                carrier.socket().kill();
            }
        });
    }

    /// Gives the socket up. The reader sees its end and cleans up.
    pub(crate) fn kill(&self) {
        if self.phase.replace(Phase::Dead) != Phase::Dead {
            self.stream.cut();
            self.wake_reader();
        }
    }
}

#[cfg(test)]
mod tests {
    use fanfare_shared::ClientId;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::timeout;

    use super::*;

    impl Carrier for Socket {
        fn socket(&self) -> &Socket {
            self
        }
    }

    #[test]
    #[allow(
        clippy::await_holding_refcell_ref,
        reason = "so that the task that writes panics"
    )]
    fn a_panic_in_the_writing_of_what_waits_ends_the_connection() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peer = TcpStream::connect(listener.local_addr().unwrap()).await;
            let (stream, _) = listener.accept().await.unwrap();
            let socket = Rc::new(Socket::new(stream, ClientId(0)));
            let frame = Backlog::default().frame(vec![0; 64 << 20].into());
            Socket::push(&socket, &frame, usize::MAX).unwrap();
            Socket::flush(&socket);
            assert!(socket.blocked.get());
            let held = socket.outbox.borrow_mut();
            // Reads to the end, since the socket is shut.
            let mut received = Vec::new();
            let mut peer = peer.unwrap();
            let ended = timeout(Duration::from_secs(60), peer.read_to_end(&mut received)).await;
            assert!(ended.is_ok());
            drop(held);
            assert_eq!(socket.phase.get(), Phase::Dead);
        });
    }
}
