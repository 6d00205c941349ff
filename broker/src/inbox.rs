//! What the hub has for one worker, in order.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use fanfare_shared::{Position, Publication, RoomName};
use parking_lot::Mutex;

use crate::backend::BackendError;
use crate::{Delivery, Notice, RoomKey, Ticket};

/// One thing for a worker to do. The order of posts of a room is the order of its publications.
#[derive(Debug)]
pub enum Post {
    /// Give a publication to every local member, or a message to every local connection of a user.
    Publication {
        /// Whose members; or the user's mailbox.
        room: RoomKey,
        /// The publication and its frames.
        delivery: Arc<Delivery>,
    },
    /// Tell every other local member that somebody came or went.
    Notice {
        /// Whose members.
        room: RoomKey,
        /// What happened and its frames.
        notice: Arc<Notice>,
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
    /// What a connection published, without awaiting the outcome, was done or failed: tell it of a
    /// failure, and have it go on if it waits.
    Settled {
        /// Who published.
        ticket: Ticket,
        /// Why it failed, if it did.
        failed: Option<BackendError>,
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
    /// Held only to push one post or to take them all, which a panic leaves whole.
    queue: Mutex<Queue>,
    len: AtomicUsize,
    bound: usize,
}

#[derive(Debug, Default)]
struct Queue {
    posts: Vec<Post>,
    /// Wakes the worker, if it waits.
    idle: Option<Waker>,
}

impl Inbox {
    /// Makes an inbox that is full at `bound` posts.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            queue: Mutex::default(),
            len: AtomicUsize::new(0),
            bound,
        }
    }

    /// Appends a post, and wakes the worker if it was idle.
    pub fn push(&self, post: Post) {
        let mut queue = self.queue.lock();
        queue.posts.push(post);
        // Under the lock, so that it cannot overtake the store in `take`.
        self.len.store(queue.posts.len(), Ordering::Relaxed);
        let idle = queue.idle.take();
        drop(queue);
        if let Some(waker) = idle {
            waker.wake();
        }
    }

    /// Waits until there is something, and swaps it with the empty `batch`.
    ///
    /// Cancel-safe: nothing is taken before it is handed over. For one caller at a time.
    pub async fn take(&self, batch: &mut Vec<Post>) {
        debug_assert!(batch.is_empty());
        poll_fn(|context| {
            let mut queue = self.queue.lock();
            if queue.posts.is_empty() {
                queue.idle = Some(context.waker().clone());
                return Poll::Pending;
            }
            std::mem::swap(&mut queue.posts, batch);
            self.len.store(0, Ordering::Relaxed);
            Poll::Ready(())
        })
        .await;
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Whether as much waits as should.
    #[must_use]
    pub fn full(&self) -> bool {
        self.len.load(Ordering::Relaxed) >= self.bound
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfare_shared::{ClientId, RoomName};
    use tokio::time::timeout;

    use super::*;

    fn numbered(slot: usize) -> Post {
        Post::Refused {
            ticket: Ticket {
                slot,
                client: ClientId(0),
                id: None,
                announced: true,
            },
            name: RoomName::new("lobby").unwrap(),
            error: BackendError::Unavailable,
        }
    }

    fn numbers(batch: &[Post]) -> Vec<usize> {
        let numbers = batch.iter().map(|post| match post {
            Post::Refused { ticket, .. } => ticket.slot,
            other => panic!("{other:?}"),
        });
        numbers.collect()
    }

    #[tokio::test]
    async fn posts_are_taken_together_and_in_order() {
        let inbox = Inbox::new(10);
        for number in 0..3 {
            inbox.push(numbered(number));
        }
        let mut batch = Vec::new();
        inbox.take(&mut batch).await;
        assert_eq!(numbers(&batch), [0, 1, 2]);
    }

    #[tokio::test]
    async fn an_inbox_is_full_from_its_bound_until_it_is_taken() {
        let inbox = Inbox::new(2);
        inbox.push(numbered(0));
        assert!(!inbox.full());
        inbox.push(numbered(1));
        inbox.push(numbered(2));
        assert!(inbox.full());
        let mut batch = Vec::new();
        inbox.take(&mut batch).await;
        assert_eq!(batch.len(), 3, "the bound is soft");
        assert!(!inbox.full());
    }

    #[tokio::test(start_paused = true)]
    async fn taking_can_be_given_up_without_loss() {
        let inbox = Inbox::new(10);
        let mut batch = Vec::new();
        let moment = Duration::from_millis(1);
        assert!(timeout(moment, inbox.take(&mut batch)).await.is_err());
        inbox.push(numbered(0));
        inbox.take(&mut batch).await;
        assert_eq!(numbers(&batch), [0]);
        batch.clear();
        // The wake of a post that was taken already is not taken for another.
        assert!(timeout(moment, inbox.take(&mut batch)).await.is_err());
        assert!(batch.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_idle_worker_wakes_for_every_post() {
        let inbox = Arc::new(Inbox::new(10));
        let pushed = Arc::clone(&inbox);
        let pushing = tokio::task::spawn_blocking(move || {
            for number in 0..10_000 {
                pushed.push(numbered(number));
            }
        });
        let (mut batch, mut taken) = (Vec::new(), Vec::new());
        while taken.len() < 10_000 {
            inbox.take(&mut batch).await;
            taken.extend(numbers(&batch));
            batch.clear();
        }
        assert!(taken.into_iter().eq(0..10_000));
        pushing.await.unwrap();
    }
}
