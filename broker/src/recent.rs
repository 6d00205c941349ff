//! The newest publications of a room, kept on a node that serves it, so that a crowd of clients
//! that reconnect is served from memory.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_shared::Publication;

/// A gapless window of a room's log that ends at the room's position on this node.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    window: VecDeque<Arc<Publication>>,
}

impl Recent {
    /// Appends the next publication, and lets go of the oldest beyond `bound`.
    pub(crate) fn push(&mut self, publication: Arc<Publication>, bound: usize) {
        self.window.push_back(publication);
        self.shrink(bound);
    }

    /// Lets go of the oldest beyond `bound`.
    pub(crate) fn shrink(&mut self, bound: usize) {
        while self.window.len() > bound {
            self.window.pop_front();
        }
    }

    /// How many publications the window holds.
    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }

    /// The newest `count` publications, oldest first.
    pub(crate) fn newest(&self, count: usize) -> Vec<Arc<Publication>> {
        self.window
            .iter()
            .skip(self.window.len().saturating_sub(count))
            .cloned()
            .collect()
    }

    /// Extends the window backwards with what was read from the log, oldest first. Only what
    /// joins on to the window without a gap is taken; `offset` is where the window ends.
    pub(crate) fn extend_back(&mut self, read: &[Arc<Publication>], offset: u64) {
        for publication in read.iter().rev() {
            let floor = offset - self.window.len() as u64;
            match publication.position {
                Some(position) if position.offset == floor => {
                    self.window.push_front(Arc::clone(publication));
                }
                // Newer than the window's start: in it already, or on its way here.
                Some(position) if position.offset > floor => {}
                _ => return,
            }
        }
    }

    /// Forgets everything: the log it was a part of is gone.
    pub(crate) fn clear(&mut self) {
        self.window.clear();
    }
}
