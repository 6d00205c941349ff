//! The hub over the memory backend, and over one that does as it is told.

#[allow(dead_code, reason = "the conformance suite uses the rest")]
#[path = "../support/publications.rs"]
mod publications;

mod faults;
mod mail;
mod members;
mod memory;
mod obedient;

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::{Backend, BackendError, Log, Sink};
use fanfare_broker::{Hub, Join, Metrics, Options, Post, Replay, RoomKey, Ticket};
use fanfare_shared::{ClientId, MemberChange, Position, Publication};
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::time::timeout;

use publications::{LOG, text};

const LINGER: Duration = Duration::from_secs(5);

/// How long a test waits for what has to come. Reached only when it does not, or when the clock
/// is paused; positions are compared more often.
const DEADLINE: Duration = Duration::from_secs(40);

fn options(log: Log) -> Options {
    Options {
        workers: 2,
        inbox: 1_000_000,
        recent: 100,
        linger: LINGER,
        sync_interval: Duration::from_secs(30),
        page: usize::MAX,
        rooms: usize::MAX,
        announce_each: 2,
        log_of: Box::new(move |_| log),
    }
}

fn metrics() -> Metrics {
    Metrics::register(&Registry::new()).expect("a registry of its own")
}

/// A hub over memory, with logs that are kept like `log`.
fn over_memory(log: Log) -> (Arc<Hub>, Metrics) {
    let (memory, metrics) = (Arc::new(Memory::default()), metrics());
    let backend = Arc::clone(&memory) as Arc<dyn Backend>;
    let hub = Hub::new(options(log), backend, Handle::current(), metrics.clone());
    memory.attach(Arc::clone(&hub) as Arc<dyn Sink>);
    (hub, metrics)
}

fn join(worker: usize, replay: Replay) -> Join {
    let ticket = Ticket {
        slot: 7,
        client: ClientId(1),
        id: Some(1),
        announced: true,
    };
    Join {
        worker,
        ticket,
        replay,
    }
}

/// What a member of a worker's was told, one after the other.
#[derive(Debug, Default)]
struct Told {
    joined: Vec<(RoomKey, Option<Position>, Option<bool>)>,
    publications: Vec<Arc<Publication>>,
    refused: Vec<BackendError>,
    resets: Vec<Position>,
    changes: Vec<MemberChange>,
}

impl Told {
    async fn take(&mut self, hub: &Hub, worker: usize) {
        let mut batch = Vec::new();
        hub.inbox(worker).take(&mut batch).await;
        for post in batch {
            match post {
                Post::Publication { delivery, .. } => {
                    self.publications.push(Arc::clone(delivery.publication()));
                }
                Post::Joined {
                    room,
                    position,
                    recovered,
                    messages,
                    ..
                } => {
                    self.joined.push((room, position, recovered));
                    self.publications.extend(messages);
                }
                Post::Refused { error, .. } => self.refused.push(error),
                Post::Settled { .. } => unreachable!("every publication is awaited"),
                Post::Reset { position, .. } => self.resets.push(position),
                Post::Notice { notice, .. } => self.changes.push(notice.change().clone()),
            }
        }
    }

    /// Takes what there is and what comes until it is enough.
    async fn until(hub: &Hub, worker: usize, enough: impl Fn(&Self) -> bool) -> Self {
        let mut told = Self::default();
        while !enough(&told) {
            let more = timeout(DEADLINE, told.take(hub, worker)).await;
            assert!(more.is_ok(), "waited in vain, having been told {told:?}");
        }
        told
    }

    fn offsets(&self) -> Vec<u64> {
        let positions = self
            .publications
            .iter()
            .map(|publication| publication.position);
        positions
            .map(|position| position.expect("one").offset)
            .collect()
    }
}

async fn publish(hub: &Hub, room: &str, content: &str) -> Option<Position> {
    let published = hub.backend().publish(text(room, LOG, content));
    published.await.expect("published")
}
