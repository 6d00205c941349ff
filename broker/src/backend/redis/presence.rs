//! Presence over all shards: each room's members are on the room's shard, held under the node's
//! one [lease](super::lease).

use std::sync::{Arc, OnceLock};

use fanfare_shared::{ClientId, Member, Roll, RoomName};
use redis::Value;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::lease::{Lease, Leases, REGISTER};
use super::members::{Act, Found, Item, MAX_REAPED, integer};
use super::route::Route;
use super::stats::Families;
use super::{BackendError, Page, Pending, Presence, Redis, Standing};

/// What listing a room takes.
pub(super) struct Attendance {
    pub(super) route: Route,
    pub(super) leases: Arc<Leases>,
    pub(super) families: Arc<Families>,
    /// Up to how many members in a room each that is reaped is announced.
    pub(super) announce_each: usize,
    pub(super) runtime: OnceLock<Handle>,
}

impl Attendance {
    /// Begins to keep a lease, until the answer is aborted.
    pub(super) fn attach(self: &Arc<Self>, runtime: &Handle) -> JoinHandle<()> {
        let _ = self.runtime.set(runtime.clone());
        let this = Arc::clone(self);
        let keeping = async move { this.leases.keep(&this.route).await };
        runtime.spawn(keeping)
    }

    fn ask<T: Send + 'static>(
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
        let unknown = |lease: &Lease| self.leases.has_ended(*lease).is_none();
        // One that is not known may be newer than what is known.
        let renewed = leases.iter().any(unknown) && self.leases.refresh(&self.route).await.is_ok();
        let settled = renewed && self.leases.is_settled();
        leases.retain(|lease| self.leases.has_ended(*lease).unwrap_or(settled));
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

#[allow(
    clippy::needless_pass_by_value,
    reason = "a reply is read where it came"
)]
fn done(reply: Value) -> Option<()> {
    integer(&reply).map(drop)
}

impl Presence for Redis {
    fn enter(&self, room: &RoomName, member: &Member, announce: bool) -> Pending<()> {
        let Some(lease) = self.attendance.leases.to_enter() else {
            return Pending::ready(Err(BackendError::Unavailable));
        };
        let act = Act::Enter(room.clone(), member.clone(), lease, announce);
        self.attendance.ask(room, act, done)
    }

    fn exit(&self, room: &RoomName, client: ClientId, announce: bool) -> Pending<()> {
        let act = Act::Exit(room.clone(), client, announce);
        self.attendance.ask(room, act, done)
    }

    fn members(&self, room: &RoomName, page: Page, announce: bool) -> Pending<Roll> {
        let Some(runtime) = self.attendance.runtime.get() else {
            return Pending::ready(Err(BackendError::Unavailable));
        };
        // Asked for now, so as to see what was called before.
        let found = self.attendance.look(room, page);
        let (answer, answered) = oneshot::channel();
        let (attendance, room) = (Arc::clone(&self.attendance), room.clone());
        runtime.spawn(async move {
            let roll = attendance.complete(found, &room, page, announce).await;
            // Whoever asked may have gone.
            let _ = answer.send(roll);
        });
        Pending::Waiting(answered)
    }

    fn resign(&self) -> Pending<()> {
        let Some(lease) = self.attendance.leases.resign() else {
            return Pending::ready(Ok(()));
        };
        self.attendance.ask(&REGISTER, Act::Resign(lease), done)
    }

    fn part(&self, room: &RoomName) -> u64 {
        self.attendance.route.part(room)
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.attendance.leases.standing()
    }
}
