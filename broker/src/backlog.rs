//! What a worker's outboxes hold together, counted in bytes of frames: by it the worker knows when
//! slow consumers take more memory than the node has for them.
//!
//! A frame counts once, however many outboxes it waits in, for as long as it waits in any: a burst
//! into a large room is no reason to shed anyone, a thousand different replays are.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;

/// A worker's count. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Backlog(Rc<Cell<usize>>);

/// A complete frame as a worker's outboxes share it.
///
/// Counted per worker without atomics: a fan-out to thousands of sockets would have the workers
/// fight over the cache line of the count inside `Bytes`.
#[derive(Debug, Clone)]
pub struct Frame(Rc<Counted>);

#[derive(Debug)]
struct Counted {
    bytes: Bytes,
    backlog: Backlog,
}

impl Backlog {
    /// Counts a frame until the last outbox lets go of it.
    #[must_use]
    pub fn frame(&self, bytes: Bytes) -> Frame {
        self.0.set(self.0.get() + bytes.len());
        Frame(Rc::new(Counted {
            bytes,
            backlog: self.clone(),
        }))
    }

    /// The bytes of all frames that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.get()
    }
}

impl Deref for Frame {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = &self.backlog.0;
        count.set(count.get() - self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_until_nobody_holds_it() {
        let backlog = Backlog::default();
        let frame = backlog.frame(Bytes::from_static(b"abc"));
        let other = backlog.frame(Bytes::from_static(b"de"));
        let shared = frame.clone();
        assert_eq!(backlog.bytes(), 5);
        drop(frame);
        assert_eq!(backlog.bytes(), 5);
        drop(shared);
        assert_eq!(backlog.bytes(), 2);
        drop(other);
        assert_eq!(backlog.bytes(), 0);
    }
}
