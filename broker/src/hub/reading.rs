//! Reading logs, in pages.
//!
//! A room that catches up posts each page before the next is read, as fast as the workers take them.
//! For a replay or a history the pages are put together first.

use std::time::Duration;

use fanfare_shared::{Position, RoomName};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::Hub;
use crate::RoomKey;
use crate::backend::{BackendError, Log, Pending, Read, Sink as _, Snapshot};
use crate::room::Request;

/// How often it is looked at whether the workers take more.
const CONGESTED: Duration = Duration::from_millis(2);

impl Hub {
    /// Reads kept publications of any room, joined or not: all that are asked for.
    pub fn history(&self, name: &RoomName, read: Read) -> Pending<Snapshot> {
        let log = self.log_of(name.as_str());
        let first = match self.backend.read(name, log, first_of(read)) {
            Pending::Ready(Some(first)) if !goes_on(read, &first) => return Pending::ready(first),
            first => first,
        };
        let (answer, answered) = oneshot::channel();
        let (name, this) = (name.clone(), self.this.clone());
        self.runtime.spawn(async move {
            let mut outcome = first.await;
            if goes_on(read, &outcome)
                && let Some(hub) = this.upgrade()
            {
                outcome = hub.read_rest(&name, log, read, outcome).await;
            }
            // The connection that asked may be gone.
            let _ = answer.send(outcome);
        });
        Pending::Waiting(answered)
    }

    pub(super) fn fulfil(&self, name: &RoomName, key: RoomKey, log: Log, request: Option<Request>) {
        let Some(request) = request else { return };
        let this = &self.this;
        let outcome = match request {
            Request::Sync { more: true, .. } => {
                let (name, this) = (name.clone(), this.clone());
                self.runtime.spawn(async move {
                    if let Some(hub) = this.upgrade() {
                        hub.read_on(&name, key, log, request).await;
                    }
                });
                return;
            }
            Request::Sync { read, .. } => self.backend.read(name, log, read),
            Request::Extend(read) => self.history(name, read),
        };
        match outcome {
            Pending::Ready(Some(outcome)) => self.fulfilled(name, key, log, request, outcome),
            waiting => {
                let (name, this) = (name.clone(), this.clone());
                self.runtime.spawn(async move {
                    let outcome = waiting.await;
                    if let Some(hub) = this.upgrade() {
                        hub.fulfilled(&name, key, log, request, outcome);
                    }
                });
            }
        }
    }

    /// Reads the pages after the first.
    async fn read_rest(
        &self,
        name: &RoomName,
        log: Log,
        read: Read,
        first: Result<Snapshot, BackendError>,
    ) -> Result<Snapshot, BackendError> {
        let first = first?;
        match (read, first.position) {
            (Read::Newest { limit }, Some(top)) => {
                let offset = top.offset.saturating_sub(limit as u64);
                let before = Snapshot {
                    cut_at: Some(Position { offset, ..top }),
                    ..Snapshot::default()
                };
                let mut found = self.read_to(name, log, before, limit, top.offset).await?;
                // What was published since is not asked for.
                found.publications.retain(|one| one.position <= Some(top));
                Ok(Snapshot {
                    publications: found.publications,
                    ..first
                })
            }
            (Read::After { limit, .. }, _) => self.read_to(name, log, first, limit, u64::MAX).await,
            _ => Ok(first),
        }
    }

    /// Reads a log on from where a read was cut short, page by page: up to a number of publications
    /// and to an offset. Where a page does not follow on the one before, what came before it is no
    /// longer kept.
    async fn read_to(
        &self,
        name: &RoomName,
        log: Log,
        mut whole: Snapshot,
        limit: usize,
        last: u64,
    ) -> Result<Snapshot, BackendError> {
        while let Some(position) = whole.cut_at.filter(|at| at.offset < last)
            && whole.publications.len() < limit
        {
            let limit = limit - whole.publications.len();
            let read = Read::After { position, limit };
            let page = self.backend.read(name, log, read).await?;
            if !page.follows {
                whole.publications.clear();
            }
            whole.publications.extend(page.publications);
            whole = Snapshot {
                publications: whole.publications,
                follows: whole.follows && page.follows,
                ..page
            };
            // Where nothing has to be awaited, others have to have their turn all the same.
            yield_now().await;
        }
        Ok(whole)
    }

    fn fulfilled(
        &self,
        name: &RoomName,
        key: RoomKey,
        log: Log,
        request: Request,
        outcome: Result<Snapshot, BackendError>,
    ) {
        match request {
            Request::Sync { attempt, .. } => self.synced(name, key, log, attempt, outcome),
            Request::Extend(Read::After { position, .. }) => {
                let next = self.with_room(name, key, |room| {
                    room.extended(position, outcome, &self.inboxes)
                });
                self.fulfil(name, key, log, next);
            }
            Request::Extend(_) => {}
        }
    }

    pub(super) fn synced(
        &self,
        name: &RoomName,
        key: RoomKey,
        log: Log,
        attempt: u64,
        outcome: Result<Snapshot, BackendError>,
    ) {
        let next = self.synced_once(name, key, attempt, outcome);
        self.fulfil(name, key, log, next);
    }

    /// Reads a log on, page by page, as fast as the workers take it, to its end.
    pub(super) async fn read_on(&self, name: &RoomName, key: RoomKey, log: Log, request: Request) {
        let mut next = Some(request);
        while let Some(Request::Sync {
            attempt,
            read,
            more: true,
        }) = next
        {
            while self.congested() {
                tokio::time::sleep(CONGESTED).await;
            }
            let outcome = self.backend.read(name, log, read).await;
            next = self.synced_once(name, key, attempt, outcome);
        }
        self.fulfil(name, key, log, next);
    }

    pub(super) fn synced_once(
        &self,
        name: &RoomName,
        key: RoomKey,
        attempt: u64,
        outcome: Result<Snapshot, BackendError>,
    ) -> Option<Request> {
        let failed = outcome.is_err();
        let mut stripe = self.stripe(name);
        let room = stripe
            .get_mut(name.as_str())
            .filter(|room| room.key() == key)?;
        let next = room.synced(attempt, outcome, &self.inboxes, &self.metrics);
        // A room that could not be opened is not kept: the next join tries anew.
        if failed && room.is_lost() && room.member_count() == 0 {
            stripe.remove(name.as_str());
            self.closed(name);
            return None;
        }
        next
    }
}

/// The first page of a read; for the newest, where the log stands.
const fn first_of(read: Read) -> Read {
    match read {
        Read::Newest { .. } => Read::Newest { limit: 0 },
        read => read,
    }
}

/// Whether a read goes on after its first page.
fn goes_on(read: Read, first: &Result<Snapshot, BackendError>) -> bool {
    let Ok(first) = first else { return false };
    match read {
        Read::After { limit, .. } => first.publications.len() < limit && first.cut_at.is_some(),
        Read::Newest { limit } => limit > 0 && first.position.is_some_and(|top| top.offset > 0),
        Read::Begin | Read::Resume { .. } => false,
    }
}
