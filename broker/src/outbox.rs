//! A connection's bounded queue of frames to write.

use std::collections::VecDeque;
use std::io::IoSlice;

use thiserror::Error;

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
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
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
        self.append(Entry { frame, room: None }, bound)
    }

    /// Appends a publication, within the same bound.
    pub fn push_publication(
        &mut self,
        frame: Frame,
        room: RoomKey,
        bound: usize,
    ) -> Result<(), Overflow> {
        self.append(
            Entry {
                frame,
                room: Some(room),
            },
            bound,
        )
    }

    fn append(&mut self, entry: Entry, bound: usize) -> Result<(), Overflow> {
        if let Some(first) = self.queue.front() {
            let waiting = self.bytes + self.written - first.frame.len();
            if waiting + entry.frame.len() > bound {
                return Err(Overflow);
            }
        }
        self.bytes += entry.frame.len();
        self.queue.push_back(entry);
        Ok(())
    }

    /// Drops everything that waits. Answers how many frames were dropped.
    pub fn drop_all(&mut self) -> usize {
        self.drop_while(|_, _| true)
    }

    /// Drops the publications of one room that wait. Answers how many.
    pub fn drop_room(&mut self, room: RoomKey) -> usize {
        self.drop_while(|entry, _| entry.room == Some(room))
    }

    /// Drops the oldest publications that wait until `bytes` more fit into `bound`, or there are
    /// none. Answers how many.
    pub fn drop_oldest(&mut self, bytes: usize, bound: usize) -> usize {
        self.drop_while(|entry, waiting| entry.room.is_some() && waiting + bytes > bound)
    }

    /// Drops the entries that `unwanted` names, which is told how many bytes still wait. A frame
    /// that is written in part stays: the peer needs its rest.
    fn drop_while(&mut self, unwanted: impl Fn(&Entry, usize) -> bool) -> usize {
        let before = self.queue.len();
        let mut bytes = self.bytes;
        let mut begun = self.written > 0;
        self.queue.retain(|entry| {
            let keep = std::mem::take(&mut begun) || !unwanted(entry, bytes);
            if !keep {
                bytes -= entry.frame.len();
            }
            keep
        });
        self.bytes = bytes;
        before - self.queue.len()
    }

    /// What is to be written next if it is one frame; none if there are several, or nothing.
    #[must_use]
    pub fn single(&self) -> Option<&[u8]> {
        match self.queue.front() {
            Some(only) if self.queue.len() == 1 => Some(&only.frame[self.written..]),
            _ => None,
        }
    }

    /// Fills `slices` from the front with what is to be written next; answers how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, entry) in slices.iter_mut().zip(&self.queue) {
            let start = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&entry.frame[start..]);
            count += 1;
        }
        count
    }

    /// Notes that the socket took `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.bytes -= count;
        let mut taken = self.written + count;
        while let Some(entry) = self.queue.front()
            && taken >= entry.frame.len()
        {
            taken -= entry.frame.len();
            self.queue.pop_front();
        }
        self.written = taken;
        if self.queue.is_empty() && self.queue.capacity() > BURST_CAPACITY {
            self.queue.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Gives the memory of the last burst back, unless it is in use. To be called every few
    /// seconds.
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
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Backlog;

    fn frame(text: &'static str) -> Frame {
        Backlog::default().frame(Bytes::from_static(text.as_bytes()))
    }

    fn room(number: u64) -> RoomKey {
        RoomKey(std::num::NonZeroU64::new(number).unwrap())
    }

    fn written(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outbox.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn what_the_socket_took_is_not_offered_again() {
        let mut outbox = Outbox::default();
        outbox.push(frame("abc"), 100).unwrap();
        outbox.push(frame("defg"), 100).unwrap();
        outbox.advance(1);
        assert_eq!(written(&outbox), b"bcdefg");
        assert_eq!(outbox.single(), None);
        outbox.advance(3);
        assert_eq!(written(&outbox), b"efg");
        assert_eq!(outbox.single(), Some(&b"efg"[..]));
        assert_eq!(outbox.bytes(), 3);
        outbox.advance(3);
        assert!(outbox.is_empty());
        assert_eq!(outbox.single(), None);
    }

    #[test]
    fn the_bound_is_in_bytes_behind_the_frame_that_is_being_written() {
        let mut outbox = Outbox::default();
        outbox.push(frame("a replay of any size"), 4).unwrap();
        outbox.push(frame("bcd"), 4).unwrap();
        assert_eq!(outbox.push(frame("ef"), 4), Err(Overflow));
        outbox.advance(10);
        assert_eq!(outbox.push(frame("ef"), 4), Err(Overflow));
        outbox.advance(10);
        assert_eq!(outbox.push(frame("ef"), 4), Ok(()));
    }

    #[test]
    fn memory_of_a_burst_is_kept_for_the_next_one_until_trimmed() {
        let mut outbox = Outbox::default();
        let burst = |outbox: &mut Outbox, frames| {
            for _ in 0..frames {
                outbox.push(frame("a"), 1_000).unwrap();
            }
            outbox.advance(frames);
            outbox.queue.capacity()
        };
        let kept = burst(&mut outbox, 20);
        assert!(kept >= 20);
        assert_eq!(burst(&mut outbox, 20), kept);
        outbox.trim();
        assert_eq!(outbox.queue.capacity(), KEPT_CAPACITY);
        assert_eq!(burst(&mut outbox, 100), KEPT_CAPACITY, "too much to keep");
    }

    #[test]
    fn only_publications_give_way_and_the_oldest_first() {
        let (a, b) = (room(1), room(2));
        let mut outbox = Outbox::default();
        outbox.push(frame("reply"), 100).unwrap();
        outbox.push_publication(frame("a1"), a, 100).unwrap();
        outbox.push_publication(frame("b1"), b, 100).unwrap();
        outbox.push_publication(frame("a2"), a, 100).unwrap();
        assert_eq!(outbox.drop_oldest(2, 11), 1);
        assert_eq!(written(&outbox), b"replyb1a2");
        assert_eq!(outbox.drop_room(a), 1);
        assert_eq!(written(&outbox), b"replyb1");
        assert_eq!(outbox.bytes(), 7);
    }

    #[test]
    fn a_frame_written_in_part_survives_a_drop() {
        let mut outbox = Outbox::default();
        for text in ["abc", "def", "ghi"] {
            outbox.push(frame(text), 100).unwrap();
        }
        outbox.advance(1);
        assert_eq!(outbox.drop_all(), 2);
        assert_eq!(written(&outbox), b"bc");
        assert_eq!(outbox.bytes(), 2);
    }
}
