//! From the hub's posts to the outboxes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::{Hub, Members, Roster};
use fanfare_shared::Identity;
use slab::Slab;

use super::Worker;
use super::connection::Connection;
use crate::dispatch::turn::Turn;
use crate::dispatch::{self, Hearing, Host};
use crate::hook::Hooks;
use crate::session::Surroundings;

impl Worker {
    /// Takes whatever the hub has, appends it to the outboxes, and writes each socket once.
    pub(super) async fn fan_out(self: Rc<Self>) {
        dispatch::fan_out(&*self).await;
    }
}

impl Host for Worker {
    fn index(&self) -> usize {
        self.index
    }

    fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    fn roster(&self) -> &Roster {
        &self.shared.roster
    }

    fn hooks(&self) -> Option<&Arc<Hooks>> {
        self.shared.hooks.as_ref()
    }

    fn anonymous(&self) -> &Arc<Identity> {
        &self.anonymous
    }

    fn connections(&self) -> &RefCell<Slab<Rc<Connection>>> {
        &self.connections
    }

    fn members(&self) -> &RefCell<Members<usize>> {
        &self.members
    }

    fn around<'a>(&'a self, connection: &'a Rc<Connection>) -> impl Surroundings + 'a {
        self.around(connection)
    }

    fn turn(&self) -> &Turn {
        &self.turn
    }

    fn hearing(&self) -> &Hearing {
        &self.hearing
    }
}

#[cfg(test)]
mod tests;
