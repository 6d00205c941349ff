//! One run: nodes, clients and publishers, what happens to them, and how all ends well.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fanfare_broker::backend::{Pending, Publish};
use fanfare_broker::{Join, Replay, Ticket};
use fanfare_shared::{ClientId, Position};
use fastrand::Rng;

use super::client::{Client, Place, Tally};
use super::network::{Network, Weather, publication};
use super::node::Node;
use super::rooms::SimRoom;
use super::server::Payload;

/// How long faults and clients have their way.
const STEPS: u64 = 300;

/// How long everything may then take to be well again.
const PATIENCE: u64 = 3_000;

/// One step of the simulation, by the clock of the hubs.
const STEP: Duration = Duration::from_millis(1);

/// What may go wrong in a run, each with its frequency: how many of ten thousand steps.
#[derive(Debug, Clone, Copy)]
struct Faults {
    cut: u64,
    crash: u64,
    restart: u64,
    fail_over: u64,
    lose: u64,
    trim: u64,
    forget: u64,
}

pub(crate) struct World {
    rng: Rng,
    network: Network,
    faults: Faults,
    rooms: Vec<SimRoom>,
    recent: usize,
    workers: usize,
    nodes: Vec<Option<Node>>,
    clients: Vec<Client>,
    sendings: Vec<Sending>,
    payloads: Payload,
    /// How many of a hundred steps bring a publication, and a worker to look into its inbox.
    publishing: u64,
    working: u64,
    server_back: u64,
    /// Whether nothing goes wrong at all.
    calm: bool,
    /// Whether reads are refused now and then, for as long as there are faults.
    refusing: bool,
}

/// A publication that is not acknowledged.
struct Sending {
    payload: Payload,
    room: usize,
    pending: Option<Pending<Option<Position>>>,
}

impl World {
    /// Draws a run's circumstances: each fault in about every second run, and in some none.
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let calm = rng.u64(..8) == 0;
        let mut maybe = |most: u64| {
            let happens = rng.bool() && !calm;
            if happens { 1 + rng.u64(..most) } else { 0 }
        };
        let faults = Faults {
            cut: maybe(200),
            crash: maybe(60),
            restart: maybe(60),
            fail_over: maybe(60),
            lose: maybe(40),
            trim: maybe(100),
            forget: maybe(40),
        };
        let weather = Weather {
            dropped: maybe(50),
            doubled: maybe(50),
            late: maybe(50),
            refused: maybe(50),
            immediate: rng.bool(),
            latency: [1, 3, 10, 30][rng.usize(..4)],
        };
        let nodes = rng.usize(1..=3);
        let rooms: Vec<_> = (0..rng.usize(1..=3))
            .map(|number| SimRoom::random(number, &mut rng))
            .collect();
        let clients = (0..rng.usize(2..=8))
            .map(|number| Client::new(number, rooms[rng.usize(..rooms.len())].clone()))
            .collect();
        let mut world = Self {
            network: Network::new(seed, nodes, weather),
            faults,
            rooms,
            recent: [0, 1, 4, 100][rng.usize(..4)],
            workers: rng.usize(1..=2),
            nodes: Vec::new(),
            clients,
            sendings: Vec::new(),
            payloads: 0,
            publishing: rng.u64(5..60),
            working: rng.u64(20..=100),
            server_back: 0,
            calm,
            refusing: weather.refused > 0,
            rng,
        };
        for index in 0..nodes {
            let node = world.start(index);
            world.nodes.push(Some(node));
        }
        world
    }

    fn start(&self, index: usize) -> Node {
        let mut node = Node::start(index, self.workers, self.recent, &self.network);
        node.connect(&self.network);
        node
    }

    /// Runs from start to end; panics where a promise is broken. Answers what clients were told,
    /// and a number that tells one run from another.
    pub(crate) async fn run(seed: u64) -> (Vec<Tally>, u64) {
        let mut world = Self::new(seed);
        for _ in 0..STEPS {
            world.act();
            world.step().await;
        }
        world.heal().await;
        world.part().await;
        for node in world.nodes.into_iter().flatten() {
            node.crash(&world.network);
        }
        let tallies = world.clients.iter().map(|client| client.tally);
        (tallies.collect(), world.rng.u64(..))
    }

    /// Lets everything settle that can, then time pass.
    async fn step(&mut self) {
        self.network.step();
        // With the clock paused, the runtime wakes us when nobody else has anything to do.
        tokio::time::sleep(STEP).await;
        let now = self.network.lock().now;
        for node in self.nodes.iter_mut().flatten() {
            for worker in 0..node.worker_count() {
                if self.rng.u64(..100) < self.working {
                    node.work(worker, &mut self.clients, &self.network);
                }
            }
            if now.is_multiple_of(10) {
                node.hub.sweep();
            }
        }
        for index in 0..self.nodes.len() {
            self.check_readiness(index);
        }
        self.await_answers();
    }

    /// A node that is ready again has told its members all that they had missed, where the
    /// server did not refuse to tell.
    fn check_readiness(&mut self, index: usize) {
        let Some(node) = &mut self.nodes[index] else {
            return;
        };
        if self.calm {
            let gaps = node.metrics.gaps_seen.get();
            assert_eq!(gaps, 0, "node {index} saw a gap where there was none");
        }
        let Some(stood) = node.has_caught_up() else {
            return;
        };
        for worker in 0..node.worker_count() {
            node.work(worker, &mut self.clients, &self.network);
        }
        if self.refusing {
            return;
        }
        let state = self.network.lock();
        for client in &self.clients {
            let here = matches!(client.place, Place::Member { node, .. } if node == index);
            let stood = stood.iter().find(|(room, _)| *room == client.room.name);
            if let (true, Some(seen), Some((_, stood))) = (here, client.position, stood) {
                // Unless the log itself was lost or set back since.
                let top = state.server.top(&client.room.name);
                let stands = top.is_some_and(|top| state.server.leads_to(*stood, top));
                assert!(
                    !stands || state.server.leads_to(*stood, seen),
                    "{client:?}: the node is ready, the log stood at {stood:?}"
                );
            }
        }
    }

    // --- what happens ---

    fn act(&mut self) {
        self.break_something();
        self.mend_something(30);
        for number in 0..self.clients.len() {
            match self.clients[number].place {
                Place::Away if self.rng.u64(..20) == 0 => self.join(number),
                Place::Joining { .. } if self.rng.u64(..200) == 0 => self.disconnect(number),
                Place::Member { .. } if self.rng.u64(..100) == 0 => self.disconnect(number),
                Place::Member { .. } if self.rng.u64(..400) == 0 => self.join(number),
                _ => {}
            }
        }
        if self.rng.u64(..100) < self.publishing {
            for _ in 0..=self.rng.usize(..3) {
                self.publish();
            }
        }
        if self.rng.u64(..20) == 0 {
            self.network.lock().server.replicate();
        }
    }

    fn break_something(&mut self) {
        let faults = self.faults;
        let mut chance = |of_ten_thousand| self.rng.u64(..10_000) < of_ten_thousand;
        let (cut, crash) = (chance(faults.cut), chance(faults.crash));
        let (restart, fail_over) = (chance(faults.restart), chance(faults.fail_over));
        let (lose, trim, forget) = (
            chance(faults.lose),
            chance(faults.trim),
            chance(faults.forget),
        );
        let node = self.rng.usize(..self.nodes.len());
        if cut {
            self.network.cut(node);
        }
        if crash {
            self.crash(node);
        }
        if restart || fail_over || lose {
            for node in 0..self.nodes.len() {
                self.network.cut(node);
            }
            self.server_back = self.network.lock().now + self.rng.u64(1..30);
            let server = &mut self.network.lock().server;
            server.up = false;
            match (fail_over, lose) {
                (true, _) => server.fail_over(),
                (_, true) => server.lose_everything(),
                _ => server.restart(),
            }
        }
        let room = &self.rooms[self.rng.usize(..self.rooms.len())].name;
        let kept = self.rng.usize(..5);
        let server = &mut self.network.lock().server;
        if trim {
            server.trim(room, kept);
        }
        if forget {
            server.forget(room);
        }
    }

    /// Lets nodes notice what is wrong, and come back; each in one of `slowness` steps.
    fn mend_something(&mut self, slowness: u64) {
        {
            let mut state = self.network.lock();
            if state.now >= self.server_back {
                state.server.up = true;
            }
        }
        let up = self.network.lock().server.up;
        for index in 0..self.nodes.len() {
            if self.rng.u64(..slowness) > 0 {
                continue;
            }
            match &mut self.nodes[index] {
                None => self.nodes[index] = Some(self.start(index)),
                Some(node) if self.network.is_open(index) => {
                    if self.network.is_cut(index) {
                        node.give_up(&self.network);
                    }
                }
                Some(node) if up => node.connect(&self.network),
                Some(_) => {}
            }
        }
    }

    fn crash(&mut self, index: usize) {
        let Some(node) = self.nodes[index].take() else {
            return;
        };
        node.crash(&self.network);
        for client in &mut self.clients {
            let (Place::Joining { node } | Place::Member { node, .. }) = client.place else {
                continue;
            };
            if node == index {
                client.cut_off();
            }
        }
    }

    // --- clients ---

    /// Has a client join, or join again where it is.
    fn join(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.asking {
            return;
        }
        let (index, worker) = match client.place {
            Place::Member { node, worker, .. } => (node, worker),
            _ => {
                let index = self.rng.usize(..self.nodes.len());
                (index, self.rng.usize(..self.workers))
            }
        };
        let Some(node) = &self.nodes[index] else {
            return;
        };
        client.replay = match client.position {
            Some(position) if self.rng.u64(..10) > 0 => Replay::Since(position),
            _ if self.rng.bool() => Replay::Newest(self.rng.usize(..30)),
            _ => Replay::None,
        };
        client.asking = true;
        if matches!(client.place, Place::Away) {
            client.place = Place::Joining { node: index };
        }
        let ticket = Ticket {
            slot: number,
            client: ClientId(client.connection),
            id: None,
            announced: true,
        };
        let replay = client.replay;
        let join = Join {
            worker,
            ticket,
            replay,
        };
        node.hub.join(&client.room.name, join);
    }

    fn disconnect(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let (Place::Joining { node } | Place::Member { node, .. }) = client.place else {
            return;
        };
        if let Some(node) = &mut self.nodes[node] {
            node.leave(client);
        }
        client.cut_off();
    }

    // --- publishers ---

    fn publish(&mut self) {
        self.payloads += 1;
        self.sendings.push(Sending {
            payload: self.payloads,
            room: self.rng.usize(..self.rooms.len()),
            pending: None,
        });
    }

    /// Sends what was not sent, or not acknowledged; with the same key, so as not to double it.
    fn await_answers(&mut self) {
        let (network, rooms, nodes, rng) = (&self.network, &self.rooms, &self.nodes, &mut self.rng);
        self.sendings.retain_mut(|sending| {
            let room = &rooms[sending.room];
            let Some(pending) = &mut sending.pending else {
                if let Some(node) = &nodes[rng.usize(..nodes.len())] {
                    sending.pending = Some(node.hub.backend().publish(Publish {
                        publication: publication(&room.name, None, sending.payload),
                        log: room.log,
                        key: Some(sending.payload.to_string().into()),
                    }));
                }
                return true;
            };
            let mut context = Context::from_waker(Waker::noop());
            match Pin::new(pending).poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(Ok(position)) => {
                    if let Some(position) = position {
                        let logged = network.lock().server.payload(position);
                        assert_eq!(logged, Some(sending.payload), "acknowledged, not logged");
                    }
                    false
                }
                // Nobody knows what came of it. Without a log there is no key to try again with.
                Poll::Ready(Err(_)) => {
                    sending.pending = None;
                    room.log.size > 0
                }
            }
        });
    }

    // --- the end ---

    /// Ends all faults, has everyone join, and waits until each has seen everything.
    async fn heal(&mut self) {
        self.network.lock().weather.calm_down();
        self.working = 100;
        for _ in 0..PATIENCE {
            self.mend_something(3);
            for number in 0..self.clients.len() {
                if matches!(self.clients[number].place, Place::Away) {
                    self.join(number);
                }
            }
            self.step().await;
            if self.sendings.is_empty() && self.clients.iter().all(|client| self.is_well(client)) {
                return;
            }
        }
        for client in &self.clients {
            let top = self.network.lock().server.top(&client.room.name);
            assert!(self.is_well(client), "{client:?}: never got to {top:?}");
        }
        panic!("{} publications never acknowledged", self.sendings.len());
    }

    fn is_well(&self, client: &Client) -> bool {
        let room = &client.room;
        matches!(client.place, Place::Member { .. })
            && (room.log.size == 0 || client.position == self.network.lock().server.top(&room.name))
    }

    /// Has everyone leave, and waits until no node keeps anything of it.
    async fn part(&mut self) {
        for number in 0..self.clients.len() {
            self.disconnect(number);
        }
        for _ in 0..PATIENCE {
            self.mend_something(3);
            self.step().await;
            if self.nodes.iter().flatten().all(|node| self.is_empty(node)) {
                return;
            }
        }
        for node in self.nodes.iter().flatten() {
            let rooms = node.metrics.rooms.get();
            assert!(
                self.is_empty(node),
                "node {} keeps {rooms} rooms",
                node.index
            );
        }
    }

    fn is_empty(&self, node: &Node) -> bool {
        node.metrics.rooms.get() == 0 && self.network.subscriptions(node.index) == 0
    }
}
