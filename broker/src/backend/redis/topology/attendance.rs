//! Presence over all shards: each room's members are on the room's shard, held under the node's
//! one lease.

use std::sync::{Arc, OnceLock};

use fanfare_shared::{Roll, RoomName};
use redis::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::leasing::Leasing;
use super::route::Route;
use crate::backend::redis::calls::integer;
use crate::backend::redis::calls::lease::Lease;
use crate::backend::redis::calls::members::{Act, Found, Item, MAX_REAPED};
use crate::backend::redis::shard::leases::Leases;
use crate::backend::redis::shard::stats::Families;
use crate::backend::{BackendError, Page, Pending};

/// What listing a room takes.
pub(crate) struct Attendance {
    route: Route,
    pub(crate) leasing: Leasing,
    families: Arc<Families>,
    /// Up to how many members in a room each that is reaped is announced.
    announce_each: usize,
    runtime: OnceLock<Handle>,
}

impl Attendance {
    pub(crate) fn new(
        route: Route,
        leases: Arc<Leases>,
        families: Arc<Families>,
        announce_each: usize,
    ) -> Self {
        Self {
            leasing: Leasing::new(leases, route.clone()),
            route,
            families,
            announce_each,
            runtime: OnceLock::new(),
        }
    }

    /// Begins to keep a lease, until the answer is aborted.
    pub(crate) fn attach(self: &Arc<Self>, runtime: &Handle) -> JoinHandle<()> {
        let _ = self.runtime.set(runtime.clone());
        let this = Arc::clone(self);
        let keeping = async move { this.leasing.keep().await };
        runtime.spawn(keeping)
    }

    pub(crate) fn ask<T: Send + 'static>(
        &self,
        room: &RoomName,
        act: Act,
        read: impl FnOnce(Value) -> Option<T> + Send + Sync + 'static,
    ) -> Pending<T> {
        let (item, answered) = Item::new(act, read);
        self.route.ask(room, |shard| {
            shard.members.push(item, 1)?;
            Ok(answered)
        })
    }

    /// A page of a room's members, without those under a lease that ended.
    pub(crate) fn members(
        self: &Arc<Self>,
        room: &RoomName,
        page: Page,
        announce: bool,
    ) -> Pending<Roll> {
        let Some(runtime) = self.runtime.get() else {
            return Pending::ready(Err(BackendError::Unavailable));
        };
        // Asked for now, so as to see what was called before.
        let found = self.look(room, page);
        let (answer, answered) = oneshot::channel();
        let (attendance, room) = (Arc::clone(self), room.clone());
        runtime.spawn(async move {
            let roll = attendance.complete(found, &room, page, announce).await;
            // Whoever asked may have gone.
            let _ = answer.send(roll);
        });
        Pending::Waiting(answered)
    }

    fn look(&self, room: &RoomName, page: Page) -> Pending<Found> {
        let act = Act::Page(room.clone(), page);
        self.ask(room, act, move |reply| Found::read(reply, page.limit))
    }

    /// Takes out whoever is held under a lease that ended, and looks once more if there was one.
    async fn complete(
        &self,
        found: Pending<Found>,
        room: &RoomName,
        page: Page,
        announce: bool,
    ) -> Result<Roll, BackendError> {
        let Found { roll, leases } = found.await?;
        let ended = self.ended(leases).await;
        if ended.is_empty() {
            return Ok(roll);
        }
        for lease in ended {
            self.reap(room, lease, announce).await?;
        }
        self.look(room, page).await.map(|found| found.roll)
    }

    /// Those of some leases that have ended.
    async fn ended(&self, mut leases: Vec<Lease>) -> Vec<Lease> {
        let unknown = |lease: &Lease| self.leasing.leases.has_ended(*lease).is_none();
        // One that is not known may be newer than what is known.
        let renewed = leases.iter().any(unknown) && self.leasing.refresh().await.is_ok();
        let settled = renewed && self.leasing.leases.is_settled();
        leases.retain(|lease| self.leasing.leases.has_ended(*lease).unwrap_or(settled));
        leases
    }

    async fn reap(
        &self,
        room: &RoomName,
        lease: Lease,
        announce: bool,
    ) -> Result<(), BackendError> {
        loop {
            let act = Act::Reap(room.clone(), lease, announce, self.announce_each);
            let count = self.ask(room, act, |reply| integer(&reply)).await?;
            self.families.reaped.inc_by(count);
            if count < MAX_REAPED {
                return Ok(());
            }
        }
    }
}
