//! What is spoken at an address of the public port: what a client's messages ask for, and how it
//! is told things.
//!
//! A door is a file here, or a folder, and its line in [`Doors::default`].

mod fanfare;
#[cfg(test)]
mod lines;
mod plain;
mod speech;

use std::sync::Arc;

pub use self::speech::Door;
use self::speech::{Way, Wires};
use crate::http::entrance::Entrance;
use crate::http::handshake::Upgrade;

/// The doors of a node, and the ways to them.
#[derive(Debug)]
pub struct Doors {
    entrances: Vec<Entrance>,
    /// Behind each entrance: for each subprotocol a door without echo, and one with it.
    doors: Vec<Vec<[Arc<dyn Door>; 2]>>,
}

impl Default for Doors {
    fn default() -> Self {
        Self::new(&[
            fanfare::way,
            plain::way,
            #[cfg(test)]
            lines::way,
        ])
    }
}

impl Doors {
    fn new(ways: &[fn(&mut Wires) -> Way]) -> Self {
        let mut wires = Wires::default();
        let ways = ways.iter().map(|way| way(&mut wires));
        let (entrances, doors) = ways.map(|way| (way.entrance, way.doors)).unzip();
        Self { entrances, doors }
    }

    /// Where they are on the public port.
    #[must_use]
    pub fn entrances(&self) -> &[Entrance] {
        &self.entrances
    }

    /// The door that a handshake leads to, which was read by these entrances.
    #[must_use]
    pub fn of(&self, upgrade: &Upgrade) -> &Arc<dyn Door> {
        &self.doors[upgrade.entrance][upgrade.protocol][usize::from(upgrade.echo)]
    }

    /// The first door, for tests.
    #[cfg(test)]
    pub(crate) fn first(&self) -> &Arc<dyn Door> {
        &self.doors[0][0][1]
    }
}
