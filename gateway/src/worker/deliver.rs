//! What a worker's clients are given: written at once where the socket takes it, or appended to the
//! outbox.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use fanfare_broker::{Backlog, Frame, RoomKey};
use fanfare_shared::Publication;
use fanfare_shared::code::CloseCode;
use fanfare_shared::config::SlowConsumer;

use super::Worker;
use super::connection::Connection;
use super::send::Outgoing;
use crate::dispatch::{Counted, Near, Outlet};
use crate::operation::now;
use crate::socket::{Slow, Socket};

impl Outlet for Worker {
    type Endpoint = Connection;

    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    fn takes_at_once(&self, connection: &Connection) -> bool {
        connection.socket.takes_at_once()
    }

    fn write_at_once(&self, near: &mut [Near<'_, Connection>]) {
        let takers = near.iter().filter(|member| member.takes_at_once);
        let mut batch = Vec::with_capacity(near.len());
        batch.extend(takers.map(outgoing));
        self.sender.borrow_mut().send(&mut batch);
        let takers = near.iter_mut().filter(|member| member.takes_at_once);
        for (member, outgoing) in takers.zip(batch) {
            member.written = outgoing.taken;
        }
    }

    // Called for each delivery: eight instructions of three hundred.
    #[inline(always)]
    fn append(
        &self,
        connection: &Rc<Connection>,
        frame: &Frame,
        written: usize,
        room: RoomKey,
        rule: SlowConsumer,
    ) -> bool {
        let bound = self.limits().outbox_bytes;
        let push = || Socket::push_publication(connection, frame, room, rule, bound);
        match self.counted(connection, frame.len(), push) {
            Ok(()) => {}
            Err(Slow::Dropped(count)) => self.tally.dropped.inc_by(count as u64),
            Err(Slow::Disconnect) => return false,
        }
        if written > 0 {
            connection.socket.advance(written);
        }
        self.mark_delivered(connection);
        true
    }

    fn enqueue(&self, connection: &Rc<Connection>, frame: Bytes) {
        self.enqueue(connection, frame);
    }

    fn close(&self, connection: &Rc<Connection>, code: CloseCode, reason: &str) {
        self.close(connection, code, reason);
    }

    async fn flush(&self) {
        self.flush_all().await;
    }

    fn count(&self, counted: Counted<'_>) {
        match counted {
            Counted::Publish => self.tally.publishes.inc(),
            Counted::NewRoomRefused => self.tally.new_rooms_refused.inc(),
            Counted::Entered => self.shared.metrics.memberships.inc(),
            Counted::Left => self.shared.metrics.memberships.dec(),
            Counted::Delivered {
                publication,
                reached,
                bytes,
            } => {
                self.tally.delivery_bytes.inc_by(bytes);
                self.observe(publication, reached);
            }
            // Each worker has the same.
            Counted::Revocations(count) if self.index == 0 => {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.shared.metrics.revocations.set(count);
            }
            Counted::Revocations(_) => {}
            Counted::Informed => {
                self.shared.uninformed.fetch_sub(1, Ordering::Release);
                self.informed.notify_waiters();
            }
            Counted::Slow => self.shared.metrics.slow_disconnected.inc(),
        }
    }
}

impl Worker {
    fn observe(&self, publication: &Publication, reached: u32) {
        self.tally.deliveries.inc_by(u64::from(reached));
        self.tally.fanout.observe(f64::from(reached));
        let is_local = publication
            .from
            .as_ref()
            .is_some_and(|from| from.client.node() == self.shared.node);
        let latency = if is_local {
            &self.tally.latency_local
        } else {
            &self.tally.latency_remote
        };
        #[allow(clippy::cast_precision_loss, reason = "milliseconds, and few")]
        latency.observe(now().saturating_sub(publication.time) as f64 / 1e3);
    }
}

fn outgoing<'a>(member: &Near<'a, Connection>) -> Outgoing<'a> {
    Outgoing {
        socket: member.endpoint.socket.fd(),
        bytes: member.frame,
        taken: 0,
    }
}
