//! The node's lease: its word to the others that it lives, and theirs to it.
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
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_shared::RoomName;
use redis::{Cmd, RedisWrite, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::members::{Act, Item, register};
use super::publisher::ttl;
use super::route::Route;
use super::stats::{Families, Seldom};
use super::{BackendError, Standing, keys};
use crate::backoff::Backoff;

/// A lease holds for two thirds of the period, is renewed in every sixth, and its end is known to
/// all within another two sixths: so that the period is what `presence.lease` promises.
const RENEWALS: u32 = 6;

/// How long a node that was not given a lease waits before it asks again, at first and at most.
const RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// How long it is remembered that a lease ended, for nodes to which it is news.
const MEMORY: Duration = Duration::from_secs(60 * 60);

/// How long the register is kept when nobody renews.
const REGISTER_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The most runs of servers that are remembered; beyond it, one that comes back counts as new.
const MAX_RUNS: usize = 1_024;

/// How often a register that refuses is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The room on whose shard the register is. The register's keys are its own.
#[allow(clippy::expect_used, reason = "the name is a good one")]
pub(super) static REGISTER: LazyLock<RoomName> =
    LazyLock::new(|| RoomName::new("presence").expect("a room's name"));

/// Names a lease: at random, and never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Lease(pub(super) u64);

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Lease {
    /// The command that takes a lease out of the register, with nothing left under it.
    pub(super) fn ending(lease: Self) -> Cmd {
        let mut command = cmd("ZREM");
        command.write_arg_fmt(keys::leases(&REGISTER));
        command.write_arg_fmt(lease);
        command
    }
}

/// What is asked of the register.
pub(super) struct Renewal {
    lease: Option<Lease>,
    period: Duration,
}

impl Renewal {
    /// The command that renews the lease.
    pub(super) fn command(&self, script: &str) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(script).arg(3);
        command.write_arg_fmt(keys::leases(&REGISTER));
        command.write_arg_fmt(keys::ended(&REGISTER));
        command.write_arg_fmt(keys::watch(&REGISTER));
        match self.lease {
            Some(lease) => command.write_arg_fmt(lease),
            None => command.write_arg(b""),
        }
        command.write_arg_fmt(Lease(fastrand::u64(..)));
        let Self { period, .. } = self;
        for time in [*period * 2 / 3, *period / 3, *period, MEMORY, REGISTER_TTL] {
            command.arg(ttl(time));
        }
        command
    }
}

/// What the register answers.
#[derive(Default)]
pub(super) struct Register {
    /// The node's own lease.
    pub(super) lease: Lease,
    /// Whether leases are being ended: some node was heard all the time, for a whole period.
    pub(super) settled: bool,
    /// The leases that hold.
    pub(super) live: HashSet<Lease>,
    /// Those that ended within [`MEMORY`].
    pub(super) ended: HashSet<Lease>,
}

/// The node's lease, and what it knows of the others'.
pub(super) struct Leases {
    period: Duration,
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
    /// Wakes the task that renews, when there is a lease to be had.
    wanted: Notify,
    /// Held while the register is asked, lest a node be given two leases.
    renewing: tokio::sync::Mutex<Last>,
    families: Arc<Families>,
    refused: Seldom,
}

/// What became of the last renewal.
#[derive(Default)]
enum Last {
    #[default]
    None,
    /// It was begun then.
    Renewed(Instant),
    Failed(Instant),
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
    pub(super) fn new(period: Duration, families: Arc<Families>) -> Self {
        Self {
            period,
            state: Mutex::default(),
            standing: watch::Sender::default(),
            wanted: Notify::new(),
            renewing: tokio::sync::Mutex::default(),
            families,
            refused: Seldom::new(LOG_INTERVAL),
        }
    }

    /// The lease, for a member to be entered under.
    pub(super) fn to_enter(&self) -> Option<Lease> {
        let mut state = self.lock();
        state.used |= state.held.is_some();
        state.held
    }

    fn is_held(&self) -> bool {
        self.lock().held.is_some()
    }

    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Learns of a link to a server. One whose run is new may not know what was entered before.
    pub(super) fn linked(&self, run: String) {
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
    pub(super) fn resign(&self) -> Option<Lease> {
        let mut state = self.lock();
        state.resigned = true;
        state.given_up += 1;
        state.held.take()
    }

    /// Keeps a lease, for as long as it is polled.
    pub(super) async fn keep(&self, route: &Route) {
        let renewal = self.period / RENEWALS;
        let mut backoff = Backoff::new(RETRY.min(renewal), MAX_RETRY.min(renewal));
        loop {
            // While the register is out of reach the lease may hold still.
            if let Err(BackendError::Failed(reason)) = self.renew(route).await
                && let Some(unlogged) = self.refused.now()
            {
                tracing::error!(%reason, unlogged, "Redis refuses to renew the node's lease");
            }
            let wait = if self.is_held() {
                backoff.reset();
                // Nodes that started together do not renew together.
                renewal.mul_f64(1.0 - fastrand::f64() / 8.0)
            } else {
                backoff.wait()
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Learns of the others by a renewal that begins from now on: however many ask so, one at a
    /// time is under way, and none for a moment after one failed.
    pub(super) async fn refresh(&self, route: &Route) -> Result<(), BackendError> {
        let now = Instant::now();
        let mut last = self.renewing.lock().await;
        match *last {
            Last::Renewed(begun) if begun >= now => Ok(()),
            Last::Failed(at) if at.elapsed() < RETRY => Err(BackendError::Unavailable),
            _ => self.renew_next(route, &mut last).await,
        }
    }

    /// Renews the lease, or asks for one, and learns of the others.
    async fn renew(&self, route: &Route) -> Result<(), BackendError> {
        let mut last = self.renewing.lock().await;
        self.renew_next(route, &mut last).await
    }

    async fn renew_next(&self, route: &Route, last: &mut Last) -> Result<(), BackendError> {
        let begun = Instant::now();
        let renewed = self.renew_now(route).await;
        *last = match renewed {
            Ok(()) => Last::Renewed(begun),
            Err(_) => Last::Failed(Instant::now()),
        };
        renewed
    }

    async fn renew_now(&self, route: &Route) -> Result<(), BackendError> {
        let (lease, given_up) = {
            let state = self.lock();
            if state.resigned {
                return Err(BackendError::Unavailable);
            }
            (state.held, state.given_up)
        };
        let period = self.period;
        let (item, answered) = Item::new(Act::Renew(Renewal { lease, period }), register);
        let asked = route.ask(&REGISTER, |shard| {
            shard.members.push(item, 1)?;
            Ok(answered)
        });
        self.take(given_up, asked.await?)
    }

    fn take(&self, given_up: u64, register: Register) -> Result<(), BackendError> {
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
    pub(super) fn has_ended(&self, lease: Lease) -> Option<bool> {
        let Register { live, ended, .. } = &self.lock().register;
        if live.contains(&lease) {
            return Some(false);
        }
        ended.contains(&lease).then_some(true)
    }

    /// Whether one that the register does not know has ended.
    pub(super) fn is_settled(&self) -> bool {
        self.lock().register.settled
    }

    /// No code panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
