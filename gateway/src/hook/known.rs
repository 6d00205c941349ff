//! The answers that are known, and those that are awaited: one for all who ask the same.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ahash::RandomState;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::answer::Answer;

/// What tells one question from another: its SHA-256.
pub(super) type Digest = [u8; 32];

/// An answer, once it is there.
pub(super) type Place = Arc<OnceCell<(Answer, Instant)>>;

/// The answers that a node remembers, by when they were last used.
pub(super) struct Known(Mutex<LruCache<Digest, Place, RandomState>>);

impl Known {
    /// Room for so many.
    pub(super) fn new(most: usize) -> Self {
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::with_hasher(most, RandomState::new())))
    }

    /// Where the answer to a question is, or will be. One that holds no longer gives way.
    pub(super) fn place(&self, question: Digest) -> Place {
        let mut known = self.0.lock();
        if let Some(place) = known.get(&question) {
            let holds = |(_, until): &(Answer, Instant)| *until > Instant::now();
            if place.get().is_none_or(holds) {
                return Arc::clone(place);
            }
        }
        let place = Place::default();
        known.put(question, Arc::clone(&place));
        place
    }

    /// Forgets an answer that holds only for those who wait for it now.
    pub(super) fn forget(&self, question: &Digest, place: &Place) {
        let mut known = self.0.lock();
        if known
            .peek(question)
            .is_some_and(|last| Arc::ptr_eq(last, place))
        {
            known.pop(question);
        }
    }
}
