//! What a fault costs while it lasts: the commands that Redis is given, the memory that nodes take.

use std::time::Instant;

use crate::redis_server::RedisServer;
use crate::world::World;

/// The most commands in a second that all servers together may be given while they refuse.
const COMMANDS: u64 = 5_000;
/// The most that a node may grow by meanwhile, in bytes.
const GROWTH: u64 = 32 << 20;

/// What had been done, and what nodes had, at a time.
pub(crate) struct Toll {
    since: Instant,
    commands: u64,
    /// By node: its memory.
    resident: Vec<u64>,
}

impl Toll {
    pub(crate) async fn take(world: &World) -> anyhow::Result<Self> {
        let mut resident = Vec::new();
        for node in &world.nodes {
            // One that does not run has none.
            resident.push(node.resident().unwrap_or(0));
        }
        Ok(Self {
            since: Instant::now(),
            commands: commands(&world.topology.servers).await?,
            resident,
        })
    }

    /// What has become more since than it may.
    pub(crate) async fn excess(&self, world: &World) -> anyhow::Result<Vec<String>> {
        let now = Self::take(world).await?;
        let mut excess = Vec::new();
        let seconds = (now.since - self.since).as_secs_f64();
        // A server that was started meanwhile counts anew.
        let commands = now.commands.saturating_sub(self.commands);
        let rate = commands as f64 / seconds;
        if rate > COMMANDS as f64 {
            excess.push(format!(
                "{commands} commands in {seconds:.1} s while Redis refused, above {COMMANDS} a second"
            ));
        }
        for (number, (before, after)) in self.resident.iter().zip(&now.resident).enumerate() {
            let grown = after.saturating_sub(*before);
            if *before > 0 && grown > GROWTH {
                let (grown, most) = (grown >> 20, GROWTH >> 20);
                excess.push(format!(
                    "node-{number} grew by {grown} MiB while Redis refused, above {most} MiB"
                ));
            }
        }
        Ok(excess)
    }
}

/// How many commands the servers were given, those that they refused among them.
async fn commands(servers: &[RedisServer]) -> anyhow::Result<u64> {
    let mut commands = 0;
    for server in servers {
        let stats: String = server.ask(&["INFO", "commandstats"]).await?;
        let fields = stats.split([',', ':', '\r', '\n']);
        let counted = fields.filter_map(|field| {
            let (name, count) = field.split_once('=')?;
            let counts = name == "calls" || name == "rejected_calls";
            counts.then(|| count.parse::<u64>().ok())?
        });
        commands += counted.sum::<u64>();
    }
    Ok(commands)
}
