//! One run: nodes, clients and publishers, what happens to them, and how all ends well.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fanfare_broker::Replay;
use fanfare_broker::backend::{Pending, Publish};
use fanfare_shared::{ClientId, Position};
use fastrand::Rng;

use super::client::{Client, Link, MOST_CLIENTS, Outcome, Tally};
use super::network::{Network, Weather, publication};
use super::node::{Node, Shape};
use super::programs::Programs;
use super::rooms::SimRoom;
use super::server::Payload;
use super::wire::{Ask, Told, next_frame};

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
    shape: Shape,
    nodes: Vec<Option<Node>>,
    clients: Vec<Client>,
    programs: Programs,
    /// Counts the connections of all nodes.
    connections: u64,
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
    way: Way,
}

/// By whom it is published.
enum Way {
    /// By nobody yet.
    None,
    /// By a node's own backend, as its server's API does.
    Server(Pending<Option<Position>>),
    /// By a client, which is told what becomes of it.
    Client,
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
        let clients: Vec<_> = (0..rng.usize(2..=MOST_CLIENTS))
            .map(|number| Client::new(number, rooms[rng.usize(..rooms.len())].clone()))
            .collect();
        let programs = Programs::random(&clients, &mut rng);
        let recent = [0, 1, 4, 100][rng.usize(..4)];
        let shape = Shape::new(rng.usize(1..=2), recent, &rooms);
        let mut world = Self {
            network: Network::new(seed, nodes, weather),
            faults,
            rooms,
            shape,
            nodes: Vec::new(),
            clients,
            programs,
            connections: 0,
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

    fn start(&mut self, index: usize) -> Node {
        let mut node = Node::start(index, &self.shape, &self.network, &mut self.rng);
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
            for worker in &node.workers {
                if self.rng.u64(..100) < self.working {
                    worker.step();
                }
            }
            if now.is_multiple_of(10) {
                node.hub.sweep();
            }
        }
        self.listen();
        for index in 0..self.nodes.len() {
            self.check_readiness(index);
        }
        self.await_answers();
    }

    /// Has each client take what it was sent, if it reads.
    fn listen(&mut self) {
        let server = &self.network.lock().server;
        for program in self.programs.iter() {
            let first = &mut self.clients[program[0]];
            let Some(Link { connection, .. }) = first.link.clone() else {
                continue;
            };
            while let Some(told) = next_frame(&mut connection.received.borrow_mut()) {
                let meant = program
                    .iter()
                    .filter(|number| self.clients[**number].is_meant(&told));
                let meant: Vec<_> = meant.copied().collect();
                let is_anybodys = !meant.is_empty() || matches!(told, Told::Error { id: None, .. });
                assert!(is_anybodys, "client {program:?} was told {told:?}");
                for number in meant {
                    self.clients[number].told(&told, server);
                }
            }
            if connection.looks_closed() {
                self.clients[program[0]].tally.slow += 1;
                for number in program {
                    self.clients[*number].cut_off();
                }
            }
        }
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
        for client in &mut self.clients {
            if client.node() == Some(index) {
                client.stick(false);
            }
        }
        node.settle();
        self.listen();
        // Cut off again, it cannot know what a failover may just have brought back.
        if self.refusing || self.network.is_cut(index) {
            return;
        }
        let state = self.network.lock();
        for client in &self.clients {
            let here = client.node() == Some(index) && client.is_to_see_all();
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
            self.act_for(number);
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
            if client.node() == Some(index) {
                client.cut_off();
            }
        }
    }

    // --- clients ---

    /// Lets a client do something, or not.
    fn act_for(&mut self, number: usize) {
        let mut once_in = |steps| self.rng.u64(..steps) == 0;
        let client = &mut self.clients[number];
        if client.link.is_none() {
            if once_in(20) {
                self.connect(number);
                for each in self.programs.of(number).to_vec() {
                    if each == number || self.rng.bool() {
                        self.join(each);
                    }
                }
            }
            return;
        }
        let is_idle = client.asked.is_empty();
        if once_in(if client.is_member { 100 } else { 200 }) {
            return self.disconnect(number);
        }
        if once_in(if client.is_stuck() { 20 } else { 200 }) {
            client.stick(!client.is_stuck());
        }
        if client.room.is_guarded && once_in(100) {
            let grants = self.rng.bool();
            self.show_token(number, grants);
        }
        let mut once_in = |steps| self.rng.u64(..steps) == 0;
        let client = &mut self.clients[number];
        // What it asks for before it knows that it is a member has to wait for that.
        if once_in(if is_idle { 400 } else { 100 }) && client.asked.len() < 5 {
            client.ask(Ask::Leave);
            if self.rng.bool() {
                self.join(number);
            }
        } else if is_idle && once_in(if client.is_member { 400 } else { 20 }) {
            self.join(number);
        }
    }

    /// Connects a client, with all that share its connection.
    fn connect(&mut self, number: usize) {
        let index = self.rng.usize(..self.nodes.len());
        let worker = self.rng.usize(..self.shape.workers);
        if let Some(node) = &self.nodes[index] {
            self.connections += 1;
            let link = Link {
                node: index,
                connection: node.workers[worker].open(ClientId(self.connections)),
            };
            for each in self.programs.of(number) {
                self.clients[*each].link = Some(link.clone());
            }
        }
    }

    fn disconnect(&mut self, number: usize) {
        for each in self.programs.of(number) {
            self.clients[*each].cut_off();
        }
    }

    /// Shows the next token of a client, which is that of all who share its connection.
    fn show_token(&mut self, number: usize, grants: bool) {
        let id = self.clients[number].show(grants);
        for each in self.programs.of(number) {
            self.clients[*each].expect_token(id, grants);
        }
    }

    /// Has a client join, or join again, if it is connected.
    fn join(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.link.is_some() {
            client.ask(Ask::Join(match client.position {
                Some(position) if self.rng.u64(..10) > 0 => Replay::Since(position),
                _ if self.rng.bool() => Replay::Newest(self.rng.usize(..30)),
                _ => Replay::None,
            }));
        }
    }

    // --- publishers ---

    fn publish(&mut self) {
        self.payloads += 1;
        let (payload, room) = (self.payloads, self.rng.usize(..self.rooms.len()));
        if self.rng.u64(..8) == 0
            && let Some(number) = self.publisher(room)
        {
            // Nobody will know what came of it.
            return self.clients[number].say(Ask::Publish(payload), None);
        }
        let way = Way::None;
        self.sendings.push(Sending { payload, room, way });
    }

    /// Some client that may publish into a room, or will soon.
    fn publisher(&mut self, room: usize) -> Option<usize> {
        let number = self.rng.usize(..self.clients.len());
        let client = &self.clients[number];
        let may_publish = client.is_to_see_all() && client.room.name == self.rooms[room].name;
        may_publish.then_some(number)
    }

    /// Sends what was not sent, or not acknowledged; with the same key, so as not to double it.
    fn await_answers(&mut self) {
        for number in 0..self.clients.len() {
            for (payload, outcome) in std::mem::take(&mut self.clients[number].outcomes) {
                let mut sendings = self.sendings.iter();
                let index = sendings.position(|sending| sending.payload == payload);
                let index = index.expect("it waits for that");
                self.settle(index, outcome);
            }
        }
        for index in (0..self.sendings.len()).rev() {
            let Sending { payload, room, .. } = self.sendings[index];
            match &mut self.sendings[index].way {
                Way::None => self.sendings[index].way = self.send(payload, room),
                Way::Client => {}
                Way::Server(pending) => {
                    let mut context = Context::from_waker(Waker::noop());
                    if let Poll::Ready(outcome) = Pin::new(pending).poll(&mut context) {
                        self.settle(index, outcome.map_err(|_| ()));
                    }
                }
            }
        }
    }

    fn send(&mut self, payload: Payload, room: usize) -> Way {
        if let Some(number) = self.publisher(room) {
            self.clients[number].ask(Ask::Publish(payload));
            return Way::Client;
        }
        let SimRoom { name, log, .. } = &self.rooms[room];
        match &self.nodes[self.rng.usize(..self.nodes.len())] {
            None => Way::None,
            Some(node) => Way::Server(node.hub.backend().publish(Publish {
                publication: publication(name, None, payload),
                log: *log,
                key: Some(payload.to_string().into()),
            })),
        }
    }

    /// Takes note of what became of a publication.
    fn settle(&mut self, index: usize, outcome: Outcome) {
        let Sending { payload, room, .. } = self.sendings[index];
        match outcome {
            Ok(position) => {
                if let Some(position) = position {
                    let logged = self.network.lock().server.payload(position);
                    assert_eq!(logged, Some(payload), "acknowledged, not logged");
                }
                self.sendings.remove(index);
            }
            // Nobody knows what came of it. Without a log there is no key to try again with.
            Err(()) if self.rooms[room].log.size == 0 => drop(self.sendings.remove(index)),
            Err(()) => self.sendings[index].way = Way::None,
        }
    }

    // --- the end ---

    /// Ends all faults, has everyone join, and waits until each has seen everything.
    async fn heal(&mut self) {
        self.network.lock().weather.calm_down();
        self.working = 100;
        for _ in 0..PATIENCE {
            self.mend_something(3);
            for number in 0..self.clients.len() {
                let client = &mut self.clients[number];
                client.stick(false);
                if client.link.is_none() {
                    self.connect(number);
                }
                let client = &mut self.clients[number];
                if client.is_waiting() {
                    continue;
                }
                if client.is_granted() {
                    if !client.is_member {
                        self.join(number);
                    }
                } else if client.link.is_some() {
                    self.show_token(number, true);
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
        client.is_member
            && !client.is_waiting()
            && (room.log.size == 0 || client.position == self.network.lock().server.top(&room.name))
    }

    /// Has everyone leave, and waits until no node keeps anything of it.
    async fn part(&mut self) {
        self.clients.iter_mut().for_each(Client::cut_off);
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
        node.workers.iter().all(|worker| worker.is_empty())
            && node.metrics.rooms.get() == 0
            && self.network.subscriptions(node.index) == 0
    }
}
