//! What one part of the backend is to be told and asked, and when the next of it may be.
//!
//! Invariant: the changes that wait are at most twice as many as there are entries, and one look for
//! each room. After a failure one change is tried alone, later each time; when it succeeds, twice as
//! many as before.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use fanfare_shared::{ClientId, Roll, RoomName};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backend::{BackendError, Page};
use crate::backoff::Backoff;

/// How many calls to the backend are under way at once.
pub(super) const BATCH: usize = 512;

/// How long after a failure the next change is tried, at first and at most.
const RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(5);

pub(super) type Answer<T> = oneshot::Sender<Result<T, BackendError>>;

/// What the backend is to be told or has to do.
#[derive(Debug)]
pub(super) enum Change {
    /// That a member came or went, as it stands when its turn comes.
    Member(RoomName, ClientId),
    /// To look for members of nodes that are gone.
    Survey(RoomName, bool),
}

/// Who is in a room.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) room: RoomName,
    pub(super) page: Page,
    pub(super) announce: bool,
    pub(super) answer: Answer<Roll>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Change(Change),
    Query(Query),
}

/// What waits, in order.
pub(super) struct Queue {
    changes: VecDeque<(RoomName, ClientId)>,
    /// How many changes were ever queued, and how many of them are done with.
    queued: u64,
    taken: u64,
    /// Each with the number of changes that it has to see. While changes are refused, it sees what
    /// there is.
    queries: VecDeque<(u64, Query)>,
    /// The looks at rooms, each once, in turn with the changes.
    surveys: VecDeque<(RoomName, bool)>,
    surveyed: HashSet<RoomName>,
    survey_next: bool,
    /// Until when no change is tried.
    paused: Option<Instant>,
    backoff: Backoff,
    /// How many changes are tried at once.
    width: usize,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            changes: VecDeque::new(),
            queued: 0,
            taken: 0,
            queries: VecDeque::new(),
            surveys: VecDeque::new(),
            surveyed: HashSet::new(),
            survey_next: false,
            paused: None,
            backoff: Backoff::new(RETRY, MAX_RETRY),
            width: BATCH,
        }
    }

    /// Has a member's change told, as it stands when its turn comes.
    pub(super) fn change(&mut self, room: RoomName, client: ClientId) {
        self.queued += 1;
        self.changes.push_back((room, client));
    }

    /// Has a room looked at, unless that waits already.
    pub(super) fn survey(&mut self, room: RoomName, announce: bool) {
        if self.surveyed.insert(room.clone()) {
            self.surveys.push_back((room, announce));
        }
    }

    pub(super) fn query(&mut self, query: Query) {
        self.queries.push_back((self.queued, query));
    }

    /// Drops the queries, which are so answered.
    pub(super) fn drop_queries(&mut self) {
        self.queries.clear();
    }

    /// How many changes of members wait.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Puts others in the place of the changes of members.
    pub(super) fn replace_members(&mut self, due: Vec<(RoomName, ClientId)>) {
        self.changes = due.into();
        self.taken = self.queued;
        self.queued += self.changes.len() as u64;
        for (seen, _) in &mut self.queries {
            *seen = self.queued;
        }
    }

    // --- taking ---

    /// When what waits may be tried again, while it may not be.
    pub(super) fn paused(&self) -> Option<Instant> {
        let waits = !(self.changes.is_empty() && self.surveys.is_empty());
        self.paused.filter(|_| waits)
    }

    /// Whether nothing waits, and another queue would be as good.
    pub(super) fn is_idle(&self) -> bool {
        self.changes.is_empty()
            && self.surveys.is_empty()
            && self.queries.is_empty()
            && self.paused.is_none_or(|until| until <= Instant::now())
    }

    /// Takes what is next, when `calls` are under way.
    pub(super) fn next(&mut self, calls: usize) -> Option<Next> {
        if self.paused.is_some_and(|until| until <= Instant::now()) {
            self.paused = None;
        }
        let is_paused = self.paused.is_some();
        let seen = |(seen, _): &(u64, Query)| is_paused || *seen <= self.taken;
        if self.queries.front().is_some_and(seen) {
            let (_, query) = self.queries.pop_front()?;
            return Some(Next::Query(query));
        }
        if is_paused || calls >= self.width {
            return None;
        }
        let change = self.take()?;
        Some(Next::Change(change))
    }

    fn take(&mut self) -> Option<Change> {
        self.survey_next = !self.survey_next || self.changes.is_empty();
        if self.survey_next
            && let Some((room, announce)) = self.surveys.pop_front()
        {
            self.surveyed.remove(&room);
            return Some(Change::Survey(room, announce));
        }
        let (room, client) = self.changes.pop_front()?;
        self.taken += 1;
        if self.changes.is_empty() {
            self.changes.shrink_to(BATCH);
        }
        Some(Change::Member(room, client))
    }

    /// Notes that the backend refused a change or could not be reached.
    pub(super) fn failed(&mut self) {
        self.width = 1;
        if self.paused.is_none() {
            self.paused = Some(Instant::now() + self.backoff.wait());
        }
    }

    /// Notes that the backend did all that it was last told.
    pub(super) fn succeeded(&mut self) {
        self.width = (self.width * 2).min(BATCH);
        self.backoff.reset();
    }

    /// Tries again at once: the backend is another, or back.
    pub(super) fn resume(&mut self) {
        self.paused = None;
        self.backoff.reset();
    }
}
