//! What is done to the cluster, and how it is undone.

mod part;
mod starve;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::ledger::Kind as Broken;
use crate::proxy::{Path, Way};
use crate::stage::{Tempo, between};
use crate::stderr::Reading;
use crate::toll::Toll;
use crate::topology::{Kind, cluster, sentinel};
use crate::trust::Ending;
use crate::world::World;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// A node is killed and started again.
    NodeKill,
    /// A node is stopped in its tracks for some seconds.
    NodeStop,
    /// A node is asked to stop, drains and is started again.
    NodeDrain,
    /// Nobody reads a node's log, which is full.
    LogFull,
    /// A node's log has no reader any more.
    LogClosed,
    /// A node has no open files left.
    FilesExhausted,
    /// Redis is killed and started again with all it had.
    RedisKill,
    /// Redis is killed and started again with nothing.
    RedisWipe,
    /// Redis is killed and started again as it was a while before.
    RedisRollback,
    /// Redis refuses to write, as it does when it is full.
    RedisFull,
    /// Everything in Redis is deleted, scripts included, twice, and no connection notices.
    RedisFlush,
    /// Redis lets go of single logs, or of what says where they stand, as it does when it is full.
    RedisEvict,
    /// Redis is stopped in its tracks for some five seconds.
    RedisStop,
    /// Redis closes the connections that are subscribed, several times.
    PubsubKill,
    /// Redis cuts off who does not read quickly enough, which nobody does.
    Overflow,
    /// The connections between nodes and Redis are closed, and so are new ones.
    Cut,
    /// Nothing passes between nodes and Redis, or nothing one way; later all of it does.
    Blackhole,
    /// Nothing passes on the connections between nodes and Redis that are there, while new ones
    /// work; later what was on its way arrives.
    Stuck,
    /// What passes between nodes and Redis takes its time.
    Delay,
    /// Some subscribers stop reading while much is published.
    SlowReaders,
    /// All subscribers reconnect at once, several times.
    Storm,
    /// The sentinels are asked to promote a replica.
    Failover,
    /// A master is killed, and comes back after another has taken over.
    MasterKill,
    /// The slot of each room moves to another master.
    SlotMigration,
    /// Tokens are revoked while a node or Redis is away.
    RevokeInOutage,
    /// Tokens expire while a node or Redis is away.
    ExpireInOutage,
}

/// One fault, with what the seed has drawn for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    fault: Fault,
    /// The node, or the server, that it hits; counted round.
    target: usize,
    /// Whether it hits every way between nodes and servers instead.
    all: bool,
    /// How long it lasts.
    pub(crate) hold: Duration,
    delay: Duration,
}

const LIMIT: &str = "client-output-buffer-limit";
/// Redis' own default.
const USUAL_LIMIT: &str = "pubsub 33554432 8388608 60";

impl Fault {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// Whether it can happen there.
    pub(crate) const fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Cut | Self::Blackhole | Self::Stuck | Self::Delay => kind.has_proxies(),
            // Replicas would copy the emptiness, or the cluster would not know the server again.
            Self::RedisWipe | Self::RedisRollback => !kind.fails_over(),
            Self::Failover => matches!(kind, Kind::Sentinel),
            Self::MasterKill => kind.fails_over(),
            Self::SlotMigration => matches!(kind, Kind::Cluster),
            _ => true,
        }
    }

    /// Whether the logs themselves may lose something. Replication does not wait for replicas, so
    /// whatever makes one take over may.
    pub(crate) const fn may_lose(self, kind: Kind) -> bool {
        match self {
            Self::RedisWipe
            | Self::RedisRollback
            | Self::RedisFlush
            | Self::RedisEvict
            | Self::Failover
            | Self::MasterKill => true,
            Self::RedisKill | Self::RedisStop | Self::RevokeInOutage | Self::ExpireInOutage => {
                kind.fails_over()
            }
            _ => false,
        }
    }

    /// Whether it is done to nodes, or to what lies between them and Redis.
    const fn is_near(self) -> bool {
        matches!(
            self,
            Self::NodeKill
                | Self::NodeStop
                | Self::NodeDrain
                | Self::LogFull
                | Self::LogClosed
                | Self::FilesExhausted
                | Self::Cut
                | Self::Blackhole
                | Self::Stuck
                | Self::Delay
                | Self::Storm
        )
    }

    /// Whether it is an outage in which tokens end. It comes alone: what a Redis forgets that loses its
    /// data, nodes that were away cannot hear of.
    const fn is_of_trust(self) -> bool {
        matches!(self, Self::RevokeInOutage | Self::ExpireInOutage)
    }

    /// Draws a fault that can happen at the same time, if there is to be one: one to Redis and one
    /// on this side of it.
    pub(crate) fn draw_other(self, kind: Kind, random: &mut fastrand::Rng) -> Option<Self> {
        let others = Self::value_variants().iter().copied();
        let others: Vec<_> = others
            .filter(|other| other.fits(kind) && other.is_near() != self.is_near())
            .filter(|other| *other != Self::SlowReaders && *other != Self::Overflow)
            .filter(|other| !other.is_of_trust())
            .collect();
        let other = random.choice(others);
        other.filter(|_| random.u8(..4) == 0 && !self.is_of_trust())
    }

    /// Draws what the fault leaves open.
    pub(crate) fn draw(self, random: &mut fastrand::Rng) -> Strike {
        let (shortest, longest) = match self {
            Self::NodeKill | Self::RedisKill | Self::RedisWipe => (0, 3_000),
            Self::NodeStop | Self::Cut | Self::Blackhole => (1_000, 7_000),
            Self::RedisStop | Self::Stuck => (4_000, 6_000),
            Self::MasterKill => (4_000, 8_000),
            // Longer than a node takes to notice.
            Self::RevokeInOutage | Self::ExpireInOutage => (4_000, 7_000),
            // Long enough to tell how often it is tried again.
            Self::RedisFull => (3_000, 6_000),
            _ => (1_000, 3_000),
        };
        Strike {
            fault: self,
            target: random.usize(..1_000),
            all: random.u8(..3) == 0 || self == Self::Stuck,
            hold: between(random, shortest, longest),
            delay: between(random, 50, 500),
        }
    }
}

impl Strike {
    /// Whether it is done on this side of Redis.
    pub(crate) fn is_near(&self) -> bool {
        self.fault.is_near()
    }

    /// Strikes. An error means that the fault could not be brought about.
    pub(crate) async fn begin(&self, world: &mut World) -> anyhow::Result<()> {
        match self.fault {
            Fault::NodeKill => self.node(world).kill().await,
            Fault::NodeStop => self.node(world).signal(Signal::STOP),
            Fault::NodeDrain => self.node(world).drain().await,
            Fault::LogFull => starve::leave_log(self.node(world), Reading::Stopped).await,
            Fault::LogClosed => starve::leave_log(self.node(world), Reading::Closed).await,
            Fault::FilesExhausted => starve::take_files(world, self.number(world)).await,
            Fault::RedisKill => self.server(world).kill().await,
            Fault::RedisWipe => {
                let server = self.server(world);
                server.kill().await?;
                server.wipe()
            }
            Fault::RedisRollback => {
                let server = self.server(world);
                server.remember()?;
                sleep(self.delay * 4).await;
                server.kill().await?;
                server.recall()
            }
            Fault::RedisFull => {
                set_all(world, "maxmemory", "1").await?;
                world.toll = Some(Toll::take(world).await?);
                Ok(())
            }
            Fault::RedisFlush => {
                flush(world).await?;
                // The second time offsets are low, and soon those of before are reached again.
                sleep(self.delay * 4).await;
                flush(world).await
            }
            Fault::RedisEvict => evict(world, self.target).await,
            Fault::RedisStop => self.server(world).signal(Signal::STOP),
            Fault::PubsubKill => self.kill_subscribers(world).await,
            Fault::Overflow => self.overflow(world).await,
            Fault::Cut => self.path(world, Path::Cut),
            Fault::Blackhole => {
                let ways = [Way::Both, Way::ToServer, Way::ToNode];
                self.path(world, Path::Held(ways[self.target % ways.len()]))
            }
            Fault::Stuck => self.path(world, Path::Stuck),
            Fault::Delay => self.path(world, Path::Slow(self.delay)),
            Fault::SlowReaders => {
                world.stage.order(|orders| {
                    orders.slow = true;
                    orders.tempo = Tempo::Burst {
                        apart: 15,
                        padding: 4096,
                    };
                });
                Ok(())
            }
            Fault::Storm => {
                for _ in 0..3 {
                    world.stage.order(|orders| orders.storms += 1);
                    sleep(self.delay).await;
                }
                Ok(())
            }
            Fault::Failover => {
                let sentinels = &world.topology.sentinels;
                let sentinel = &sentinels[self.target % sentinels.len()];
                sentinel.tell(&["SENTINEL", "FAILOVER", "mymaster"]).await
            }
            Fault::MasterKill => {
                let masters = world.topology.masters().await?;
                world.struck = masters[self.target % masters.len()];
                world.topology.servers[world.struck].kill().await
            }
            Fault::SlotMigration => migrate(world, self.target).await,
            Fault::RevokeInOutage => part::begin(self, world, Ending::Revoked(self.target)).await,
            Fault::ExpireInOutage => part::begin(self, world, Ending::Expired).await,
        }
    }

    /// Undoes what can be undone, and makes sure that the fault took place.
    pub(crate) async fn end(&self, world: &mut World) -> anyhow::Result<()> {
        match self.fault {
            Fault::NodeKill | Fault::NodeDrain => self.node(world).restart().await,
            Fault::NodeStop => self.node(world).signal(Signal::CONT),
            Fault::RedisKill | Fault::RedisWipe | Fault::RedisRollback => {
                self.server(world).restart().await
            }
            Fault::LogFull => starve::read_log(world, self.number(world), Reading::Stopped).await,
            Fault::LogClosed => starve::read_log(world, self.number(world), Reading::Closed).await,
            Fault::FilesExhausted => starve::give_files(world, self.number(world)).await,
            Fault::RedisFull => {
                let excess = match world.toll.take() {
                    Some(toll) => toll.excess(world).await,
                    None => Ok(Vec::new()),
                };
                set_all(world, "maxmemory", "0").await?;
                for what in excess? {
                    world.stage.ledger().breach(Broken::Excess, what);
                }
                Ok(())
            }
            Fault::RedisStop => self.server(world).signal(Signal::CONT),
            Fault::Overflow => {
                set_all(world, LIMIT, USUAL_LIMIT).await?;
                let before = std::mem::take(&mut world.subscribers);
                let after = subscribers(world).await?;
                ensure!(
                    before.iter().any(|client| !after.contains(client)),
                    "nobody was cut off"
                );
                Ok(())
            }
            Fault::Cut | Fault::Blackhole | Fault::Stuck | Fault::Delay => {
                self.path(world, Path::Open)
            }
            Fault::SlowReaders => {
                world.stage.order(|orders| orders.slow = false);
                Ok(())
            }
            Fault::MasterKill => {
                world.topology.servers[world.struck].restart().await?;
                whole(world).await
            }
            Fault::Failover => whole(world).await,
            Fault::RevokeInOutage | Fault::ExpireInOutage => part::end(self, world).await,
            _ => Ok(()),
        }?;
        if self.fault.may_lose(world.topology.kind) && world.topology.kind.fails_over() {
            whole(world).await?;
        }
        Ok(())
    }

    /// The number of the node that it hits.
    fn number(&self, world: &World) -> usize {
        self.target % world.nodes.len()
    }

    fn node<'a>(&self, world: &'a mut World) -> &'a mut crate::node::Node {
        let number = self.number(world);
        &mut world.nodes[number]
    }

    fn server<'a>(&self, world: &'a mut World) -> &'a mut crate::redis_server::RedisServer {
        let count = world.topology.servers.len();
        &mut world.topology.servers[self.target % count]
    }

    fn path(&self, world: &World, path: Path) -> anyhow::Result<()> {
        let target = (!self.all).then_some(self.target);
        world.topology.set_path(target, path);
        Ok(())
    }

    async fn kill_subscribers(&self, world: &World) -> anyhow::Result<()> {
        let mut killed = 0;
        for _ in 0..3 {
            for server in &world.topology.servers {
                killed += server
                    .ask::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"])
                    .await?;
            }
            sleep(self.delay).await;
        }
        ensure!(killed > 0, "nobody was subscribed");
        Ok(())
    }

    async fn overflow(&self, world: &mut World) -> anyhow::Result<()> {
        world.subscribers = subscribers(world).await?;
        // Less than one publication.
        set_all(world, LIMIT, "pubsub 8192 0 0").await?;
        world.stage.order(|orders| {
            orders.tempo = Tempo::Burst {
                apart: 150,
                padding: 24 * 1024,
            };
        });
        Ok(())
    }
}

/// Sets an option of every server.
async fn set_all(world: &World, option: &str, value: &str) -> anyhow::Result<()> {
    for server in &world.topology.servers {
        server.tell(&["CONFIG", "SET", option, value]).await?;
    }
    Ok(())
}

/// The connections that are subscribed somewhere, by server and the server's names for them.
async fn subscribers(world: &World) -> anyhow::Result<Vec<(usize, String)>> {
    let mut subscribers = Vec::new();
    for (number, server) in world.topology.servers.iter().enumerate() {
        let list: String = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await?;
        let ids = list.lines().filter_map(|line| line.split(' ').next());
        subscribers.extend(ids.map(|id| (number, id.to_owned())));
    }
    Ok(subscribers)
}

async fn flush(world: &World) -> anyhow::Result<()> {
    let mut flushed = 0;
    for server in world.masters().await? {
        match server.tell(&["FLUSHALL"]).await {
            // It was replaced, and does not know it yet.
            Err(error) if format!("{error:#}").contains("NOREPLICAS") => continue,
            outcome => outcome?,
        }
        server.tell(&["SCRIPT", "FLUSH"]).await?;
        flushed += 1;
    }
    ensure!(flushed > 0, "no master accepts writes");
    Ok(())
}

/// Deletes the log of one room, or what says where it stands, of another both.
async fn evict(world: &World, target: usize) -> anyhow::Result<()> {
    let mut evicted = 0;
    for (number, room) in world.stage.rooms.iter().enumerate() {
        let suffixes: &[&str] = match (number + target) % 4 {
            0 => &[":log"],
            1 => &[":meta"],
            2 => &[":log", ":meta"],
            _ => &[],
        };
        for suffix in suffixes {
            let key = format!("fanfare:{{{}}}{suffix}", room.name);
            for server in world.masters().await? {
                // A cluster's other masters refer to the one that has it.
                evicted += server.ask::<u64>(&["DEL", &key]).await.unwrap_or(0);
            }
        }
    }
    ensure!(evicted > 0, "there was nothing to let go of");
    Ok(())
}

/// Waits until every server has its part again.
async fn whole(world: &World) -> anyhow::Result<()> {
    let topology = &world.topology;
    match topology.kind {
        Kind::Sentinel => {
            let replicas = topology.servers.len() - 1;
            sentinel::until_whole(&topology.sentinels, replicas).await
        }
        Kind::Cluster => cluster::until_whole(&topology.servers).await,
        Kind::Standalone | Kind::Several => Ok(()),
    }
}

/// Moves the slot of each room to another master.
async fn migrate(world: &World, target: usize) -> anyhow::Result<()> {
    let servers = &world.topology.servers;
    for room in &world.stage.rooms {
        let key = format!("fanfare:{{{}}}", room.name);
        let slot: u16 = servers[0].ask(&["CLUSTER", "KEYSLOT", &key]).await?;
        let from = cluster::owner(servers, slot).await?;
        let mut masters = world.topology.masters().await?;
        masters.retain(|master| *master != from);
        let to = masters.get(target % 2).context("a cluster of one master")?;
        cluster::migrate(servers, &servers[from], &servers[*to], slot).await?;
    }
    Ok(())
}
