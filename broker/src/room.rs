//! One room on one node: puts publications in order, notices gaps, admits members at an exact
//! place. A state machine without I/O; the [hub](crate::Hub) does what it asks for.

mod admission;
mod announcements;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_shared::{Epoch, Position, Publication, RoomName};
use tokio::time::Instant;

use crate::backend::{BackendError, Log, Read, Snapshot};
use crate::join::RoomKey;
use crate::recent::Recent;
use crate::{Delivery, Inbox, Metrics, Post};
pub(crate) use state::Request;
use state::{PendingChanges, State, Waiting};

/// While the log is read, publications wait here; beyond this many they are let go, and the log is
/// read once more.
const MAX_BUFFERED: usize = 4_096;

/// One room with members on this node.
#[derive(Debug)]
pub(crate) struct Room {
    key: RoomKey,
    name: RoomName,
    log: Log,
    state: State,
    /// The last publication posted to the workers; `None` in a room without history, and before
    /// the log was first read.
    position: Option<Position>,
    recent: Recent,
    /// How many publications `recent` keeps: as many as the log for a while after a crowd came
    /// back, else `keep`.
    keep_now: usize,
    keep: usize,
    /// How many publications are read from the log at once.
    page: usize,
    /// How many members each worker has.
    members: Box<[u32]>,
    waiting: Vec<Waiting>,
    pending: Option<Box<PendingChanges>>,
    /// Whether the log is being read further back for some of them.
    extending: bool,
    /// Counts the reads of the log: an answer to an older one says nothing of what was missed
    /// since.
    attempt: u64,
    /// The epoch that the members know of.
    told_epoch: Option<Epoch>,
    /// Our position when the log's was last seen to differ, and whether it was ahead of the log's.
    suspect: Option<(Option<Position>, bool)>,
    /// Since when there are no members.
    empty_since: Option<Instant>,
}

impl Room {
    pub(crate) fn new(
        key: RoomKey,
        name: RoomName,
        log: Log,
        keep: usize,
        page: usize,
        workers: usize,
    ) -> Self {
        let keep = keep.min(log.size);
        Self {
            key,
            name,
            log,
            state: State::Opening,
            position: None,
            recent: Recent::default(),
            keep_now: keep,
            keep,
            page: page.min(log.size).max(1),
            members: vec![0; workers].into(),
            waiting: Vec::new(),
            pending: None,
            extending: false,
            attempt: 0,
            told_epoch: None,
            suspect: None,
            empty_since: None,
        }
    }

    pub(crate) const fn key(&self) -> RoomKey {
        self.key
    }

    pub(crate) const fn name(&self) -> &RoomName {
        &self.name
    }

    pub(crate) const fn log(&self) -> Log {
        self.log
    }

    // --- members ---

    /// Takes one of a worker's members away.
    pub(crate) fn leave(&mut self, worker: usize) {
        self.members[worker] = self.members[worker].saturating_sub(1);
        self.note_if_empty();
    }

    /// Since when the room could be closed, if it could be now.
    pub(crate) const fn empty_since(&self) -> Option<Instant> {
        self.empty_since
    }

    pub(crate) fn member_count(&self) -> u64 {
        self.members.iter().map(|count| u64::from(*count)).sum()
    }

    fn note_if_empty(&mut self) {
        if self.waiting.is_empty() && self.members.iter().all(|count| *count == 0) {
            self.empty_since = Some(Instant::now());
        }
    }

    // --- publications ---

    /// Takes a publication from the backend.
    pub(crate) fn deliver(
        &mut self,
        publication: Arc<Publication>,
        inboxes: &[Arc<Inbox>],
        metrics: &Metrics,
    ) -> Option<Request> {
        match &mut self.state {
            // The log will be read; this publication is in it.
            State::Opening | State::Lost => None,
            State::Syncing {
                buffered,
                overflowed,
            } => {
                if buffered.len() < MAX_BUFFERED {
                    buffered.push_back(publication);
                } else {
                    *overflowed = true;
                }
                None
            }
            State::Live => match self.follows(&publication) {
                Follows::Next => {
                    self.post(publication, inboxes);
                    None
                }
                Follows::Before => None,
                Follows::Gap => {
                    metrics.gaps_seen.inc();
                    self.sync()
                }
            },
        }
    }

    fn follows(&self, publication: &Publication) -> Follows {
        match (self.position, publication.position) {
            // Without history there are no positions; nodes may disagree on that for the length
            // of a rollout.
            _ if self.log.size == 0 => Follows::Next,
            (_, None) => Follows::Next,
            (Some(last), Some(this)) if this == last.next() => Follows::Next,
            (Some(last), Some(this)) if this <= last => Follows::Before,
            _ => Follows::Gap,
        }
    }

    fn post(&mut self, publication: Arc<Publication>, inboxes: &[Arc<Inbox>]) {
        let mut new_epoch = false;
        if let Some(position) = publication.position
            && self.log.size > 0
        {
            new_epoch = self.told_epoch != Some(position.epoch);
            self.told_epoch = Some(position.epoch);
            if self
                .position
                .is_none_or(|last| last.offset + 1 != position.offset)
            {
                // An entry in between could not be read; the window has no gaps.
                self.recent.clear();
            }
            self.position = Some(position);
            self.recent.push(Arc::clone(&publication), self.keep_now);
        }
        let delivery = Arc::new(Delivery::new(publication, new_epoch));
        for (inbox, members) in inboxes.iter().zip(&self.members) {
            if *members > 0 {
                inbox.push(Post::Publication {
                    room: self.key,
                    delivery: Arc::clone(&delivery),
                });
            }
        }
    }

    // --- the log ---

    /// Begins to read the log from the room's position on, unless it is being read.
    pub(crate) fn sync(&mut self) -> Option<Request> {
        (!matches!(self.state, State::Syncing { .. })).then(|| self.sync_anew())
    }

    /// Begins to read the log from the room's position on, whatever is under way.
    pub(crate) fn sync_anew(&mut self) -> Request {
        self.state = State::Syncing {
            buffered: VecDeque::new(),
            overflowed: false,
        };
        self.read_on(false)
    }

    fn read_on(&mut self, more: bool) -> Request {
        self.attempt += 1;
        let read = match self.position {
            None => Read::Begin,
            Some(position) => Read::Resume {
                position,
                limit: self.page,
            },
        };
        Request::Sync {
            attempt: self.attempt,
            read,
            more,
        }
    }

    /// Notes that the backend is out of reach: who waits is refused, and what is missed will be
    /// read.
    pub(crate) fn lose(&mut self, inboxes: &[Arc<Inbox>]) {
        if matches!(self.state, State::Opening) {
            // The subscription is answered in any case.
            return;
        }
        self.state = State::Lost;
        self.refuse_waiting(&BackendError::Unavailable, inboxes);
    }

    /// Takes what was read from the log: delivers what was missed, or says that it is lost, then
    /// goes on with what arrived meanwhile.
    pub(crate) fn synced(
        &mut self,
        attempt: u64,
        read: Result<Snapshot, BackendError>,
        inboxes: &[Arc<Inbox>],
        metrics: &Metrics,
    ) -> Option<Request> {
        let State::Syncing {
            buffered,
            overflowed,
        } = &mut self.state
        else {
            return None;
        };
        if attempt != self.attempt {
            return None;
        }
        let (buffered, overflowed) = (std::mem::take(buffered), *overflowed);
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.state = State::Lost;
                self.refuse_waiting(&error, inboxes);
                return None;
            }
        };
        self.suspect = None;
        if self.catch_up(snapshot, inboxes, metrics) {
            self.state = State::Syncing {
                buffered,
                overflowed,
            };
            return Some(self.read_on(true));
        }
        self.state = State::Live;
        let mut gap = overflowed;
        for publication in buffered {
            match self.follows(&publication) {
                Follows::Next => self.post(publication, inboxes),
                Follows::Before => {}
                Follows::Gap => gap = true,
            }
        }
        if gap {
            return self.sync();
        }
        self.admit_waiting(None, inboxes)
    }

    /// Delivers what was read; answers whether there is more to read.
    fn catch_up(&mut self, snapshot: Snapshot, inboxes: &[Arc<Inbox>], metrics: &Metrics) -> bool {
        let (Some(_), Some(top)) = (self.position, snapshot.position) else {
            // The first look at the log.
            self.position = snapshot.position;
            self.told_epoch = snapshot.position.map(|position| position.epoch);
            return false;
        };
        if !snapshot.follows {
            metrics.gaps_unhealed.inc();
            self.reset(before(&snapshot, top), inboxes);
        } else if !snapshot.publications.is_empty() {
            metrics.gaps_healed.inc();
        }
        for publication in snapshot.publications {
            self.post(publication, inboxes);
        }
        let read_to = snapshot.cut_at.unwrap_or(top);
        if self
            .position
            .is_none_or(|last| last.offset != read_to.offset)
        {
            // What came last could not be read.
            self.recent.clear();
        }
        self.position = Some(read_to);
        snapshot.cut_at.is_some()
    }

    /// Goes on from a new position, telling the members that something was lost.
    fn reset(&mut self, position: Position, inboxes: &[Arc<Inbox>]) {
        self.position = Some(position);
        self.told_epoch = Some(position.epoch);
        self.recent.clear();
        for (inbox, members) in inboxes.iter().zip(&self.members) {
            if *members > 0 {
                inbox.push(Post::Reset {
                    room: self.key,
                    name: self.name.clone(),
                    position,
                });
            }
        }
    }

    /// Compares the room's position with the log's. Where they differ, publications may still be
    /// on their way, or the answer was; where they differ again and nothing came in between,
    /// something was lost.
    pub(crate) fn compare(&mut self, top: Option<Position>, metrics: &Metrics) -> Option<Request> {
        if !matches!(self.state, State::Live) || self.position == top {
            self.suspect = None;
            return None;
        }
        let ahead = self.position > top;
        match self.suspect.replace((self.position, ahead)) {
            // Behind only now: what is missing may have been published just now.
            Some((position, was_ahead)) if position == self.position && (ahead || !was_ahead) => {
                metrics.gaps_seen.inc();
                self.sync()
            }
            _ => None,
        }
    }

    /// Whether nothing was published yet in the log that the room follows.
    pub(crate) fn is_empty_log(&self) -> bool {
        self.position.is_some_and(|position| position.offset == 0)
    }

    /// Whether a difference from the log was seen and is to be looked at again soon.
    pub(crate) const fn is_suspect(&self) -> bool {
        self.suspect.is_some()
    }

    /// Lets go of what was kept for a crowd that has passed.
    pub(crate) fn shrink(&mut self) {
        if !self.extending {
            self.keep_now = self.keep;
            self.recent.shrink(self.keep);
        }
    }

    /// Whether the room has to catch up with its log.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Whether the room has to catch up, and may be about to.
    pub(crate) const fn is_behind(&self) -> bool {
        matches!(self.state, State::Lost | State::Syncing { .. })
    }

    /// Whether the room waits for nothing and follows the log.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }
}

/// Where what was read begins: the position of which it is all that follows.
fn before(snapshot: &Snapshot, top: Position) -> Position {
    let first = snapshot.publications.first();
    match first.and_then(|first| first.position) {
        Some(first) => Position {
            epoch: top.epoch,
            offset: first.offset.saturating_sub(1),
        },
        None => top,
    }
}

enum Follows {
    Next,
    Before,
    Gap,
}

#[cfg(test)]
mod tests;
