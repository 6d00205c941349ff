//! Shedding: when what waits in the outboxes takes more memory than the worker's share of
//! [`limits.backlog_bytes`](fanfare_shared::config::Limits::backlog_bytes), the slowest have to go.
//!
//! The slowest are those for which the most waits. They are closed with 4008 and come back by
//! recovery, as after any overflow.

use std::cmp::Reverse;
use std::rc::Rc;

use fanfare_shared::code::CloseCode;

use super::{Shared, Worker};

/// A worker's share of what the node may hold, in bytes.
pub(super) fn share(shared: &Shared) -> usize {
    let limits = &shared.config.limits;
    (limits.backlog_bytes / shared.hub.workers().max(1)).max(limits.outbox_bytes)
}

impl Worker {
    /// Sheds if it is time to. Costs a comparison if not.
    pub(super) fn bound_backlog(&self) {
        if self.backlog.bytes() > self.shed_above.get() {
            self.shed();
        }
    }

    fn shed(&self) {
        let share = self.backlog_share;
        let (before, enough) = (self.backlog.bytes(), share - share / 10);
        let mut behind: Vec<_> = self
            .connections
            .borrow()
            .iter()
            .map(|(_, connection)| (connection.outbox_bytes(), Rc::clone(connection)))
            .filter(|(bytes, connection)| *bytes > 0 && connection.is_open())
            .collect();
        behind.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        let mut shed = 0_u64;
        for (_, connection) in behind {
            if self.backlog.bytes() <= enough {
                break;
            }
            let reason = "slow consumer: more waits on the node than limits.backlog_bytes";
            self.close(&connection, CloseCode::SlowConsumer, reason);
            shed += 1;
        }
        if shed > 0 {
            self.shared.metrics.slow_shed.inc_by(shed);
            tracing::warn!(
                shed,
                worker = self.index,
                freed = before - self.backlog.bytes(),
                "shed the slowest; more waited than limits.backlog_bytes"
            );
        }
        // What is left when nobody is left to shed are frames half written to those that were
        // closed: no use in looking again before there is a tenth more.
        let left = self.backlog.bytes();
        self.shed_above.set(share.max(left + share / 10));
    }
}
