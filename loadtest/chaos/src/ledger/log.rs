//! What is known of one room's log: which publication stands where, by whoever said so first.

use std::collections::{HashMap, HashSet};

use fanfare_shared::{Epoch, Position};

use super::{Kind, Room, Violation, show};
use crate::wire::{Id, Message};

/// A place in the log. A log that loses nothing keeps its offsets when it goes on in a new epoch;
/// only where it may have lost something does the epoch matter.
type Place = (Option<Epoch>, u64);

#[derive(Debug)]
pub(super) struct Log {
    pub(super) room: Room,
    pub(super) may_lose: bool,
    by_place: HashMap<Place, Id>,
    /// Where a publication was first seen.
    by_id: HashMap<Id, Position>,
    pub(super) acknowledged: HashMap<Id, Position>,
    /// Publications that may come at any time.
    pub(super) uncertain: HashSet<Id>,
    /// Where the log stood in the end.
    top: Option<Position>,
}

impl Log {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            may_lose: false,
            by_place: HashMap::new(),
            by_id: HashMap::new(),
            acknowledged: HashMap::new(),
            uncertain: HashSet::new(),
            top: None,
        }
    }

    pub(super) fn begin(&mut self, may_lose: bool) {
        self.may_lose = may_lose;
        self.by_place.clear();
        self.by_id.clear();
        self.acknowledged.clear();
        self.top = None;
    }

    /// Learns that a publication was seen at a position, and what that contradicts.
    pub(super) fn place(&mut self, id: Id, at: Position) -> Option<Violation> {
        let room = &self.room.name;
        let other = *self.by_place.entry(self.place_of(at)).or_insert(id);
        if other != id {
            let what = format!("{room} at {}: {other} to some, {id} to others", show(at));
            return Some(Violation {
                kind: Kind::OutOfOrder,
                what,
            });
        }
        let first = *self.by_id.entry(id).or_insert(at);
        // With a log that was lost, the record of the key was lost as well.
        let same = first.offset == at.offset || (self.may_lose && first.epoch != at.epoch);
        (!same).then(|| Violation {
            kind: Kind::Duplicated,
            what: format!("{room}: {id} stands at {} and at {}", show(first), show(at)),
        })
    }

    fn place_of(&self, at: Position) -> Place {
        (self.may_lose.then_some(at.epoch), at.offset)
    }

    pub(super) fn acknowledge(&mut self, id: Id, at: Position, broken: &mut Vec<Violation>) {
        broken.extend(self.place(id, at));
        self.acknowledged.insert(id, at);
    }

    /// Whether a member that goes on at `to` after `from` may have been told that this is not all:
    /// the log was lost, or keeps less than what it missed.
    pub(super) fn excuses(&self, from: Position, to: Position) -> bool {
        // The log goes on while it is read: what was kept when the member asked may be gone.
        let kept = self.room.size / 2;
        self.may_lose
            || to
                .offset
                .checked_sub(from.offset)
                .is_some_and(|missed| missed > kept)
    }

    /// Whether the log lost its end, and this with it: until something is published after it, the
    /// epoch stays.
    pub(super) fn lost_its_end(&self, at: Position) -> bool {
        self.may_lose && self.top.is_some_and(|top| at > top)
    }

    /// Compares with what the log holds in the end.
    pub(super) fn audit(
        &mut self,
        top: Position,
        messages: &[Message],
        broken: &mut Vec<Violation>,
    ) {
        self.top = Some(top);
        let room = self.room.name.clone();
        let mut lost = |what: String| {
            broken.push(Violation {
                kind: Kind::Lost,
                what,
            });
        };
        let first = top.offset + 1 - messages.len() as u64;
        let offsets = messages.iter().map(|message| message.offset);
        if !offsets.eq(first..=top.offset) {
            lost(format!("{room}: the log has gaps before {}", show(top)));
        }
        let held: HashMap<_, _> = messages.iter().map(|m| (m.data, m.offset)).collect();
        for (id, at) in &self.acknowledged {
            let comparable = (at.epoch == top.epoch || !self.may_lose) && !self.lost_its_end(*at);
            if comparable && at.offset >= first && held.get(id) != Some(&at.offset) {
                lost(format!(
                    "{room}: {id}, acknowledged at {}, is not in the log, which ends at {}",
                    show(*at),
                    show(top)
                ));
            }
        }
        for message in messages {
            // What an earlier round published is not known any more.
            if self.by_id.contains_key(&message.data) {
                let offset = message.offset;
                broken.extend(self.place(message.data, Position { offset, ..top }));
            }
        }
    }

    /// Each publisher waits for an acknowledgement before it publishes the next, or leaves the
    /// order to its connection.
    pub(super) fn check_order(&self, broken: &mut Vec<Violation>) {
        let certain = self.by_place.iter();
        let mut all: Vec<_> = certain
            .filter(|(_, id)| !self.uncertain.contains(id))
            .collect();
        all.sort_by_key(|((epoch, offset), _)| (epoch.map(|epoch| epoch.to_string()), *offset));
        let mut last: HashMap<(Option<Epoch>, u32), Id> = HashMap::new();
        for ((epoch, offset), id) in all {
            let of = (*epoch, id.publisher);
            if let Some(before) = last.insert(of, *id)
                && before.number > id.number
            {
                broken.push(Violation {
                    kind: Kind::OutOfOrder,
                    what: format!("{}: {id} at {offset} after {before}", self.room.name),
                });
            }
        }
    }
}
