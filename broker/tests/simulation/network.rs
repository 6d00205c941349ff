//! What lies between the nodes and the server: requests, answers and publications take their time,
//! each room at its own pace, and are gone when the link they travel on is cut.
//!
//! Keeps the contract of a backend, and in some runs less than that: publications that vanish or
//! come twice or late while the link seems fine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use fanfare_broker::backend::{Backend, BackendError, Log, Pending, Publish, Read, Sink, Snapshot};
use fanfare_shared::{Data, Encoding, Position, Publication, RoomName};
use fastrand::Rng;
use tokio::sync::oneshot;

use super::server::{Found, Payload, Server};

/// How the network behaves in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// The longest that anything takes one way, in steps.
    pub(crate) latency: u64,
    /// Whether reads may be answered before the call returns.
    pub(crate) immediate: bool,
    /// How many of a thousand publications vanish, come twice, or come late.
    pub(crate) dropped: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    /// How many of a thousand reads are refused.
    pub(crate) refused: u64,
}

impl Weather {
    /// Ends all faults.
    pub(crate) fn calm_down(&mut self) {
        (self.dropped, self.doubled, self.late, self.refused) = (0, 0, 0, 0);
    }
}

/// The network, shared by the nodes' backends.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) now: u64,
    pub(crate) server: Server,
    pub(crate) weather: Weather,
    seed: u64,
    links: Vec<Link>,
    /// Ordered by time; at the same time by node and room, so that no run depends on the order
    /// in which a hub goes through its rooms.
    events: BTreeMap<(u64, usize, RoomName, u64), Event>,
}

/// One node's link.
#[derive(Default)]
struct Link {
    sink: Option<Arc<dyn Sink>>,
    /// Whether the node believes in it.
    open: bool,
    /// Whether anything gets through.
    cut: bool,
    ready: bool,
    /// Counts links: what was sent on an earlier one does not arrive.
    number: u64,
    /// What the server sends to the node.
    subscribed: BTreeSet<RoomName>,
    /// What the node last asked for, and what of that was confirmed.
    asked: BTreeSet<RoomName>,
    confirmed: BTreeSet<RoomName>,
    lanes: HashMap<RoomName, Lane>,
}

/// One room's traffic on a link.
struct Lane {
    rng: Rng,
    sequence: u64,
    /// When the last request arrives at the server, and the last publication at the node.
    request: u64,
    delivery: u64,
}

type Answer<T> = oneshot::Sender<Result<T, BackendError>>;

enum Event {
    // At the server.
    Subscribe(u64, Answer<()>),
    Unsubscribe(u64),
    Read(u64, Log, Read, Answer<Snapshot>),
    Publish(
        u64,
        usize,
        Payload,
        Option<Box<str>>,
        Answer<Option<Position>>,
    ),
    // At the node.
    Subscribed(Answer<()>),
    Answered(Answer<Snapshot>, Snapshot),
    Published(Answer<Option<Position>>, Option<Position>),
    Deliver(Arc<Publication>),
}

impl Network {
    pub(crate) fn new(seed: u64, nodes: usize, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: 0,
            server: Server::new(),
            weather,
            seed,
            links: (0..nodes).map(|_| Link::default()).collect(),
            events: BTreeMap::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic under the lock")
    }

    pub(crate) fn backend(&self, node: usize) -> Arc<NodeBackend> {
        Arc::new(NodeBackend {
            network: self.clone(),
            node,
        })
    }

    /// Lets a step pass: everything that is due arrives.
    pub(crate) fn step(&self) {
        self.lock().now += 1;
        loop {
            let delivery = {
                let state = &mut *self.lock();
                let Some(first) = state.events.first_entry() else {
                    return;
                };
                if first.key().0 > state.now {
                    return;
                }
                let ((_, node, room, _), event) = first.remove_entry();
                state.arrive(node, room, event)
            };
            if let Some((sink, publication)) = delivery {
                sink.deliver(publication);
            }
        }
    }

    // --- links ---

    /// Makes a new link, subscribed to what was wanted on the last. The node may use it at once;
    /// `ready` it is told to be when it has caught up.
    pub(crate) fn connect(&self, node: usize, sink: Arc<dyn Sink>) {
        let mut state = self.lock();
        let link = &mut state.links[node];
        link.sink = Some(sink);
        (link.open, link.cut) = (true, false);
        link.asked = link.confirmed.clone();
        link.subscribed = link.confirmed.clone();
    }

    pub(crate) fn set_ready(&self, node: usize) {
        self.lock().links[node].ready = true;
    }

    /// From now on nothing gets through, and the node does not know.
    pub(crate) fn cut(&self, node: usize) {
        let mut state = self.lock();
        let link = &mut state.links[node];
        link.cut = true;
        link.subscribed.clear();
    }

    /// The node gives the link up. All that is under way is answered: unavailable.
    pub(crate) fn give_up(&self, node: usize) -> Option<Arc<dyn Sink>> {
        let mut state = self.lock();
        state.events.retain(|(at, of, _, _), event| {
            *of != node
                || match event {
                    // What is on its way to the server may still get there.
                    Event::Publish(..) => true,
                    // What the node has read may be looked at late.
                    Event::Answered(..) => at.is_multiple_of(2),
                    _ => false,
                }
        });
        let link = &mut state.links[node];
        link.number += 1;
        (link.open, link.cut, link.ready) = (false, true, false);
        link.subscribed.clear();
        link.sink.clone()
    }

    /// The node is gone, with all that it wanted.
    pub(crate) fn crash(&self, node: usize) {
        self.give_up(node);
        let mut state = self.lock();
        let link = &mut state.links[node];
        link.sink = None;
        link.confirmed.clear();
        link.asked.clear();
    }

    pub(crate) fn is_open(&self, node: usize) -> bool {
        self.lock().links[node].open
    }

    pub(crate) fn is_cut(&self, node: usize) -> bool {
        self.lock().links[node].cut
    }

    /// What the server still sends to a node.
    pub(crate) fn subscriptions(&self, node: usize) -> usize {
        self.lock().links[node].subscribed.len()
    }
}

impl State {
    fn lane(&mut self, node: usize, room: &RoomName) -> &mut Lane {
        let seed = self.seed;
        let lanes = &mut self.links[node].lanes;
        if !lanes.contains_key(room) {
            let name = room.as_str().bytes().fold(0, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let lane = Lane {
                rng: Rng::with_seed(seed ^ name ^ (node as u64) << 56),
                sequence: 0,
                request: 0,
                delivery: 0,
            };
            lanes.insert(room.clone(), lane);
        }
        lanes.get_mut(room).expect("inserted above")
    }

    /// Sends towards the server. What is asked of a room arrives in the order of the calls, but
    /// for reads: they travel by themselves.
    fn request(&mut self, node: usize, room: &RoomName, event: Event) {
        if matches!(event, Event::Read(..)) {
            return self.send(node, room, event);
        }
        let (now, latency) = (self.now, self.weather.latency);
        let lane = self.lane(node, room);
        lane.request = lane.request.max(now + lane.rng.u64(1..=latency));
        let at = lane.request;
        self.schedule(at, node, room, event);
    }

    /// Sends either way without regard to what else is under way.
    fn send(&mut self, node: usize, room: &RoomName, event: Event) {
        let (now, latency) = (self.now, self.weather.latency);
        let at = now + self.lane(node, room).rng.u64(1..=latency);
        self.schedule(at, node, room, event);
    }

    fn deliver(&mut self, node: usize, publication: &Arc<Publication>) {
        let (now, mut weather, room) = (self.now, self.weather, &publication.room.clone());
        if publication.position.is_none() {
            // Nobody could tell.
            weather.calm_down();
        }
        let lane = self.lane(node, room);
        let mut chance = |of_thousand| lane.rng.u64(..1_000) < of_thousand;
        if chance(weather.dropped) {
            return;
        }
        let copies = 1 + u32::from(chance(weather.doubled));
        let late = chance(weather.late);
        for _ in 0..copies {
            let lane = self.lane(node, room);
            let mut at = now + lane.rng.u64(1..=weather.latency);
            if late {
                at += weather.latency;
            } else {
                lane.delivery = lane.delivery.max(at);
                at = lane.delivery;
            }
            self.schedule(at, node, room, Event::Deliver(Arc::clone(publication)));
        }
    }

    fn schedule(&mut self, at: u64, node: usize, room: &RoomName, event: Event) {
        let lane = self.lane(node, room);
        lane.sequence += 1;
        let sequence = lane.sequence;
        self.events
            .insert((at, node, room.clone(), sequence), event);
    }

    fn arrive(
        &mut self,
        node: usize,
        room: RoomName,
        event: Event,
    ) -> Option<(Arc<dyn Sink>, Arc<Publication>)> {
        let reachable = |number| {
            let link = &self.links[node];
            self.server.up && !link.cut && link.number == number
        };
        match event {
            Event::Subscribe(number, answer) if reachable(number) => {
                self.links[node].subscribed.insert(room.clone());
                self.send(node, &room, Event::Subscribed(answer));
            }
            Event::Unsubscribe(number) if reachable(number) => {
                self.links[node].subscribed.remove(&room);
            }
            Event::Read(number, log, read, answer) if reachable(number) => {
                let found = self.server.read(&room, log, read);
                let snapshot = snapshot(&room, found);
                self.send(node, &room, Event::Answered(answer, snapshot));
            }
            // One that was sent before the link was lost may be executed all the same.
            Event::Publish(number, size, payload, key, answer)
                if self.server.up && (reachable(number) || payload % 2 == 0) =>
            {
                let (position, accepted) = self.server.publish(&room, size, payload, key);
                if accepted {
                    let publication = Arc::new(publication(&room, position, payload));
                    for other in 0..self.links.len() {
                        if self.links[other].subscribed.contains(&room) {
                            self.deliver(other, &publication);
                        }
                    }
                }
                if self.links[node].number == number {
                    self.send(node, &room, Event::Published(answer, position));
                }
            }
            Event::Subscribed(answer) => {
                let link = &mut self.links[node];
                if link.asked.contains(&room) {
                    link.confirmed.insert(room);
                }
                let _ = answer.send(Ok(()));
            }
            Event::Answered(answer, snapshot) => drop(answer.send(Ok(snapshot))),
            Event::Published(answer, position) => drop(answer.send(Ok(position))),
            Event::Deliver(publication) => {
                let link = &self.links[node];
                return link.sink.clone().map(|sink| (sink, publication));
            }
            // Waits until the node gives the link up.
            lost => {
                let link = &self.links[node];
                let stale = matches!(lost, Event::Publish(number, ..) if number != link.number);
                if link.open && !stale {
                    let at = self.now + 1;
                    self.schedule(at, node, &room, lost);
                }
            }
        }
        None
    }
}

pub(crate) fn publication(
    room: &RoomName,
    position: Option<Position>,
    payload: Payload,
) -> Publication {
    Publication {
        room: room.clone(),
        position,
        time: 0,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: payload.to_string().into(),
        },
    }
}

fn payload_of(publication: &Publication) -> Payload {
    let text = std::str::from_utf8(&publication.data.bytes).expect("text");
    text.parse().expect("a number")
}

fn snapshot(room: &RoomName, found: Option<Found>) -> Snapshot {
    let Some(found) = found else {
        return Snapshot::default();
    };
    let epoch = found.position.epoch;
    let entries = found.entries.into_iter();
    Snapshot {
        position: Some(found.position),
        publications: entries
            .map(|(offset, payload)| publication(room, Some(Position { epoch, offset }), payload))
            .map(Arc::new)
            .collect(),
        follows: found.follows,
        cut_at: found.cut_at,
    }
}

/// One node's way to the network.
pub(crate) struct NodeBackend {
    network: Network,
    node: usize,
}

impl NodeBackend {
    fn request<T>(
        &self,
        room: &RoomName,
        event: impl FnOnce(&mut State, u64, Answer<T>) -> Result<Event, Pending<T>>,
    ) -> Pending<T> {
        let mut state = self.network.lock();
        if !state.links[self.node].open {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        let number = state.links[self.node].number;
        let (answer, answered) = oneshot::channel();
        match event(&mut state, number, answer) {
            Ok(event) => {
                state.request(self.node, room, event);
                Pending::Waiting(answered)
            }
            Err(known) => known,
        }
    }
}

impl Backend for NodeBackend {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        let payload = payload_of(&publish.publication);
        self.request(&publish.publication.room, |_, number, answer| {
            let size = publish.log.size;
            Ok(Event::Publish(number, size, payload, publish.key, answer))
        })
    }

    fn forget(&self, _room: &RoomName) -> Pending<()> {
        // The server loses logs by itself.
        Pending::ready(Err(BackendError::Unavailable))
    }

    fn subscribe(&self, room: &RoomName, _worker: usize) -> Pending<()> {
        self.request(room, |state, number, answer| {
            let link = &mut state.links[self.node];
            link.asked.insert(room.clone());
            if link.confirmed.contains(room) {
                return Err(Pending::ready(Ok(())));
            }
            Ok(Event::Subscribe(number, answer))
        })
    }

    fn unsubscribe(&self, room: &RoomName) {
        let mut state = self.network.lock();
        let link = &mut state.links[self.node];
        link.asked.remove(room);
        link.confirmed.remove(room);
        let number = link.number;
        if link.open {
            state.request(self.node, room, Event::Unsubscribe(number));
        }
    }

    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot> {
        self.request(room, |state, number, answer| {
            if log.size == 0 {
                return Err(Pending::ready(Ok(Snapshot::default())));
            }
            let (weather, node) = (state.weather, self.node);
            let rng = &mut state.lane(node, room).rng;
            let refused = rng.u64(..1_000) < weather.refused;
            let immediate = weather.immediate && rng.bool();
            if refused {
                return Err(Pending::ready(Err(BackendError::Overloaded)));
            }
            if immediate && state.server.up && !state.links[node].cut {
                let found = state.server.read(room, log, read);
                return Err(Pending::ready(Ok(snapshot(room, found))));
            }
            Ok(Event::Read(number, log, read, answer))
        })
    }

    fn ready(&self) -> bool {
        self.network.lock().links[self.node].ready
    }
}
