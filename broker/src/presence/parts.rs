//! What waits for each part of the backend, in a queue of its own: parts fail by themselves, and
//! what one refuses holds up nothing in another.

use std::collections::{BTreeMap, HashMap};

use fanfare_shared::{ClientId, RoomName};
use tokio::time::Instant;

use super::queue::{Answer, BATCH, Next, Queue};

/// The queues of all parts for which something waits, or that refused something just now.
#[derive(Default)]
pub(super) struct Parts {
    queues: BTreeMap<u64, Queue>,
    /// That this node goes: when nothing else is to be told.
    resign: Option<Answer<()>>,
}

impl Parts {
    /// The queue of a part.
    pub(super) fn of(&mut self, part: u64) -> &mut Queue {
        self.queues.entry(part).or_insert_with(Queue::new)
    }

    /// How many changes of members wait.
    pub(super) fn changes(&self) -> usize {
        self.queues.values().map(Queue::changes).sum()
    }

    /// Says that this node goes, once all is told.
    pub(super) fn resign(&mut self, answer: Answer<()>) {
        self.resign = Some(answer);
    }

    /// Who waits for the node to go, if nothing is to be told before.
    pub(super) fn take_resign(&mut self) -> Option<Answer<()>> {
        self.resign.take_if(|_| {
            let mut waiting = self.queues.values().map(Queue::changes);
            waiting.all(|changes| changes == 0)
        })
    }

    /// Puts others, by their part, in the place of the changes of members.
    pub(super) fn replace_members(&mut self, mut due: HashMap<u64, Vec<(RoomName, ClientId)>>) {
        for (part, queue) in &mut self.queues {
            queue.replace_members(due.remove(part).unwrap_or_default());
        }
        for (part, due) in due {
            self.of(part).replace_members(due);
        }
    }

    /// Drops the queries, which are so answered.
    pub(super) fn drop_queries(&mut self) {
        self.queues.values_mut().for_each(Queue::drop_queries);
    }

    /// Tries again at once: the backend is another, or back.
    pub(super) fn resume(&mut self) {
        self.queues.values_mut().for_each(Queue::resume);
    }

    /// Notes how a part took what it was last told.
    pub(super) fn settle(&mut self, part: u64, failed: bool) {
        let queue = self.of(part);
        if failed {
            queue.failed();
        } else {
            queue.succeeded();
        }
    }

    /// When the first part may be tried again that may not be now.
    pub(super) fn paused(&self) -> Option<Instant> {
        self.queues.values().filter_map(Queue::paused).min()
    }

    /// Hands out what is next of each part, and forgets the parts for which nothing waits. `act` says
    /// whether it made a call, of which there are [`BATCH`], or one for each part.
    pub(super) fn hand_out(&mut self, mut act: impl FnMut(u64, Next) -> bool) {
        self.queues.retain(|_, queue| !queue.is_idle());
        let share = (BATCH / self.queues.len().max(1)).max(1);
        for (part, queue) in &mut self.queues {
            let mut calls = 0;
            while calls < share
                && let Some(next) = queue.next(calls)
            {
                calls += usize::from(act(*part, next));
            }
        }
    }
}
