//! Who becomes a member, and at which place: the replay of what a client missed meets the live
//! publications here.
//!
//! A join is admitted at the room's position, with a replay from the window of recent publications;
//! or it waits until the log was read, further back or further on.

use std::sync::Arc;

use fanfare_shared::{Epoch, Position, Publication};

use super::Room;
use super::state::{Request, State, Waiting};
use crate::backend::{BackendError, Read, Snapshot};
use crate::join::{Join, Replay};
use crate::{Inbox, Post};

/// Where a replay is.
enum Found {
    /// In the window: whether it is all that was asked for, and what it is.
    Here(Option<bool>, Vec<Arc<Publication>>),
    /// Nowhere: the client has seen more than this node.
    Ahead,
    /// Only in the log, after this position.
    FurtherBack(Position),
}

/// What a read further back shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// The position it began after.
    since: Position,
    /// The epoch of the log, and of the room.
    epoch: Epoch,
    /// Whether the log goes on from `since`, though that may be of an earlier epoch.
    follows: bool,
}

impl Reach {
    /// Whether it shows all that can be had after `wanted`. A position of an earlier epoch has to
    /// be asked for by itself.
    fn covers(&self, wanted: Position) -> bool {
        wanted == self.since || (wanted.epoch == self.epoch && wanted >= self.since)
    }
}

impl Room {
    /// Takes a join: admits it now, or keeps it until the log was read.
    pub(crate) fn join(&mut self, join: Join, inboxes: &[Arc<Inbox>]) -> Option<Request> {
        self.empty_since = None;
        match self.state {
            State::Live => self.admit(join, inboxes),
            State::Opening | State::Syncing { .. } => {
                self.wait(join);
                None
            }
            State::Lost => {
                self.wait(join);
                self.sync()
            }
        }
    }

    /// Posts the member's entry at the room's present position, or asks for what it still lacks.
    fn admit(&mut self, join: Join, inboxes: &[Arc<Inbox>]) -> Option<Request> {
        match self.look_up(join.replay) {
            Found::Here(recovered, messages) => {
                self.post_joined(join, recovered, messages, inboxes);
                None
            }
            Found::Ahead => {
                // The client has seen what this node has not: the log knows who is right.
                self.wait(join);
                self.sync()
            }
            Found::FurtherBack(since) => {
                self.wait(join);
                self.extend(since)
            }
        }
    }

    fn wait(&mut self, join: Join) {
        let attempt = self.attempt;
        self.waiting.push(Waiting { join, attempt });
    }

    /// Admits all who wait, after the log was read, and asks for what some still lack: once for
    /// all of them. `read` is what was read further back.
    pub(super) fn admit_waiting(
        &mut self,
        read: Option<Reach>,
        inboxes: &[Arc<Inbox>],
    ) -> Option<Request> {
        let mut ahead = false;
        let mut furthest: Option<Position> = None;
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { join, attempt } = waiting;
            match self.look_up(join.replay) {
                Found::Here(recovered, messages) => {
                    self.post_joined(join, recovered, messages, inboxes);
                }
                // It is ahead of the log itself, and so has seen another, whatever its epoch says.
                Found::Ahead if attempt < self.attempt => {
                    self.post_joined(join, Some(false), Vec::new(), inboxes);
                }
                Found::Ahead => {
                    ahead = true;
                    self.waiting.push(waiting);
                }
                Found::FurtherBack(wanted) => match read.filter(|read| read.covers(wanted)) {
                    Some(read) => {
                        let (recovered, messages) =
                            self.what_there_is(join.replay, wanted, read.follows);
                        self.post_joined(join, recovered, messages, inboxes);
                    }
                    None => {
                        furthest =
                            Some(furthest.map_or(wanted, |other| self.further(other, wanted)));
                        self.waiting.push(waiting);
                    }
                },
            }
        }
        if ahead {
            self.sync()
        } else {
            furthest.and_then(|since| self.extend(since))
        }
    }

    /// Which of two positions to read back to first: one of this epoch tells of all after it.
    fn further(&self, a: Position, b: Position) -> Position {
        let epoch = self.position.map(|position| position.epoch);
        std::cmp::min_by_key(a, b, |at| (Some(at.epoch) != epoch, at.offset))
    }

    /// Looks for a replay in the window of recent publications.
    fn look_up(&self, replay: Replay) -> Found {
        let Some(position) = self.position else {
            let recovered = matches!(replay, Replay::Since(_)).then_some(false);
            return Found::Here(recovered, Vec::new());
        };
        match replay {
            Replay::None => Found::Here(None, Vec::new()),
            Replay::Newest(count) => {
                let reachable = usize::try_from(position.offset).unwrap_or(usize::MAX);
                let count = count.min(self.log.size).min(reachable);
                if count > self.recent.len() {
                    let offset = position.offset - count as u64;
                    return Found::FurtherBack(Position { offset, ..position });
                }
                Found::Here(None, self.recent.newest(count))
            }
            Replay::Since(since) if since.epoch != position.epoch => Found::FurtherBack(since),
            Replay::Since(since) => match self.missed(since) {
                None => Found::Ahead,
                Some(missed) if missed <= self.recent.len() => {
                    Found::Here(Some(true), self.recent.newest(missed))
                }
                Some(missed) if missed <= self.log.size => Found::FurtherBack(since),
                Some(_) => Found::Here(Some(false), Vec::new()),
            },
        }
    }

    /// How many publications came after an offset; `None` if it is ahead of the room.
    fn missed(&self, since: Position) -> Option<usize> {
        let missed = self.position?.offset.checked_sub(since.offset)?;
        Some(usize::try_from(missed).unwrap_or(usize::MAX))
    }

    fn post_joined(
        &mut self,
        join: Join,
        recovered: Option<bool>,
        messages: Vec<Arc<Publication>>,
        inboxes: &[Arc<Inbox>],
    ) {
        self.members[join.worker] += 1;
        inboxes[join.worker].push(Post::Joined {
            ticket: join.ticket,
            room: self.key,
            name: self.name.clone(),
            position: self.position,
            recovered,
            messages,
        });
    }

    pub(super) fn refuse_waiting(&mut self, error: &BackendError, inboxes: &[Arc<Inbox>]) {
        for Waiting { join, .. } in std::mem::take(&mut self.waiting) {
            inboxes[join.worker].push(Post::Refused {
                ticket: join.ticket,
                name: self.name.clone(),
                error: error.clone(),
            });
        }
        self.note_if_empty();
    }

    // --- further back ---

    /// Has the log read back to `since`. One read serves all that wait for it.
    fn extend(&mut self, since: Position) -> Option<Request> {
        if std::mem::replace(&mut self.extending, true) {
            return None;
        }
        let limit = self.log.size;
        // What comes meanwhile must not push the window beyond what is being read.
        self.keep_now = limit;
        Some(Request::Extend(Read::After {
            position: since,
            limit,
        }))
    }

    /// Takes what was read further back, and admits who waited for it.
    pub(crate) fn extended(
        &mut self,
        since: Position,
        read: Result<Snapshot, BackendError>,
        inboxes: &[Arc<Inbox>],
    ) -> Option<Request> {
        self.extending = false;
        let Some(position) = self.position.filter(|_| self.is_live()) else {
            // Whatever reads the log now will admit them.
            return None;
        };
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.refuse_waiting(&error, inboxes);
                return None;
            }
        };
        if snapshot
            .position
            .is_none_or(|top| top.epoch != position.epoch)
        {
            // The log has gone on in another epoch; whoever waits is admitted in that one.
            return self.sync();
        }
        self.recent
            .extend_back(&snapshot.publications, position.offset);
        let read = Reach {
            since,
            epoch: position.epoch,
            follows: snapshot.follows,
        };
        self.admit_waiting(Some(read), inboxes)
    }

    /// What can be replayed after the log was read back to `wanted`. `follows` says whether that
    /// position, though of an earlier epoch, is one that this log goes on from.
    fn what_there_is(
        &self,
        replay: Replay,
        wanted: Position,
        follows: bool,
    ) -> (Option<bool>, Vec<Arc<Publication>>) {
        match replay {
            Replay::None => (None, Vec::new()),
            Replay::Newest(count) => (None, self.recent.newest(count)),
            Replay::Since(_) => match self.missed(wanted) {
                Some(missed) if follows && missed <= self.recent.len() => {
                    (Some(true), self.recent.newest(missed))
                }
                _ => (Some(false), Vec::new()),
            },
        }
    }
}
