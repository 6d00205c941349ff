//! Keeps the node's lease: renews it in time, and learns of the others'.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::route::Route;
use crate::backend::BackendError;
use crate::backend::redis::calls::lease::{REGISTER, register};
use crate::backend::redis::calls::members::{Act, Item};
use crate::backend::redis::shard::leases::Leases;
use crate::backend::redis::shard::stats::LogThrottle;
use crate::backoff::Backoff;

/// A lease holds for two thirds of the period, is renewed in every sixth, and its end is known to
/// all within another two sixths: so that the period is what `presence.lease` promises.
const RENEWALS: u32 = 6;

/// How long a node that was not given a lease waits before it asks again, at first and at most.
const RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// How often a register that refuses is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Renews the lease at the register, which is on the shard of one room.
pub(crate) struct Leasing {
    pub(crate) leases: Arc<Leases>,
    route: Route,
    /// Held while the register is asked, lest a node be given two leases.
    renewing: tokio::sync::Mutex<Last>,
    refused: LogThrottle,
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

impl Leasing {
    pub(crate) fn new(leases: Arc<Leases>, route: Route) -> Self {
        Self {
            leases,
            route,
            renewing: tokio::sync::Mutex::default(),
            refused: LogThrottle::new(LOG_INTERVAL),
        }
    }

    /// Keeps a lease, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        let renewal = self.leases.period() / RENEWALS;
        let mut backoff = Backoff::new(RETRY.min(renewal), MAX_RETRY.min(renewal));
        loop {
            // While the register is out of reach the lease may hold still.
            if let Err(BackendError::Failed(reason)) = self.renew().await
                && let Some(unlogged) = self.refused.now()
            {
                tracing::error!(%reason, unlogged, "Redis refuses to renew the node's lease");
            }
            let wait = if self.leases.is_held() {
                backoff.reset();
                // Nodes that started together do not renew together.
                renewal.mul_f64(1.0 - fastrand::f64() / 8.0)
            } else {
                backoff.wait()
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.leases.wanted() => {}
            }
        }
    }

    /// Learns of the others by a renewal that begins from now on: however many ask so, one at a
    /// time is under way, and none for a moment after one failed.
    pub(crate) async fn refresh(&self) -> Result<(), BackendError> {
        let now = Instant::now();
        let mut last = self.renewing.lock().await;
        match *last {
            Last::Renewed(begun) if begun >= now => Ok(()),
            Last::Failed(at) if at.elapsed() < RETRY => Err(BackendError::Unavailable),
            _ => self.renew_next(&mut last).await,
        }
    }

    /// Renews the lease, or asks for one, and learns of the others.
    async fn renew(&self) -> Result<(), BackendError> {
        let mut last = self.renewing.lock().await;
        self.renew_next(&mut last).await
    }

    async fn renew_next(&self, last: &mut Last) -> Result<(), BackendError> {
        let begun = Instant::now();
        let renewed = self.renew_now().await;
        *last = match renewed {
            Ok(()) => Last::Renewed(begun),
            Err(_) => Last::Failed(Instant::now()),
        };
        renewed
    }

    async fn renew_now(&self) -> Result<(), BackendError> {
        let (renewal, given_up) = self
            .leases
            .next_renewal()
            .ok_or(BackendError::Unavailable)?;
        let (item, answered) = Item::new(Act::Renew(renewal), register);
        let asked = self.route.ask(&REGISTER, |shard| {
            shard.members.push(item, 1)?;
            Ok(answered)
        });
        self.leases.take(given_up, asked.await?)
    }
}
