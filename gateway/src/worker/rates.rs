//! How much one connection may send in a second.

use fanfare_shared::config::Limits;

use crate::budget::{Budget, Rate};

/// What each connection may send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub(super) commands: Option<Rate>,
    pub(super) bytes: Option<Rate>,
}

/// What one has left of it.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    pub(super) commands: Budget,
    pub(super) bytes: Budget,
}

impl Rates {
    /// `None` where nothing is bounded.
    pub(super) const fn new(limits: &Limits) -> Option<Self> {
        let commands = Rate::a_second(limits.commands_per_second);
        let bytes = Rate::a_second(limits.bytes_per_second);
        if commands.is_none() && bytes.is_none() {
            return None;
        }
        Some(Self { commands, bytes })
    }
}
