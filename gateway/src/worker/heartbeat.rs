//! Heartbeats: a ping to every connection once an interval, and an end to those that are silent
//! half an interval later. A dead peer is so noticed within one interval and a half.
//!
//! No timer per connection: connections are spread over the interval by their slots, and each tick
//! visits its share. A reconnect storm is so pinged evenly, too.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_shared::code::CloseCode;
use tokio::time::{MissedTickBehavior, interval};

use super::Worker;
use super::connection::Connection;
use super::turn::APPEND;
use crate::clock::seconds;
use crate::dispatch;

/// How many shares an interval is divided into. Even, so that half an interval is a whole number
/// of ticks.
const SHARES: usize = 50;

/// How often the outboxes are surveyed: every few seconds, since it looks at every connection.
const TICKS_PER_SURVEY: usize = 5;

/// A ping without payload (RFC 6455, section 5.5.2).
const PING: &[u8] = &[0x89, 0x00];

impl Worker {
    pub(super) async fn keep_alive(self: Rc<Self>) {
        #[allow(clippy::cast_possible_truncation, reason = "SHARES is small")]
        let mut tick = interval(self.config().heartbeat / SHARES as u32);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut now = 0;
        loop {
            let due = tick.tick().await;
            self.shared
                .metrics
                .scheduler_delay
                .observe(due.elapsed().as_secs_f64());
            now = (now + 1) % SHARES;
            dispatch::listen(&*self);
            if now % TICKS_PER_SURVEY == 0 {
                self.survey().await;
            }
            for connection in self.share_of((now + SHARES / 2) % SHARES) {
                if connection.is_open() && !connection.socket.is_alive() {
                    self.close(&connection, CloseCode::NoHeartbeat, "no answer to a ping");
                }
                self.turn.charge(APPEND);
                self.turn.pause().await;
            }
            let date = seconds();
            if now == 0 {
                self.hearing.revocations.borrow_mut().forget(date);
            }
            for connection in self.share_of(now) {
                self.end_expired(&connection, date);
                if self.is_too_old(&connection) {
                    self.close(&connection, CloseCode::Restart, "limits.max_connection_age");
                    continue;
                }
                if connection.is_open() && connection.opened.elapsed() > Duration::from_secs(1) {
                    connection.socket.expect_sign_of_life();
                    self.enqueue(&connection, Bytes::from_static(PING));
                }
                self.turn.charge(APPEND);
                self.turn.pause().await;
            }
            self.flush_answered().await;
            self.tally.flush();
        }
    }

    /// Whether a connection has to come back elsewhere. Each has an age of its own, within a tenth
    /// of the limit: those that came together do not leave together.
    fn is_too_old(&self, connection: &Connection) -> bool {
        let limit = self.limits().max_connection_age;
        let jitter = f64::from(connection.client.spread()) / f64::from(u16::MAX);
        !limit.is_zero() && connection.opened.elapsed() > limit.mul_f64(0.9 + 0.2 * jitter)
    }

    /// Adds up what waits in the outboxes, and trims them; what could not be shed may have gone
    /// since.
    async fn survey(&self) {
        let mut bytes = 0;
        self.each_connection(|connection| bytes += connection.socket.trim_outbox())
            .await;
        let gauged = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let now = (gauged(bytes), gauged(self.backlog.bytes()));
        let last = self.surveyed.replace(now);
        self.shared.metrics.outbox_bytes.add(now.0 - last.0);
        self.shared.metrics.backlog_bytes.add(now.1 - last.1);
        self.shed_above.set(self.backlog_share);
    }

    fn share_of(&self, share: usize) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        (share..connections.capacity())
            .step_by(SHARES)
            .filter_map(|slot| connections.get(slot).map(Rc::clone))
            .collect()
    }
}
