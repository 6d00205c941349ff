//! From the outboxes to the sockets: whoever is given something is written once, when all that was
//! ready has been given.
//!
//! There are two lists of whom to write. Those that were given publications wait for the end of
//! their batch, or a burst would take a system call for each delivery. Those that were told
//! something else do not: a batch may take long, and an answer must not wait for it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Worker;
use super::connection::Connection;
use super::turn::APPEND;
use crate::dispatch;
use crate::socket::Socket;

/// Who writes what is queued, held back until this is dropped: after a panic, too.
struct HeldBack<'a> {
    flusher: Option<Waker>,
    worker: &'a Worker,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        match self.flusher.take() {
            Some(waker) if !self.worker.answered.borrow().is_empty() => waker.wake(),
            flusher => self.worker.flusher.set(flusher),
        }
    }
}

impl Worker {
    /// Queues a frame for one connection.
    pub(crate) fn enqueue(&self, connection: &Rc<Connection>, frame: Bytes) {
        if !connection.is_open() {
            return;
        }
        self.turn.charge_encode(frame.len());
        let frame = self.backlog.frame(frame);
        let bound = self.limits().outbox_bytes;
        match self.counted(connection, frame.len(), || {
            Socket::push(connection, &frame, bound)
        }) {
            Ok(()) => self.mark_answered(connection),
            Err(_) => dispatch::close_slow(self, connection),
        }
    }

    /// Appends `bytes` to an outbox by `push`, and counts what work that was: what had to be
    /// written or dropped for it included.
    pub(super) fn counted<T>(
        &self,
        connection: &Connection,
        bytes: usize,
        push: impl FnOnce() -> T,
    ) -> T {
        let before = connection.socket.outbox_bytes();
        let pushed = push();
        self.turn.charge(APPEND);
        let gone = (before + bytes).saturating_sub(connection.socket.outbox_bytes());
        if gone > 0 {
            self.turn.charge_write(gone);
        }
        pushed
    }

    // --- whom to write ---

    /// Notes a connection that was given a publication.
    pub(super) fn mark_delivered(&self, connection: &Rc<Connection>) {
        if connection.socket.mark_delivered() {
            self.delivered.borrow_mut().push(Rc::clone(connection));
        }
    }

    /// Notes a connection that was told something else.
    pub(super) fn mark_answered(&self, connection: &Rc<Connection>) {
        if connection.socket.mark_answered() {
            self.answered.borrow_mut().push(Rc::clone(connection));
            if let Some(waker) = self.flusher.take() {
                waker.wake();
            }
        }
    }

    /// Does something, and has what it queued written behind what it had posted to this worker:
    /// the answers to that share the write.
    pub(super) fn write_after(&self, act: impl FnOnce()) {
        let _held_back = HeldBack {
            flusher: self.flusher.take(),
            worker: self,
        };
        act();
    }

    // --- writing ---

    /// Writes what replies left in the outboxes, after whatever else was ready: the replies to a
    /// burst share a write.
    pub(super) async fn write_replies(self: Rc<Self>) {
        loop {
            poll_fn(|context| self.poll_answered(context)).await;
            self.flush_answered().await;
        }
    }

    fn poll_answered(&self, context: &Context<'_>) -> Poll<()> {
        if self.answered.borrow().is_empty() {
            self.flusher.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Writes to whoever was told something but publications.
    pub(super) async fn flush_answered(&self) {
        self.flush_each(&self.answered).await;
    }

    /// Writes to everyone who was given something.
    pub(super) async fn flush_all(&self) {
        self.flush_each(&self.answered).await;
        self.flush_each(&self.delivered).await;
    }

    /// Writes each connection of a list once, taking turns with everything else.
    async fn flush_each(&self, list: &RefCell<Vec<Rc<Connection>>>) {
        if list.borrow().is_empty() {
            return;
        }
        let mut due = std::mem::take(&mut *list.borrow_mut());
        for connection in &due {
            // Who is on both lists was perhaps written already.
            if connection.socket.is_marked() {
                self.flush(connection);
                self.turn.pause().await;
            }
        }
        self.bound_backlog().await;
        due.clear();
        // Keep the larger of the two allocations.
        let mut current = list.borrow_mut();
        if current.is_empty() && current.capacity() < due.capacity() {
            *current = due;
        }
    }

    fn flush(&self, connection: &Rc<Connection>) {
        let before = connection.socket.outbox_bytes();
        Socket::flush(connection);
        let written = before.saturating_sub(connection.socket.outbox_bytes());
        self.turn.charge_write(written);
    }
}
