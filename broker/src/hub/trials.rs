//! How reading rooms that are lost goes, by part of the backend.

use std::collections::HashMap;

use fanfare_shared::RoomName;
use parking_lot::Mutex;

use crate::RoomKey;
use crate::backend::Log;
use crate::trial::Trial;

/// A room to read.
pub(super) type Unread = (RoomName, RoomKey, Log);

/// How reading lost rooms goes, by part of the backend; nothing while a turn is under way. As many
/// as have rooms that are lost.
#[derive(Default)]
pub(super) struct Resync(Mutex<HashMap<u64, Option<Trial>>>);

impl Resync {
    /// Begins a turn in a part, unless one is under way or it is too early.
    pub(super) fn begin(&self, part: u64) -> Option<Trial> {
        let mut trials = self.0.lock();
        let trial = trials
            .entry(part)
            .or_insert_with(|| Some(Trial::untroubled()));
        trial.take_if(|trial| trial.window() > 0)
    }

    pub(super) fn end(&self, part: u64, trial: Trial) {
        self.0.lock().insert(part, Some(trial));
    }

    /// Forgets the parts of which nothing is lost.
    pub(super) fn keep(&self, lost: &HashMap<u64, Vec<Unread>>) {
        self.0
            .lock()
            .retain(|part, trial| trial.is_none() || lost.contains_key(part));
    }
}
