//! A node: a hub and the workers' side of it, as a gateway would be.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use fanfare_broker::backend::Sink;
use fanfare_broker::{Hub, Members, Metrics, Options, Post};
use fanfare_shared::config::SlowConsumer;
use fanfare_shared::{Position, RoomName};
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::client::{Client, Place};
use super::network::Network;
use super::rooms::SimRoom;

/// How long the hubs keep rooms without members, and how often they look at the logs.
pub(crate) const LINGER: Duration = Duration::from_millis(40);
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_millis(60);

pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Metrics,
    workers: Vec<Members<usize>>,
    comparing: JoinHandle<()>,
    restoring: Option<JoinHandle<()>>,
    /// Where the logs stood when the link was made: caught up, the members have seen that much.
    stood: Vec<(RoomName, Position)>,
}

impl Node {
    pub(crate) fn start(index: usize, workers: usize, recent: usize, network: &Network) -> Self {
        let metrics = Metrics::register(&Registry::new()).expect("a registry of its own");
        let options = Options {
            workers,
            inbox: 1_000,
            recent,
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
        Self {
            index,
            hub,
            metrics,
            workers: (0..workers).map(|_| Members::default()).collect(),
            comparing: tokio::spawn(async move { compared.compare_positions().await }),
            restoring: None,
            stood: Vec::new(),
        }
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.workers.len()
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
        self.comparing.abort();
        if let Some(restoring) = self.restoring {
            restoring.abort();
        }
    }

    /// Takes a client out of its room.
    pub(crate) fn leave(&mut self, client: &Client) {
        if let Place::Member {
            worker, key, slot, ..
        } = client.place
        {
            let name = self.workers[worker].remove(key, slot).expect("a member");
            self.hub.leave(&name, worker);
        }
    }

    /// Does what the hub has for a worker.
    pub(crate) fn work(&mut self, worker: usize, clients: &mut [Client], network: &Network) {
        let mut batch = Vec::new();
        let inbox = Arc::clone(self.hub.inbox(worker));
        let _ = pin!(inbox.take(&mut batch)).poll(&mut Context::from_waker(Waker::noop()));
        for post in batch {
            self.take_post(worker, post, clients, network);
        }
    }

    fn take_post(&mut self, worker: usize, post: Post, clients: &mut [Client], network: &Network) {
        let server = &network.lock().server;
        match post {
            Post::Publication { room, delivery } => {
                if let Some((_, members)) = self.workers[worker].of(room) {
                    for client in members {
                        clients[*client].delivered(&delivery, server);
                    }
                }
            }
            Post::Notice { .. } => unreachable!("nobody announces members here"),
            Post::Settled { .. } => unreachable!("every publication is awaited"),
            Post::Reset { room, position, .. } => {
                if let Some((_, members)) = self.workers[worker].of(room) {
                    for client in members {
                        clients[*client].reset(position, server);
                    }
                }
            }
            Post::Joined {
                ticket,
                room,
                name,
                position,
                recovered,
                messages,
            } => {
                let client = &mut clients[ticket.slot];
                if client.connection != ticket.client.0 {
                    // Gone meanwhile.
                    self.hub.leave(&name, worker);
                    return;
                }
                if let Place::Member { key, .. } = client.place {
                    assert_eq!(key, room, "a room with members stays open");
                    assert_eq!(client.position, position, "{client:?}: joined elsewhere");
                    self.hub.leave(&name, worker);
                } else {
                    let rule = SlowConsumer::Disconnect;
                    let slot = self.workers[worker].add(room, &name, rule, client.number);
                    client.place = Place::Member {
                        node: self.index,
                        worker,
                        key: room,
                        slot,
                    };
                }
                client.joined(position, recovered, &messages, server);
            }
            Post::Refused { ticket, .. } => {
                let client = &mut clients[ticket.slot];
                if client.connection == ticket.client.0 {
                    client.asking = false;
                    client.tally.refused += 1;
                    if matches!(client.place, Place::Joining { .. }) {
                        client.place = Place::Away;
                    }
                }
            }
        }
    }
}
