//! Shedding: when what waits in the outboxes takes more memory than the worker's share of
//! [`limits.backlog_bytes`](fanfare_shared::config::Limits::backlog_bytes), the slowest have to go.
//!
//! The slowest are those for which the most waits. They are closed with 4008 and come back by
//! recovery, as after any overflow.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use fanfare_shared::code::CloseCode;

use super::Worker;
use super::connection::Connection;

impl Worker {
    /// Sheds if it is time to. Costs a comparison if not.
    pub(super) async fn bound_backlog(&self) {
        if self.backlog.bytes() > self.shed_above.get() && !self.shedding.replace(true) {
            self.shed().await;
            self.shedding.set(false);
        }
    }

    /// Takes turns with everything else: there may be many to look at and to close.
    async fn shed(&self) {
        let share = self.backlog_share;
        let (before, enough) = (self.backlog.bytes(), share - share / 10);
        let mut slowest_first = self
            .largest_first(|connection| connection.socket.outbox_bytes())
            .await;
        let mut shed = 0_u64;
        while self.backlog.bytes() > enough
            && let Some(connection) = slowest_first.next()
        {
            self.turn.pause().await;
            // Meanwhile it may have been written, or have gone.
            if connection.socket.outbox_bytes() > 0 && connection.is_open() {
                let reason = "slow consumer: more waits on the node than limits.backlog_bytes";
                self.close(&connection, CloseCode::SlowConsumer, reason);
                shed += 1;
            }
        }
        if shed > 0 {
            self.shared.metrics.slow_shed.inc_by(shed);
            tracing::warn!(
                shed,
                worker = self.index,
                freed = before.saturating_sub(self.backlog.bytes()),
                "shed the slowest; more waited than limits.backlog_bytes"
            );
        }
        // What is left when nobody is left to shed are frames half written to those that were
        // closed: no use in looking again before there is a tenth more.
        let left = self.backlog.bytes();
        self.shed_above.set(share.max(left + share / 10));
    }

    /// The open connections of some size, the largest first. Takes turns with everything else.
    pub(super) async fn largest_first(
        &self,
        size: fn(&Connection) -> usize,
    ) -> impl Iterator<Item = Rc<Connection>> + use<> {
        let mut found = Vec::new();
        self.each_connection(|connection| {
            let size = size(connection);
            if size > 0 && connection.is_open() {
                found.push(Ranked(size, Rc::clone(connection)));
            }
        })
        .await;
        // Made at once, where to sort would take several times as long.
        let mut heap = BinaryHeap::from(found);
        std::iter::from_fn(move || heap.pop().map(|Ranked(_, connection)| connection))
    }
}

/// A connection, by its size in some respect.
struct Ranked(usize, Rc<Connection>);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Ranked {}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
