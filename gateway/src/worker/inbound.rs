//! What the clients of a worker have sent and it cannot use yet: messages that are here in part, and
//! commands behind one that has to wait.
//!
//! All of it together has a bound, the worker's share of
//! [`limits.inbound_bytes`](fanfare_shared::config::Limits::inbound_bytes). Beyond it nothing is
//! read until the connections that hold the most are closed. And a message that has begun has to be
//! whole in time.

use std::rc::Rc;
use std::time::Duration;

use fanfare_shared::code::CloseCode;
use tokio::time::{MissedTickBehavior, interval};

use super::Worker;
use super::connection::Connection;

/// How many times within the time for a message it is looked at who takes longer.
const LOOKS: u32 = 4;

impl Worker {
    /// Counts what a connection holds now.
    pub(crate) fn count_inbound(&self, connection: &Connection) {
        // The part of a record that one has which is being closed goes with it, and soon.
        let sealed = match connection.is_open() {
            true => connection.socket.stream().held(),
            false => 0,
        };
        let mut inbound = connection.socket.inbound.borrow_mut();
        let bytes = inbound.bytes() + sealed;
        let before = std::mem::replace(&mut inbound.counted, bytes);
        if bytes != before {
            self.inbound_changed(before, bytes);
        }
    }

    /// Lets go of all that a connection holds, since it has ended.
    pub(super) fn end_inbound(&self, connection: &Connection) {
        let inbound = connection.socket.inbound.take();
        self.inbound_changed(inbound.counted, 0);
    }

    fn inbound_changed(&self, before: usize, now: usize) {
        let lacked = self.lacks_inbound_room();
        self.inbound.set(self.inbound.get() - before + now);
        match (lacked, self.lacks_inbound_room()) {
            (false, true) => self.inbound_full.notify_one(),
            (true, false) => self.inbound_freed.notify_waiters(),
            _ => {}
        }
    }

    /// Lets go of what a connection holds, all but the start of a frame.
    pub(super) fn discard_inbound(&self, connection: &Connection) {
        connection.socket.inbound.borrow_mut().discard();
        self.count_inbound(connection);
    }

    /// Whether the connections hold so much that no more may be read.
    pub(crate) fn lacks_inbound_room(&self) -> bool {
        self.inbound.get() > self.inbound_share
    }

    /// Waits until it may.
    pub(crate) async fn inbound_room(&self) {
        // In a box: every connection that waits for its peer would have room for it.
        Box::pin(self.inbound_freed.notified()).await;
    }

    /// Closes those whose messages take too long, and those that hold the most when it is too much.
    pub(super) async fn bound_inbound(self: Rc<Self>) {
        let patience = self.limits().message_timeout;
        let mut tick = interval(patience / LOOKS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.inbound_full.notified() => self.free_inbound().await,
                _ = tick.tick() => self.close_late(patience).await,
            }
        }
    }

    async fn close_late(&self, patience: Duration) {
        let gauged = i64::try_from(self.inbound.get()).unwrap_or(i64::MAX);
        let last = self.inbound_gauged.replace(gauged);
        self.shared.metrics.inbound_bytes.add(gauged - last);
        if self.inbound.get() == 0 {
            return;
        }
        self.each_connection(|connection| {
            if connection.is_open() && connection.socket.inbound.borrow().is_late(patience) {
                let reason = "a message took longer than limits.message_timeout";
                self.close(connection, CloseCode::Policy, reason);
                self.discard_inbound(connection);
                self.shared.metrics.inbound_late.inc();
            }
        })
        .await;
    }

    async fn free_inbound(&self) {
        let share = self.inbound_share;
        if self.inbound.get() <= share {
            return;
        }
        let mut largest_first = self
            .largest_first(|connection| connection.socket.inbound.borrow().counted)
            .await;
        let mut closed = 0_u64;
        while self.inbound.get() > share - share / 10
            && let Some(connection) = largest_first.next()
        {
            self.turn.pause().await;
            if connection.is_open() && connection.socket.inbound.borrow().counted > 0 {
                let reason = "the node holds more unfinished input than limits.inbound_bytes";
                self.close(&connection, CloseCode::Overloaded, reason);
                self.discard_inbound(&connection);
                closed += 1;
            }
        }
        if closed > 0 {
            self.shared.metrics.inbound_shed.inc_by(closed);
            tracing::warn!(
                closed,
                worker = self.index,
                "closed those that sent most; more unfinished input than limits.inbound_bytes"
            );
        }
    }
}
