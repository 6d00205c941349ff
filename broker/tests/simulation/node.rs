//! A node: a hub, and the gateway's workers with simulated clients.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::Sink;
use fanfare_broker::backend::memory::Memory;
use fanfare_broker::{Hub, Metrics, Options, Roster};
use fanfare_gateway::auth::Rules;
use fanfare_gateway::door::Doors;
use fanfare_gateway::http::handshake::Upgrade;
use fanfare_shared::config::{Config, Limits};
use fanfare_shared::{Position, RoomName};
use fastrand::Rng;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::network::Network;
use super::rooms::SimRoom;
use super::worker::{Shared, Worker};

/// How long the hubs keep rooms without members, and how often they look at the logs.
pub(crate) const LINGER: Duration = Duration::from_millis(40);
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_millis(60);

/// What all nodes of a run are like.
pub(crate) struct Shape {
    pub(crate) workers: usize,
    /// How many publications a room keeps in memory.
    pub(crate) recent: usize,
    pub(crate) config: Config,
}

impl Shape {
    /// What nodes are like that have these rooms.
    pub(crate) fn new(workers: usize, recent: usize, rooms: &[SimRoom]) -> Self {
        let config = Config {
            limits: Limits {
                // Low, so that there are slow clients, and sessions that wait.
                outbox_bytes: 500,
                inflight_commands: 2,
                new_rooms: 1_000_000,
                ..Limits::default()
            },
            rooms: rooms.iter().map(SimRoom::rule).collect(),
            ..Config::default()
        };
        Self {
            workers,
            recent,
            config,
        }
    }
}

pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Metrics,
    pub(crate) workers: Vec<Rc<Worker>>,
    comparing: JoinHandle<()>,
    restoring: Option<JoinHandle<()>>,
    /// Where the logs stood when the link was made: caught up, the members have seen that much.
    stood: Vec<(RoomName, Position)>,
}

impl Node {
    pub(crate) fn start(index: usize, shape: &Shape, network: &Network, rng: &mut Rng) -> Self {
        let metrics = Metrics::register(&Registry::new()).expect("a registry of its own");
        let options = Options {
            workers: shape.workers,
            inbox: 1_000,
            recent: shape.recent,
            linger: LINGER,
            sync_interval: SYNC_INTERVAL,
            page: 3,
            rooms: usize::MAX,
            announce_each: 0,
            log_of: Box::new(SimRoom::log_of),
        };
        let backend = network.backend(index);
        let hub = Hub::new(options, backend, Handle::current(), metrics.clone());
        let compared = Arc::clone(&hub);
        let shared = Shared {
            hub: Arc::clone(&hub),
            // Nobody is seen in these rooms.
            roster: Arc::new(Roster::new(Arc::new(Memory::default()), metrics.clone())),
            rules: Rules::new(&shape.config),
            limits: shape.config.limits.clone(),
            door: Arc::clone(Doors::default().of(&json())),
        };
        let worker = |index| Worker::new(index, shared.clone(), rng.fork());
        Self {
            index,
            hub,
            metrics,
            workers: (0..shape.workers).map(worker).collect(),
            comparing: tokio::spawn(async move { compared.compare_positions().await }),
            restoring: None,
            stood: Vec::new(),
        }
    }

    /// Has a link again, and catches up.
    pub(crate) fn connect(&mut self, network: &Network) {
        self.stood = network.lock().server.tops();
        network.connect(self.index, Arc::clone(&self.hub) as Arc<dyn Sink>);
        let (hub, network, node) = (Arc::clone(&self.hub), network.clone(), self.index);
        self.restoring = Some(tokio::spawn(async move {
            hub.restored(&|_| true).await;
            network.set_ready(node);
        }));
    }

    /// Whether it has just caught up with the logs, as they stood when its link was made.
    pub(crate) fn has_caught_up(&mut self) -> Option<Vec<(RoomName, Position)>> {
        let done = self.restoring.take_if(|restoring| restoring.is_finished());
        done.map(|_| std::mem::take(&mut self.stood))
    }

    /// Gives its link up.
    pub(crate) fn give_up(&mut self, network: &Network) {
        if let Some(restoring) = self.restoring.take() {
            restoring.abort();
        }
        if let Some(sink) = network.give_up(self.index) {
            sink.lost(&|_| true);
        }
    }

    /// Is gone, without a word.
    pub(crate) fn crash(self, network: &Network) {
        network.crash(self.index);
        self.workers.iter().for_each(|worker| worker.crash());
        self.comparing.abort();
        if let Some(restoring) = self.restoring {
            restoring.abort();
        }
    }

    /// Has the workers do all that the hub has for them.
    pub(crate) fn settle(&self) {
        for worker in &self.workers {
            while !worker.is_idle() {
                worker.step();
            }
            worker.write();
        }
    }
}

/// A handshake that leads to `fanfare.v1.json`.
fn json() -> Upgrade {
    Upgrade {
        head: 0,
        entrance: 0,
        protocol: 0,
        rooms: Vec::new(),
        echo: true,
        response: Vec::new(),
    }
}
