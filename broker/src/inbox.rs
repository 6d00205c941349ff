//! What the hub has for one worker, in order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_shared::{Position, Publication, RoomName};
use tokio::sync::Notify;

use crate::backend::BackendError;
use crate::{Delivery, RoomKey, Ticket};

/// One thing for a worker to do. The order of posts of a room is the order of its publications.
#[derive(Debug)]
pub enum Post {
    /// Give a publication to every local member.
    Publication {
        /// Whose members.
        room: RoomKey,
        /// The publication and its frames.
        delivery: Arc<Delivery>,
    },
    /// Make a connection a member: it gets `messages` now and every later post of the room.
    Joined {
        /// Who asked.
        ticket: Ticket,
        /// The room's key on this node.
        room: RoomKey,
        /// The room's name.
        name: RoomName,
        /// What the member has seen once it has read `messages`.
        position: Option<Position>,
        /// Whether `messages` is all that came after the position it gave; none if it gave none.
        recovered: Option<bool>,
        /// The replay, oldest first.
        messages: Vec<Arc<Publication>>,
    },
    /// Tell a connection that its join failed.
    Refused {
        /// Who asked.
        ticket: Ticket,
        /// Which room.
        name: RoomName,
        /// Why.
        error: BackendError,
    },
    /// Tell every local member that publications were lost with the room's log.
    Reset {
        /// Whose members.
        room: RoomKey,
        /// The room's name.
        name: RoomName,
        /// Where the log stands now.
        position: Position,
    },
}

/// A queue from the hub to one worker.
///
/// Its bound is soft: [`Inbox::full`] makes the hub [congested](crate::backend::Sink::congested),
/// and a congested hub is given no more, by refused publishes (memory) or by a dropped and later
/// healed link (Redis).
#[derive(Debug)]
pub struct Inbox {
    /// Held only to push one post or to take them all.
    posts: Mutex<Vec<Post>>,
    len: AtomicUsize,
    bound: usize,
    arrived: Notify,
}

impl Inbox {
    /// Makes an inbox that is full at `bound` posts.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            posts: Mutex::default(),
            len: AtomicUsize::new(0),
            bound,
            arrived: Notify::new(),
        }
    }

    /// Appends a post, and wakes the worker if it was idle.
    pub fn push(&self, post: Post) {
        let mut posts = self.lock();
        posts.push(post);
        let len = posts.len();
        // Under the lock, so that it cannot overtake the store in `take`.
        self.len.store(len, Ordering::Relaxed);
        drop(posts);
        if len == 1 {
            self.arrived.notify_one();
        }
    }

    /// Waits until there is something, and swaps it with the empty `batch`.
    ///
    /// Cancel-safe: nothing is taken before it is handed over. For one caller at a time.
    pub async fn take(&self, batch: &mut Vec<Post>) {
        debug_assert!(batch.is_empty());
        loop {
            {
                let mut posts = self.lock();
                std::mem::swap(&mut *posts, batch);
                self.len.store(0, Ordering::Relaxed);
            }
            if !batch.is_empty() {
                return;
            }
            self.arrived.notified().await;
        }
    }

    /// Whether as much waits as should.
    #[must_use]
    pub fn full(&self) -> bool {
        self.len.load(Ordering::Relaxed) >= self.bound
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Post>> {
        // Pushing and swapping leave the queue whole, whatever panicked elsewhere.
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
