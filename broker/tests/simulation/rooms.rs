//! The rooms of a run.

use std::time::Duration;

use fanfare_broker::backend::Log;
use fanfare_shared::RoomName;
use fanfare_shared::config::{Access, History, RoomPattern, RoomRule};
use fastrand::Rng;

/// A room and how its log is kept.
#[derive(Debug, Clone)]
pub(crate) struct SimRoom {
    pub(crate) name: RoomName,
    pub(crate) log: Log,
    /// Whether it takes a token to join.
    pub(crate) is_guarded: bool,
}

impl SimRoom {
    /// Makes a room; few are without history. The name says how long the log is.
    pub(crate) fn random(number: usize, rng: &mut Rng) -> Self {
        let size = [0, 2, 5, 5, 20, 20, 20, 200][rng.usize(..8)];
        let name = format!("{number}-{size}");
        Self {
            log: Self::log_of(&name),
            is_guarded: rng.u64(..3) == 0,
            name: RoomName::new(&name).expect("a valid name"),
        }
    }

    /// The rule by which nodes keep it.
    pub(crate) fn rule(&self) -> RoomRule {
        RoomRule {
            r#match: RoomPattern::new(self.name.as_str()).expect("a name is a pattern"),
            history: History {
                size: self.log.size,
                ttl: self.log.ttl,
                ..History::default()
            },
            join: if self.is_guarded {
                Access::Grant
            } else {
                Access::Anyone
            },
            presence: false,
            ..RoomRule::default()
        }
    }

    pub(crate) fn log_of(name: &str) -> Log {
        let size = name.split_once('-').and_then(|(_, size)| size.parse().ok());
        Log {
            size: size.expect("a room of this simulation"),
            ttl: Duration::from_secs(600),
        }
    }
}
