//! Everything that runs in a run: servers, nodes, clients; and how a round goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use fanfare_shared::Position;

use crate::fault::{Fault, Strike};
use crate::ledger::{Kind, Room, Tally, Violation};
use crate::node::{Node, Recipe};
use crate::presence;
use crate::publisher::Publisher;
use crate::redis_server::RedisServer;
use crate::socket::Socket;
use crate::stage::{Stage, Tempo, between};
use crate::subscriber::{HEARTBEAT, Subscriber};
use crate::talker::Talker;
use crate::toll::Toll;
use crate::topology::{self, Topology};
use crate::trust::{API_KEY, GRACE, SECRET, Trust};
use crate::wire::{Event, Format, Message};

/// How large a run is. The last of the rooms keeps a short history.
const NODES: usize = 3;
const ROOMS: usize = 7;
const PUBLISHERS: usize = 14;
const SUBSCRIBERS: usize = 12;

/// What a log keeps in most rooms: all of a round.
const DEEP: u64 = 10_000;
/// What it keeps in the last room: less than an outage takes.
const SHALLOW: u64 = 40;
/// What the audit reads of a log.
const AUDITED: u64 = 2_000;

/// Until the nodes are ready, everything is acknowledged, and every subscriber is where the log
/// is. Healing takes seconds; a busy machine takes its own.
const SETTLE: Duration = Duration::from_secs(60);
/// The nodes' `presence.lease`: short, so that it runs out within a fault.
const LEASE: Duration = Duration::from_secs(3);
/// Once all else is right, until every node says who is there: a node that crashed is noticed
/// after two leases if nobody was heard before, and what Redis refused is told again after five
/// seconds at most; a busy machine takes its own.
const PRESENCE: Duration = Duration::from_secs(2 * LEASE.as_secs() + 5 + 7);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) nodes: Vec<Node>,
    pub(crate) stage: Arc<Stage>,
    /// The server that the present fault has hit.
    pub(crate) struck: usize,
    /// Who was subscribed before it did.
    pub(crate) subscribers: Vec<(usize, String)>,
    /// What Redis and the nodes had done and had when Redis began to refuse.
    pub(crate) toll: Option<Toll>,
    /// Connections that take a node's last files.
    pub(crate) hoard: Vec<TcpStream>,
    /// Those whose tokens end in the present fault.
    pub(crate) trust: Option<Trust>,
    _clients: JoinSet<()>,
}

/// What a round came to.
pub(crate) struct Round {
    /// The fault that happened at the same time.
    pub(crate) other: Option<Fault>,
    /// Whether nothing new was published after the fault.
    pub(crate) quiet: bool,
    pub(crate) tally: Tally,
    pub(crate) violations: Vec<Violation>,
    /// Why the fault could not be brought about.
    pub(crate) void: Option<String>,
}

impl World {
    /// Starts all of it and waits until every subscriber is where it wants to be.
    pub(crate) async fn start(
        kind: topology::Kind,
        program: &Path,
        directory: &Path,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let topology = Topology::start(kind, directory, NODES).await?;
        std::fs::write(directory.join("fanfare.toml"), config())?;
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let mut environment = topology.environment(number);
            // Both ways of a node to do its work.
            let workers = if number == 0 { "1" } else { "2" };
            environment.push(("FANFARE_WORKERS".to_owned(), workers.to_owned()));
            let started = Node::start(Recipe {
                program: program.to_owned(),
                directory: directory.to_owned(),
                number,
                environment,
            });
            nodes.push(started.await?);
        }
        let rooms: Vec<_> = (0..ROOMS)
            .map(|number| match number + 1 < ROOMS {
                true => Room {
                    name: format!("deep-{number}"),
                    size: DEEP,
                },
                false => Room {
                    name: format!("shallow-{number}"),
                    size: SHALLOW,
                },
            })
            .collect();
        let addresses = nodes.iter().map(|node| node.public).collect();
        let stage = Arc::new(Stage::new(addresses, rooms, SUBSCRIBERS));
        let clients = populate(&stage, &mut fastrand::Rng::with_seed(seed));
        let mut world = Self {
            topology,
            nodes,
            stage,
            struck: 0,
            subscribers: Vec::new(),
            toll: None,
            hoard: Vec::new(),
            trust: None,
            _clients: clients,
        };
        let arrived = world.settle().await;
        anyhow::ensure!(
            arrived.is_empty(),
            "the cluster did not start well: {arrived:?}"
        );
        Ok(world)
    }

    /// Lets a fault happen, the world settle, and says what came of it. An error means that the
    /// run cannot go on.
    pub(crate) async fn round(&mut self, fault: Fault, seed: u64) -> anyhow::Result<Round> {
        let random = &mut fastrand::Rng::with_seed(seed);
        let kind = self.topology.kind;
        let strike = fault.draw(random);
        let other = fault.draw_other(kind, random);
        let second = other.map(|other| other.draw(random));
        // If so, nothing that is published later shows anyone that something is missing.
        let quiet = random.bool();
        let may_lose = fault.may_lose(kind) || other.is_some_and(|other| other.may_lose(kind));
        self.stage.ledger().begin(may_lose);
        self.stage.order(|orders| {
            orders.tempo = Tempo::Steady;
            orders.restless = true;
        });
        sleep(between(random, 500, 1_500)).await;
        let mut void = strike.begin(self).await.err();
        sleep(strike.hold / 2).await;
        if let Some(second) = second {
            void = void.or(second.begin(self).await.err());
        }
        sleep(strike.hold / 2).await;
        self.stage.order(|orders| {
            orders.tempo = if quiet { Tempo::Paused } else { Tempo::Steady };
        });
        // Redis first: a node that starts waits for it.
        let mut struck = vec![strike];
        struck.extend(second);
        struck.sort_by_key(Strike::is_near);
        for (number, strike) in struck.iter().enumerate() {
            if number > 0 {
                sleep(strike.hold / 2).await;
            }
            void = strike.end(self).await.err().or(void);
        }
        if !quiet {
            sleep(between(random, 500, 1_500)).await;
        }
        let unhealed = self.settle().await;
        let mut ledger = self.stage.ledger();
        for Violation { kind, what } in unhealed {
            ledger.breach(kind, what);
        }
        let (tally, violations) = ledger.judge();
        if fault == Fault::SlowReaders && tally.slow == 0 {
            void.get_or_insert(anyhow::anyhow!("nobody was too slow"));
        }
        Ok(Round {
            other,
            quiet,
            tally,
            violations,
            void: void.map(|error| format!("{error:#}")),
        })
    }

    /// Stops publishing and waits until nothing is open any more; answers what still is.
    async fn settle(&mut self) -> Vec<Violation> {
        let begun = Instant::now();
        // Since when only presence is not right yet.
        let mut since: Option<Instant> = None;
        self.stage.order(|orders| {
            orders.tempo = Tempo::Paused;
            orders.restless = false;
        });
        loop {
            let open = match self.look().await {
                Ok(open) => open,
                Err(error) => unhealed([format!("{error:#}")]),
            };
            // Somebody who comes back meanwhile gives it no more time.
            let is_late = if open.iter().all(|open| open.kind == Kind::Presence) {
                since.get_or_insert_with(Instant::now).elapsed() > PRESENCE
            } else {
                begun.elapsed() > SETTLE
            };
            if open.is_empty() || is_late || begun.elapsed() > SETTLE + PRESENCE {
                return open;
            }
            sleep(LOOK).await;
        }
    }

    /// What is still open: nodes that are not ready, publications that are not acknowledged,
    /// subscribers that are not where the log is; and if nothing else is, who is not known to be
    /// in a room, or to have left it.
    async fn look(&mut self) -> anyhow::Result<Vec<Violation>> {
        let mut open = Vec::new();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if !node.ready().await? {
                open.push(format!("node-{number} is not ready"));
            }
        }
        let pending = self.stage.pending();
        if pending > 0 {
            open.push(format!("{pending} publications are not acknowledged"));
        }
        if !open.is_empty() {
            return Ok(unhealed(open));
        }
        let mut logs = Vec::new();
        for room in 0..self.stage.rooms.len() {
            // Cheap at first: most of the time somebody is still behind.
            logs.push(self.history(room, 0).await?.0);
        }
        let behind = self.stage.ledger().behind(&logs);
        if !behind.is_empty() {
            return Ok(unhealed(behind));
        }
        let away = self.stage.ledger().away();
        if !away.is_empty() {
            return Ok(unhealed(away));
        }
        let wrong = presence::wrong(&self.stage).await?;
        if !wrong.is_empty() {
            return Ok(wrong);
        }
        for room in 0..self.stage.rooms.len() {
            let (top, messages) = self.history(room, AUDITED).await?;
            self.stage.ledger().audit(room, top, &messages);
        }
        Ok(Vec::new())
    }

    /// The servers that are masters now.
    pub(crate) async fn masters(&self) -> anyhow::Result<Vec<&RedisServer>> {
        let masters = self.topology.masters().await?;
        let servers = masters
            .into_iter()
            .map(|master| &self.topology.servers[master]);
        Ok(servers.collect())
    }

    /// Reads a room's log through some node.
    async fn history(&self, room: usize, limit: u64) -> anyhow::Result<(Position, Vec<Message>)> {
        let node = room % self.nodes.len();
        let mut socket = Socket::open(self.nodes[node].public, Format::Json).await?;
        let name = &self.stage.rooms[room].name;
        let command = json!({"type": "history", "id": 1, "room": name, "limit": limit});
        socket.send(&command).await?;
        let answer = timeout(SETTLE, socket.next()).await;
        match answer.context("no answer to history")?? {
            Ok(Event::History {
                epoch,
                offset,
                messages,
            }) => Ok((Position { epoch, offset }, messages)),
            other => anyhow::bail!("node-{node} cannot read the log of {name}: {other:?}"),
        }
    }
}

fn unhealed(what: impl IntoIterator<Item = String>) -> Vec<Violation> {
    let open = what.into_iter();
    open.map(|what| Violation {
        kind: Kind::Unhealed,
        what,
    })
    .collect()
}

/// The nodes' configuration: quick to notice, and every bound within reach.
fn config() -> String {
    let heartbeat = HEARTBEAT.as_secs();
    let lease = LEASE.as_secs();
    let grace = GRACE.as_secs();
    format!(
        r#"heartbeat = "{heartbeat}s"

[redis]
probe_interval = "500ms"
probe_timeout = "2s"
linger = "1s"
sync_interval = "5s"

[presence]
lease = "{lease}s"
announce_each = 3

[auth]
secret = "{SECRET}"
anonymous = true
grace = "{grace}s"

[api]
key = "{API_KEY}"

[log]
buffer_bytes = 16384

[limits]
outbox_bytes = 65536

[drain]
window = "1s"
timeout = "8s"

[[rooms]]
match = "deep-*"
history = {{ size = {DEEP}, ttl = "10m", read = "anyone" }}
presence = "anyone"
join = "anyone"
publish = "anyone"
announce = true

[[rooms]]
match = "shallow-*"
history = {{ size = {SHALLOW}, ttl = "10m", read = "anyone" }}
presence = "anyone"
join = "anyone"
publish = "anyone"
"#
    )
}

/// Sends the clients out.
fn populate(stage: &Arc<Stage>, random: &mut fastrand::Rng) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let mut rooms: Vec<_> = (0..ROOMS).collect();
        random.shuffle(&mut rooms);
        // Few enough that nodes open and close rooms all the time.
        rooms.truncate(random.usize(1..=ROOMS.div_ceil(2)));
        let subscriber = Subscriber {
            number,
            rooms,
            format: [Format::Json, Format::MsgPack][number % 2],
            slow: number % 4 == 0,
            stage: Arc::clone(stage),
            random: random.fork(),
        };
        clients.spawn(subscriber.run());
    }
    for number in 0..PUBLISHERS {
        let publisher = Publisher {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            room: number % ROOMS,
            stage: Arc::clone(stage),
            random: random.fork(),
        };
        clients.spawn(publisher.run());
    }
    for number in 0..ROOMS {
        let talker = Talker {
            number: u32::try_from(PUBLISHERS + number).unwrap_or(u32::MAX),
            room: number,
            stage: Arc::clone(stage),
            random: random.fork(),
        };
        clients.spawn(talker.run());
    }
    clients
}
