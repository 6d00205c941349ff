//! The rules of the rooms, each shared by all who look it up.

use std::sync::Arc;

use fanfare_shared::config::{Config, RoomRule};

/// The rules of a node's configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules {
    /// In the order in which they are tried.
    rules: Arc<[Arc<RoomRule>]>,
    /// For rooms of which none is.
    fallback: Arc<RoomRule>,
}

impl Rules {
    /// The rules of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            rules: config.rooms.iter().cloned().map(Arc::new).collect(),
            fallback: Arc::default(),
        }
    }

    /// The rule of a room: the first whose pattern matches, or the defaults.
    ///
    /// Tries each pattern, and so is asked once for a membership, not for each message.
    #[must_use]
    pub fn of(&self, room: &str) -> &Arc<RoomRule> {
        self.rules
            .iter()
            .find(|rule| rule.r#match.matches(room))
            .unwrap_or(&self.fallback)
    }
}
