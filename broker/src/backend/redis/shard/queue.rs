//! What waits for the link: bounded, and emptied when the link is lost.
//!
//! Filled by any thread, taken from by the one task that serves the link. Nothing waits while
//! there is no link.

use std::collections::VecDeque;
use std::convert::Infallible;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::backend::BackendError;

/// A bounded queue that can be closed and opened again.
///
/// A taker that finds it empty may leave a shortcut `S`, by which whoever comes next does the
/// taker's work at once instead of waking it.
pub(crate) struct Queue<T, S = Infallible> {
    state: Mutex<State<T, S>>,
    filled: Notify,
    bound: Load,
}

/// How much there is of something: items, and what they weigh together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) items: usize,
    pub(crate) weight: usize,
}

impl Load {
    /// Counts one more item.
    pub(crate) fn add(&mut self, weight: usize) {
        self.items += 1;
        self.weight += weight;
    }
}

struct State<T, S> {
    open: bool,
    waiting: VecDeque<(T, usize)>,
    weight: usize,
    /// Only while nothing waits.
    shortcut: Option<S>,
}

impl<T> Queue<T> {
    /// Appends an item; refuses it when the queue is closed or full.
    pub(crate) fn push(&self, item: T, weight: usize) -> Result<(), BackendError> {
        match self.offer(item, weight)? {
            None => Ok(()),
            Some((_, never)) => match never {},
        }
    }

    /// Waits for items, then moves at least one of them to `batch`, and more up to `most`.
    ///
    /// Cancel-safe: what was moved is in `batch`.
    pub(crate) async fn take(&self, batch: &mut Vec<T>, most: Load) {
        loop {
            self.lock().take(batch, most);
            if !batch.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }
}

impl<T, S> Queue<T, S> {
    /// Makes a closed queue that holds at most `bound`.
    pub(crate) fn new(bound: Load) -> Self {
        Self {
            state: Mutex::new(State {
                open: false,
                waiting: VecDeque::new(),
                weight: 0,
                shortcut: None,
            }),
            filled: Notify::new(),
            bound,
        }
    }

    /// Appends an item, or answers it together with the shortcut that was left; refuses it when
    /// the queue is closed or full.
    pub(crate) fn offer(&self, item: T, weight: usize) -> Result<Option<(T, S)>, BackendError> {
        let mut state = self.lock();
        if !state.open {
            return Err(BackendError::Unavailable);
        }
        if state.waiting.len() >= self.bound.items
            || state.weight.saturating_add(weight) > self.bound.weight
        {
            return Err(BackendError::Overloaded);
        }
        if let Some(shortcut) = state.shortcut.take() {
            return Ok(Some((item, shortcut)));
        }
        let was_empty = state.waiting.is_empty();
        state.weight += weight;
        state.waiting.push_back((item, weight));
        drop(state);
        // A taker that left some behind looks again before it waits.
        if was_empty {
            self.filled.notify_one();
        }
        Ok(None)
    }

    /// Moves items to `batch`, up to `most`; where there are none, leaves a shortcut instead.
    /// A closed queue drops it.
    pub(crate) fn take_or_leave(&self, batch: &mut Vec<T>, most: Load, shortcut: S) {
        let mut state = self.lock();
        state.take(batch, most);
        if batch.is_empty() && state.open {
            state.shortcut = Some(shortcut);
        }
    }

    /// Takes out of the middle what `chosen` chooses, in order.
    pub(crate) fn extract(&self, mut chosen: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let (out, left): (VecDeque<_>, _) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|(item, _)| chosen(item));
        state.waiting = left;
        state.weight -= out.iter().map(|(_, weight)| weight).sum::<usize>();
        out.into_iter().map(|(item, _)| item).collect()
    }

    /// Whether items are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Begins to take items.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Refuses items from now on, and drops those that wait: whoever awaits their outcome is told
    /// that the link is down.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        state.weight = 0;
        let dropped = (std::mem::take(&mut state.waiting), state.shortcut.take());
        drop(state);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        self.state.lock()
    }
}

impl<T, S> State<T, S> {
    fn take(&mut self, batch: &mut Vec<T>, most: Load) {
        let mut taken = 0;
        while let Some((_, weight)) = self.waiting.front()
            && (batch.is_empty() || (batch.len() < most.items && taken + weight <= most.weight))
            && let Some((item, weight)) = self.waiting.pop_front()
        {
            taken += weight;
            self.weight -= weight;
            batch.push(item);
        }
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
        let queue = Queue::<_>::new(BOUND);
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
        let queue = Queue::<_>::new(BOUND);
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
    async fn who_comes_to_an_empty_queue_takes_the_shortcut_once() {
        let queue: Queue<u32, &str> = Queue::new(BOUND);
        let mut batch = Vec::new();
        queue.take_or_leave(&mut batch, BOUND, "into a closed queue");
        queue.open();
        assert!(queue.offer(1, 1).unwrap().is_none());
        queue.take_or_leave(&mut batch, BOUND, "while one waits");
        assert_eq!(batch, [1]);
        assert!(queue.offer(2, 1).unwrap().is_none());
        batch.clear();
        queue.take_or_leave(&mut batch, BOUND, "while another waits");
        batch.clear();
        queue.take_or_leave(&mut batch, BOUND, "shortcut");
        assert_eq!(queue.offer(3, 1).unwrap(), Some((3, "shortcut")));
        assert!(queue.offer(4, 1).unwrap().is_none());
        batch.clear();
        queue.take_or_leave(&mut batch, BOUND, "");
        assert_eq!(batch, [4]);
        batch.clear();
        queue.take_or_leave(&mut batch, BOUND, "of before");
        queue.close();
        queue.open();
        assert!(queue.offer(5, 1).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_batch_has_at_least_one_item_and_no_more_than_asked_for() {
        let queue = Queue::<_>::new(BOUND);
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
