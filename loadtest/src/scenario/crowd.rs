//! What `idle` and `storm` have in common: many connections in rooms of some size, and what the
//! server was charged for taking them.

use anyhow::ensure;
use clap::Args;

use super::Common;
use crate::dialect::Dialect;
use crate::nofile;
use crate::server::Server;
use crate::swarm::Swarm;
use crate::usage::Usage;

/// How many come, and into how many rooms.
#[derive(Debug, Args)]
pub(crate) struct Crowd {
    /// Connections
    #[arg(long, default_value_t = 15_000)]
    pub(super) connections: u32,
    /// Connections in each room
    #[arg(long, default_value_t = 1000)]
    pub(super) members: u32,
}

impl Crowd {
    /// Refuses what cannot be, and what this process may not open.
    pub(super) fn ensure_possible(&self) -> anyhow::Result<()> {
        ensure!(self.members > 0, "--members: at least 1");
        ensure!(self.connections > 0, "--connections: at least 1");
        nofile::ensure(self.connections as usize)
    }

    pub(super) const fn rooms(&self) -> u32 {
        self.connections.div_ceil(self.members)
    }

    /// Has all come; answers them, and what the server was charged.
    pub(super) fn come(
        &self,
        server: &Server,
        protocol: Dialect,
    ) -> anyhow::Result<(Swarm, Option<Usage>)> {
        let mut swarm = Swarm::new(protocol, Common::rooms(), server.address)?;
        let before = server.usage()?;
        let rooms = self.rooms();
        swarm.open((0..self.connections).map(|index| index % rooms))?;
        Ok((swarm, server.used_since(before)?))
    }
}
