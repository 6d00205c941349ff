//! What waits for the link: bounded, and emptied when the link is lost.
//!
//! Filled by any thread, taken from by the one task that serves the link. Nothing waits while
//! there is no link.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::BackendError;

/// A bounded queue that can be closed and opened again.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Notify,
    bound: Load,
}

/// How much there is of something: items, and what they weigh together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) items: usize,
    pub(super) weight: usize,
}

impl Load {
    /// Counts one more item.
    pub(super) fn add(&mut self, weight: usize) {
        self.items += 1;
        self.weight += weight;
    }
}

struct State<T> {
    open: bool,
    waiting: VecDeque<(T, usize)>,
    weight: usize,
}

impl<T> Queue<T> {
    /// Makes a closed queue that holds at most `bound`.
    pub(super) fn new(bound: Load) -> Self {
        Self {
            state: Mutex::new(State {
                open: false,
                waiting: VecDeque::new(),
                weight: 0,
            }),
            filled: Notify::new(),
            bound,
        }
    }

    /// Appends an item; refuses it when the queue is closed or full.
    pub(super) fn push(&self, item: T, weight: usize) -> Result<(), BackendError> {
        let mut state = self.lock();
        if !state.open {
            return Err(BackendError::Unavailable);
        }
        if state.waiting.len() >= self.bound.items
            || state.weight.saturating_add(weight) > self.bound.weight
        {
            return Err(BackendError::Overloaded);
        }
        let was_empty = state.waiting.is_empty();
        state.weight += weight;
        state.waiting.push_back((item, weight));
        drop(state);
        // A taker that left some behind looks again before it waits.
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for items, then moves at least one of them to `batch`, and more up to `most`.
    ///
    /// Cancel-safe: what was moved is in `batch`.
    pub(super) async fn take(&self, batch: &mut Vec<T>, most: Load) {
        loop {
            self.take_waiting(batch, most);
            if !batch.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn take_waiting(&self, batch: &mut Vec<T>, most: Load) {
        let mut state = self.lock();
        let mut taken = 0;
        while let Some((_, weight)) = state.waiting.front()
            && (batch.is_empty() || (batch.len() < most.items && taken + weight <= most.weight))
            && let Some((item, weight)) = state.waiting.pop_front()
        {
            taken += weight;
            state.weight -= weight;
            batch.push(item);
        }
    }

    /// Takes out of the middle what `chosen` chooses, in order.
    pub(super) fn extract(&self, mut chosen: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let (out, left): (VecDeque<_>, _) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|(item, _)| chosen(item));
        state.waiting = left;
        state.weight -= out.iter().map(|(_, weight)| weight).sum::<usize>();
        out.into_iter().map(|(item, _)| item).collect()
    }

    /// Whether items are taken.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Begins to take items.
    pub(super) fn open(&self) {
        self.lock().open = true;
    }

    /// Refuses items from now on, and drops those that wait: whoever awaits their outcome is told
    /// that the link is down.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        state.weight = 0;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }

    /// No code panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Load = Load {
        items: 3,
        weight: 10,
    };

    #[tokio::test]
    async fn items_beyond_the_bound_are_refused_and_a_closed_queue_takes_none() {
        let queue = Queue::new(BOUND);
        assert!(matches!(queue.push(1, 1), Err(BackendError::Unavailable)));
        queue.open();
        queue.push(1, 4).unwrap();
        queue.push(2, 6).unwrap();
        assert!(matches!(queue.push(3, 1), Err(BackendError::Overloaded)));
        queue.push(3, 0).unwrap();
        assert!(matches!(queue.push(4, 0), Err(BackendError::Overloaded)));
        queue.close();
        queue.open();
        queue.push(5, 10).unwrap();
        let mut batch = Vec::new();
        queue.take(&mut batch, BOUND).await;
        assert_eq!(batch, [5]);
    }

    #[tokio::test]
    async fn what_is_extracted_leaves_the_rest_in_order_and_makes_room() {
        let queue = Queue::new(BOUND);
        queue.open();
        for item in 1..=3 {
            queue.push(item, 3).unwrap();
        }
        assert_eq!(queue.extract(|item| item % 2 == 1), [1, 3]);
        queue.push(4, 7).unwrap();
        let mut batch = Vec::new();
        queue.take(&mut batch, BOUND).await;
        assert_eq!(batch, [2, 4]);
    }

    #[tokio::test]
    async fn a_batch_has_at_least_one_item_and_no_more_than_asked_for() {
        let queue = Queue::new(BOUND);
        queue.open();
        for weight in [5, 1, 2] {
            queue.push(weight, weight).unwrap();
        }
        let most = Load {
            items: 2,
            weight: 3,
        };
        let mut batch = Vec::new();
        queue.take(&mut batch, most).await;
        assert_eq!(batch, [5]);
        batch.clear();
        queue.take(&mut batch, most).await;
        assert_eq!(batch, [1, 2]);
    }
}
