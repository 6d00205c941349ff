//! A connection's bounded queue of frames to write.
//!
//! Invariant: whatever is pushed or dropped, the work for it does not grow with what waits: a
//! member that is stuck costs its room the same for each delivery as any other.

mod holes;

use std::collections::VecDeque;
use std::io::IoSlice;

use thiserror::Error;

use self::holes::Holes;
use crate::{Frame, RoomKey};

/// Frames to write, oldest first, and how much of the first is written already.
///
/// Bounded in bytes by whoever pushes ([`Outbox::push`]); empty, it holds no memory to speak of.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Entry>,
    bytes: usize,
    /// How many bytes of the first frame the socket has taken.
    written: usize,
    /// How long the first frame is, so that a push need not look at it; 0 without one.
    first: usize,
    /// Where frames were dropped out of the middle; none before the first.
    holes: Option<Box<Holes>>,
}

#[derive(Debug)]
struct Entry {
    /// None where it was dropped; the first is always there.
    frame: Option<Frame>,
    /// The room of a publication, which may be dropped by the room's rule; none for a reply,
    /// which may not.
    room: Option<RoomKey>,
}

/// A frame did not fit: the connection is a slow consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the outbox is full")]
pub struct Overflow;

/// Room for this many frames is kept when the outbox runs empty: a push to an idle connection then
/// allocates nothing.
const KEPT_CAPACITY: usize = 4;

/// Room for this many is kept until the next [`Outbox::trim`]: in a busy room one burst follows on
/// another.
const BURST_CAPACITY: usize = 64;

impl Outbox {
    /// Appends a reply or push, unless more than `bound` bytes would wait behind the frame that is
    /// being written: a replay may be larger than the bound, and must not make its reader slow.
    pub fn push(&mut self, frame: Frame, bound: usize) -> Result<(), Overflow> {
        self.append(frame, None, bound)
    }

    /// Appends a publication, within the same bound.
    #[inline]
    pub fn push_publication(
        &mut self,
        frame: Frame,
        room: RoomKey,
        bound: usize,
    ) -> Result<(), Overflow> {
        self.append(frame, Some(room), bound)
    }

    #[inline]
    fn append(
        &mut self,
        frame: Frame,
        room: Option<RoomKey>,
        bound: usize,
    ) -> Result<(), Overflow> {
        let size = frame.len();
        if self.queue.is_empty() {
            self.first = size;
        } else if self.bytes + self.written - self.first + size > bound {
            return Err(Overflow);
        }
        self.bytes += size;
        if let (Some(holes), Some(room)) = (&mut self.holes, room) {
            holes.note(room, self.queue.len());
        }
        let frame = Some(frame);
        self.queue.push_back(Entry { frame, room });
        Ok(())
    }

    /// Notes that the first frame may be another.
    fn note_first(&mut self) {
        let first = self.queue.front().and_then(|first| first.frame.as_ref());
        self.first = first.map_or(0, |frame| frame.len());
    }

    /// Drops everything that waits but a frame that is written in part, whose rest the peer needs.
    /// Answers how many frames were dropped.
    pub fn drop_all(&mut self) -> usize {
        let kept = usize::from(self.written > 0);
        let dropped = self.queue.drain(kept.min(self.queue.len())..);
        let dropped = dropped.filter_map(|entry| entry.frame);
        let (count, bytes) = dropped.fold((0, 0), |(count, bytes), frame| {
            (count + 1, bytes + frame.len())
        });
        self.bytes -= bytes;
        self.holes = None;
        self.note_first();
        count
    }

    /// Drops the publications of one room that wait. Answers how many.
    pub fn drop_room(&mut self, room: RoomKey) -> usize {
        let mut holes = self.holes.take().unwrap_or_default();
        let places = holes.places_of(room, || {
            let rooms = self.queue.iter().enumerate();
            rooms.filter_map(|(place, entry)| Some((entry.frame.as_ref().and(entry.room)?, place)))
        });
        let count = places
            .into_iter()
            .filter(|place| self.drop_at(*place, &mut holes));
        let count = count.count();
        self.tidy(holes);
        count
    }

    /// Drops the oldest publications that wait until `bytes` more fit into `bound`, or there are
    /// none. Answers how many.
    pub fn drop_oldest(&mut self, bytes: usize, bound: usize) -> usize {
        let mut holes = self.holes.take().unwrap_or_default();
        let mut count = 0;
        while self.bytes + bytes > bound
            && let Some(place) = holes.next_oldest(self.queue.len())
        {
            if self.queue[place].room.is_some() && self.drop_at(place, &mut holes) {
                count += 1;
            }
        }
        self.tidy(holes);
        count
    }

    /// Drops what is at a place, unless it is written in part or was dropped before.
    fn drop_at(&mut self, place: usize, holes: &mut Holes) -> bool {
        if place == 0 && self.written > 0 {
            return false;
        }
        let Some(frame) = self
            .queue
            .get_mut(place)
            .and_then(|entry| entry.frame.take())
        else {
            return false;
        };
        self.bytes -= frame.len();
        holes.add();
        true
    }

    /// Lets go of holes at the front, and of all of them where they are most of the queue.
    fn tidy(&mut self, mut holes: Box<Holes>) {
        if holes.are_most_of(self.queue.len()) {
            self.queue.retain(|entry| entry.frame.is_some());
            holes = Box::default();
        }
        while self
            .queue
            .front()
            .is_some_and(|first| first.frame.is_none())
        {
            self.queue.pop_front();
            holes.popped(true);
        }
        self.holes = (!self.queue.is_empty()).then_some(holes);
        self.note_first();
    }

    /// What is to be written next if it is one frame; none if there are several, or nothing.
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        match self.queue.front() {
            Some(Entry {
                frame: Some(only), ..
            }) if self.queue.len() == 1 => Some(&only[self.written..]),
            _ => None,
        }
    }

    /// Fills `slices` from the front with what is to be written next; answers how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut count, mut start) = (0, self.written);
        for entry in &self.queue {
            let Some(frame) = &entry.frame else { continue };
            let Some(slice) = slices.get_mut(count) else {
                break;
            };
            *slice = IoSlice::new(&frame[start..]);
            (count, start) = (count + 1, 0);
        }
        count
    }

    /// Notes that the socket took `count` bytes.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        self.bytes -= count;
        let taken = self.written + count;
        self.written = match self.holes {
            None => self.pop_taken(taken),
            Some(_) => self.pop_taken_and_holes(taken),
        };
        if self.queue.is_empty() && self.queue.capacity() > BURST_CAPACITY {
            self.trim();
        }
    }

    /// Removes the frames that the socket took whole, of a queue without holes. Answers how much it
    /// took of the next.
    fn pop_taken(&mut self, mut taken: usize) -> usize {
        while let Some(frame) = self.queue.front().and_then(|first| first.frame.as_ref()) {
            self.first = frame.len();
            if taken < self.first {
                break;
            }
            taken -= self.first;
            self.queue.pop_front();
        }
        taken
    }

    /// The same for a queue with holes, which go with the frames before them.
    #[cold]
    fn pop_taken_and_holes(&mut self, mut taken: usize) -> usize {
        while let Some(first) = self.queue.front() {
            let length = first.frame.as_ref().map_or(0, |frame| frame.len());
            let is_hole = first.frame.is_none();
            if taken < length {
                break;
            }
            taken -= length;
            self.queue.pop_front();
            if let Some(holes) = &mut self.holes {
                holes.popped(is_hole);
            }
        }
        if self.queue.is_empty() {
            self.holes = None;
        }
        self.note_first();
        taken
    }

    /// Gives the memory of the last burst back, unless it is in use. To be called every few
    /// seconds.
    #[cold]
    pub fn trim(&mut self) {
        if self.queue.is_empty() {
            self.queue.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
