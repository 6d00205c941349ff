//! The node's lease: its liveness lease in a shared registry.
//!
//! Every member that a node enters is held under the node's lease. A register, in Redis like the
//! log of a room and on the shard of one, has all leases and when each ends; a node renews its own
//! several times before, whatever the number of its rooms and members. Whoever renews also ends
//! the leases that have run out. What was held under them is then taken out of the rooms, by
//! whoever comes first.
//!
//! A lease is given up for a new one where it was ended, and where a server may have lost
//! something: what is then entered again is held under the new one, and whatever an older state
//! of the server brings back ends with the old one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::stats::Families;
use crate::backend::redis::calls::lease::{Lease, Register, Renewal};
use crate::backend::{BackendError, Standing};

/// The most runs of servers that are remembered; beyond it, one that comes back counts as new.
const MAX_RUNS: usize = 1_024;

/// The node's lease, and what it knows of the others'.
pub(crate) struct Leases {
    period: Duration,
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
    /// Wakes the task that renews, when there is a lease to be had.
    wanted: Notify,
    families: Arc<Families>,
}

#[derive(Default)]
struct State {
    held: Option<Lease>,
    /// Whether a member was entered under it.
    used: bool,
    /// Whether the node goes, and wants none.
    resigned: bool,
    /// Counts the leases given up: an answer that was asked for before is of no use.
    given_up: u64,
    /// The runs of servers that members were entered on.
    runs: HashSet<String>,
    register: Register,
}

impl Leases {
    pub(crate) fn new(period: Duration, families: Arc<Families>) -> Self {
        Self {
            period,
            state: Mutex::default(),
            standing: watch::Sender::default(),
            wanted: Notify::new(),
            families,
        }
    }

    /// The lease, for a member to be entered under.
    pub(crate) fn to_enter(&self) -> Option<Lease> {
        let mut state = self.lock();
        state.used |= state.held.is_some();
        state.held
    }

    pub(crate) fn is_held(&self) -> bool {
        self.lock().held.is_some()
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Learns of a link to a server. One whose run is new may not know what was entered before.
    pub(crate) fn linked(&self, run: String) {
        let mut state = self.lock();
        if state.runs.len() >= MAX_RUNS {
            state.runs.clear();
        }
        let is_new = state.runs.insert(run);
        if !is_new || !state.used {
            drop(state);
            self.wanted.notify_one();
            return;
        }
        state.held = None;
        state.used = false;
        state.given_up += 1;
        drop(state);
        self.standing
            .send_if_modified(|standing| std::mem::take(&mut standing.open));
        self.wanted.notify_one();
    }

    /// Wants no lease any more; answers the last.
    pub(crate) fn resign(&self) -> Option<Lease> {
        let mut state = self.lock();
        state.resigned = true;
        state.given_up += 1;
        state.held.take()
    }

    /// What the next renewal says, and how many leases were given up before it; `None` where none is
    /// wanted any more.
    pub(crate) fn next_renewal(&self) -> Option<(Renewal, u64)> {
        let state = self.lock();
        let renewal = Renewal {
            lease: state.held,
            period: self.period,
        };
        (!state.resigned).then_some((renewal, state.given_up))
    }

    /// Waits until there is a lease to be had.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Within which time the members of a node that is gone are taken out.
    pub(crate) const fn period(&self) -> Duration {
        self.period
    }

    /// Takes what the register answered.
    pub(crate) fn take(&self, given_up: u64, register: Register) -> Result<(), BackendError> {
        let mut state = self.lock();
        if state.given_up != given_up {
            return Err(BackendError::Unavailable);
        }
        let before = state.held.replace(register.lease);
        let is_new = before != Some(register.lease);
        let departed = !register.ended.is_subset(&state.register.ended);
        state.register = register;
        state.used &= !is_new;
        drop(state);
        if before.is_some() && is_new {
            self.families.leases_lost.inc();
            tracing::warn!("the node was silent for too long; its members are entered again");
        }
        self.standing.send_if_modified(|standing| {
            let opened = !std::mem::replace(&mut standing.open, true);
            standing.term += u64::from(is_new);
            standing.departures += u64::from(departed);
            opened || is_new || departed
        });
        Ok(())
    }

    /// Whether a lease has ended: `None` where the register has to be asked.
    pub(crate) fn has_ended(&self, lease: Lease) -> Option<bool> {
        let Register { live, ended, .. } = &self.lock().register;
        if live.contains(&lease) {
            return Some(false);
        }
        ended.contains(&lease).then_some(true)
    }

    /// Whether one that the register does not know has ended.
    pub(crate) fn is_settled(&self) -> bool {
        self.lock().register.settled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
