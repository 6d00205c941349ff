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

#[cfg(test)]
mod tests {
    use fanfare_shared::{Data, Encoding, Epoch, Position, RoomName};

    use super::*;

    fn publication(offset: u64) -> Arc<Publication> {
        Arc::new(Publication {
            room: RoomName::new("lobby").unwrap(),
            position: Some(Position {
                epoch: Epoch::from_bits(1),
                offset,
            }),
            time: 0,
            event: None,
            from: None,
            echo: true,
            data: Data {
                encoding: Encoding::Json,
                bytes: "1".into(),
            },
        })
    }

    fn publications(offsets: &[u64]) -> Vec<Arc<Publication>> {
        offsets.iter().copied().map(publication).collect()
    }

    fn window(offsets: &[u64]) -> Recent {
        let mut recent = Recent::default();
        for publication in publications(offsets) {
            recent.push(publication, usize::MAX);
        }
        recent
    }

    fn offsets(recent: &Recent, count: usize) -> Vec<u64> {
        let newest = recent.newest(count).into_iter();
        newest.map(|kept| kept.position.unwrap().offset).collect()
    }

    #[test]
    fn the_window_lets_go_of_the_oldest() {
        let mut recent = Recent::default();
        for offset in 1..=5 {
            recent.push(publication(offset), 3);
        }
        assert_eq!(offsets(&recent, 10), [3, 4, 5]);
        assert_eq!(offsets(&recent, 2), [4, 5]);
        recent.shrink(1);
        assert_eq!(offsets(&recent, 10), [5]);
        recent.push(publication(6), 0);
        assert_eq!(recent.len(), 0);
    }

    #[test]
    fn what_was_read_is_put_before_the_window_once() {
        let mut recent = window(&[6, 7]);
        recent.extend_back(&publications(&[3, 4, 5, 6]), 7);
        assert_eq!(offsets(&recent, 10), [3, 4, 5, 6, 7]);
        recent.extend_back(&publications(&[2, 3, 4, 5, 6, 7, 8]), 7);
        assert_eq!(offsets(&recent, 10), [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_does_not_join_on_to_the_window_is_left_out() {
        let mut recent = window(&[6, 7]);
        recent.extend_back(&publications(&[2, 3, 4]), 7);
        assert_eq!(offsets(&recent, 10), [6, 7]);
        recent.extend_back(&publications(&[3, 5]), 7);
        assert_eq!(offsets(&recent, 10), [5, 6, 7]);
        recent.extend_back(&[], 7);
        assert_eq!(offsets(&recent, 10), [5, 6, 7]);
    }

    #[test]
    fn an_empty_window_ends_where_it_is_said_to_end() {
        let mut recent = Recent::default();
        recent.extend_back(&publications(&[4, 5, 6, 7, 8]), 6);
        assert_eq!(offsets(&recent, 10), [4, 5, 6]);
        recent.clear();
        recent.extend_back(&publications(&[4, 5]), 6);
        assert_eq!(recent.len(), 0, "6 is missing");
    }
}
