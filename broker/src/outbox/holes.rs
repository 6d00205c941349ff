//! Where frames were dropped out of the middle of an outbox, and where to look for the next.
//!
//! Dropped frames leave holes, which are let go of together when they are half of the queue. Where
//! the oldest publication is, and where those of a room are, is remembered between drops. So each
//! place is looked at a few times, however often something is dropped.

use std::collections::HashMap;

use ahash::RandomState;

use crate::RoomKey;

/// Holes that are too few to be worth a walk through the queue.
const FEW: usize = 32;

#[cfg(test)]
thread_local! {
    /// How many places were looked at.
    pub(super) static VISITED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn visit(places: usize) {
    #[cfg(test)]
    VISITED.set(VISITED.get() + places);
    let _ = places;
}

/// The holes of one outbox. Places are counted from the first that there was when this was made.
#[derive(Debug, Default)]
pub(super) struct Holes {
    count: usize,
    /// How many entries have left the queue at its front.
    popped: usize,
    /// No publication that may be dropped is before this place.
    oldest: usize,
    /// Where the publications of each room are, once that was asked for, and perhaps some that are
    /// gone.
    rooms: Option<HashMap<RoomKey, Vec<usize>, RandomState>>,
    /// How many places `rooms` has.
    noted: usize,
}

impl Holes {
    /// Counts one more hole.
    pub(super) fn add(&mut self) {
        self.count += 1;
    }

    /// Notes that the queue's first entry is gone.
    pub(super) fn popped(&mut self, was_hole: bool) {
        self.popped += 1;
        self.count -= usize::from(was_hole);
    }

    /// Whether the queue should be tidied.
    pub(super) fn are_most_of(&self, queue: usize) -> bool {
        let are = self.count > FEW && self.count * 2 > queue;
        if are {
            visit(queue);
        }
        are
    }

    /// The next place to look for the oldest publication; each is answered once.
    pub(super) fn next_oldest(&mut self, queue: usize) -> Option<usize> {
        self.oldest = self.oldest.max(self.popped);
        let place = self.oldest - self.popped;
        (place < queue).then(|| {
            visit(1);
            self.oldest += 1;
            place
        })
    }

    /// Notes a publication that is appended to a queue of this length. Not inlined: an outbox without
    /// holes should not pay for it.
    #[cold]
    pub(super) fn note(&mut self, room: RoomKey, queue: usize) {
        let Some(rooms) = &mut self.rooms else { return };
        if self.noted > 2 * queue + FEW {
            // Most of it is of publications that are written by now.
            self.rooms = None;
            return;
        }
        self.noted += 1;
        rooms.entry(room).or_default().push(self.popped + queue);
    }

    /// Takes the places of a room's publications; `all` walks through the queue, if it has to be.
    pub(super) fn places_of<I: Iterator<Item = (RoomKey, usize)>>(
        &mut self,
        room: RoomKey,
        all: impl FnOnce() -> I,
    ) -> Vec<usize> {
        let popped = self.popped;
        let noted = &mut self.noted;
        let rooms = self.rooms.get_or_insert_with(|| {
            let mut rooms: HashMap<_, Vec<_>, _> = HashMap::default();
            *noted = 0;
            for (room, place) in all() {
                visit(1);
                *noted += 1;
                rooms.entry(room).or_default().push(popped + place);
            }
            rooms
        });
        let places = rooms.remove(&room).unwrap_or_default();
        visit(1 + places.len());
        *noted -= places.len();
        let waiting = places
            .into_iter()
            .filter_map(|place| place.checked_sub(popped));
        waiting.collect()
    }
}
