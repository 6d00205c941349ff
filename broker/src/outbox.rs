//! A connection's bounded queue of frames to write.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use bytes::Bytes;
use thiserror::Error;

/// A complete frame as a worker's outboxes share it.
///
/// Counted per worker without atomics: a fan-out to thousands of sockets would have the workers
/// fight over the cache line of the count inside `Bytes`.
pub type Frame = Rc<Bytes>;

/// Frames to write, oldest first, and how much of the first is written already.
///
/// Bounded in bytes by whoever pushes ([`Outbox::push`]); empty, it holds no memory to speak of.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// How many bytes of the first frame the socket has taken.
    written: usize,
}

/// A frame did not fit: the connection is a slow consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the outbox is full")]
pub struct Overflow;

/// Room for this many frames is kept when the outbox runs empty: a push to an idle connection then
/// allocates nothing.
const KEPT_CAPACITY: usize = 4;

impl Outbox {
    /// Appends a frame, unless more than `bound` bytes would wait. A single frame larger than
    /// the bound fits into an empty outbox.
    pub fn push(&mut self, frame: Frame, bound: usize) -> Result<(), Overflow> {
        if !self.frames.is_empty() && self.bytes + frame.len() > bound {
            return Err(Overflow);
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    /// Drops what waits, but for a frame that is written in part: the peer needs its rest. Answers
    /// how many were dropped.
    pub fn drop_unwritten(&mut self) -> usize {
        let keep = usize::from(self.written > 0);
        let dropped = self.frames.len().saturating_sub(keep);
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(|frame| frame.len()).sum::<usize>() - self.written;
        dropped
    }

    /// Fills `slices` from the front with what is to be written next; answers how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            let start = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&frame[start..]);
            count += 1;
        }
        count
    }

    /// Notes that the socket took `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.bytes -= count;
        let mut taken = self.written + count;
        while let Some(frame) = self.frames.front()
            && taken >= frame.len()
        {
            taken -= frame.len();
            self.frames.pop_front();
        }
        self.written = taken;
        if self.frames.is_empty() && self.frames.capacity() > KEPT_CAPACITY {
            self.frames.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many bytes wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> Frame {
        Rc::new(Bytes::from_static(text.as_bytes()))
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
        outbox.advance(3);
        assert_eq!(written(&outbox), b"efg");
        assert_eq!(outbox.bytes(), 3);
        outbox.advance(3);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_bound_is_in_bytes_and_one_large_frame_fits_an_empty_outbox() {
        let mut outbox = Outbox::default();
        outbox.push(frame("abcdef"), 4).unwrap();
        assert_eq!(outbox.push(frame("g"), 4), Err(Overflow));
        outbox.advance(3);
        assert_eq!(outbox.push(frame("g"), 4), Ok(()));
    }

    #[test]
    fn a_frame_written_in_part_survives_a_drop() {
        let mut outbox = Outbox::default();
        for text in ["abc", "def", "ghi"] {
            outbox.push(frame(text), 100).unwrap();
        }
        outbox.advance(1);
        assert_eq!(outbox.drop_unwritten(), 2);
        assert_eq!(written(&outbox), b"bc");
        assert_eq!(outbox.bytes(), 2);
    }
}
