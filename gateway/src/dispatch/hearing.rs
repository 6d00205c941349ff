//! What a host knows of what concerns all nodes.

use std::cell::{Cell, RefCell};

use fanfare_shared::RoomName;

use crate::auth::Revocations;
use crate::operation::{CONTROL, REVOKED};

/// What a host has heard.
#[derive(Debug)]
pub struct Hearing {
    /// What is revoked.
    pub revocations: RefCell<Revocations>,
    /// Whether it hears of revocations; none where nobody is asked for a token.
    pub(super) revoked: Option<Cell<Ear>>,
    /// Whether it hears of controls.
    pub(super) control: Cell<Ear>,
    /// Whether it has heard of all that was revoked before.
    pub(super) is_informed: Cell<bool>,
}

/// Whether a host hears of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ear {
    /// It does not, and has to ask.
    #[default]
    Deaf,
    /// It has asked.
    Asked,
    /// It does.
    Open,
}

impl Hearing {
    /// Nothing is heard yet. `tokens` says whether clients have any.
    #[must_use]
    pub fn new(tokens: bool) -> Self {
        Self {
            revocations: RefCell::default(),
            revoked: tokens.then(Cell::default),
            control: Cell::default(),
            is_informed: Cell::new(!tokens),
        }
    }

    /// Whether all is known that was revoked up to now. Before that no token is to be taken.
    #[must_use]
    pub const fn is_informed(&self) -> bool {
        self.is_informed.get()
    }

    /// Where it is noted whether a room by which nodes are reached is heard.
    pub(super) fn ear(&self, room: &RoomName) -> Option<&Cell<Ear>> {
        if *room == *REVOKED {
            return self.revoked.as_ref();
        }
        (*room == *CONTROL).then_some(&self.control)
    }
}
