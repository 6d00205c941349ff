//! What the connections of a node have, by address and by user.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use fanfare_shared::config::Limits;
use parking_lot::Mutex;

use crate::budget::{Budget, Rate};
use crate::quota::{Claim, Quota, Site};

/// What the connections of a node have, by address and by user.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    pub(super) addresses: Option<Arc<Quota<Site>>>,
    pub(super) users: Option<Arc<Quota<Box<str>>>>,
    handshakes: Option<(Rate, Mutex<Budget>)>,
    /// Whether the node has as much memory as it may.
    pub(super) memory_is_full: AtomicBool,
}

/// A connection's part of them.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Held until the connection is gone.
    pub(super) _address: Option<Claim<Site>>,
    pub(super) user: Option<Claim<Box<str>>>,
}

impl Quotas {
    pub(crate) fn new(limits: &Limits) -> Self {
        let rate = Rate::a_second(limits.handshakes_per_second);
        Self {
            addresses: Quota::new(
                limits.connections_per_address,
                limits.handshakes_per_address,
            ),
            users: Quota::new(limits.connections_per_user, 0),
            handshakes: rate.map(|rate| (rate, Mutex::default())),
            memory_is_full: AtomicBool::new(false),
        }
    }

    /// Whether it matters where clients are.
    pub(crate) const fn ask_for_addresses(&self) -> bool {
        self.addresses.is_some()
    }

    /// Takes note of how much memory the node has.
    pub(crate) fn note_memory(&self, bytes: u64, most: u64) {
        self.memory_is_full.store(bytes > most, Ordering::Relaxed);
    }

    /// Whether the node takes one more handshake now.
    pub(super) fn take_handshake(&self) -> bool {
        let Some((rate, budget)) = &self.handshakes else {
            return true;
        };
        let (now, mut budget) = (Instant::now(), budget.lock());
        let is_left = budget.is_left(*rate, now);
        if is_left {
            budget.take(1, *rate, now);
        }
        is_left
    }
}
