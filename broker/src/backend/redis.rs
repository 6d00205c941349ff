//! The backend of many nodes: each room's log is a Redis stream, and publications reach the nodes
//! with interest through a Redis channel per room.
//!
//! # How does it work?
//!
//! A `supervisor` keeps one link at a time: a connection for commands and one that is subscribed,
//! both of redis-rs, made and given up together. While a link is up,
//!
//! - `publish` puts a publication in a bounded queue, from which the `publisher` sends all that
//!   wait in one pipeline, the next when the last was answered. `publish.lua` assigns the offset,
//!   appends to the stream and publishes on the channel, atomically;
//! - `read` goes the same way through the `reader` and `read.lua`;
//! - `subscribe` and `unsubscribe` note a wish, which the `subscriber` sends with all others;
//! - what arrives goes from the socket through `inbound` straight into the sink;
//! - a probe, a message that the node sends itself through both connections, says every
//!   [`Options::probe_interval`] whether all this works.
//!
//! When a connection closes, a probe is not heard within [`Options::probe_timeout`], the server
//! turns out to be a replica, or the sink is congested for too many publications on end, the link
//! is lost: the sink is told so, all that is under way answers [`BackendError::Unavailable`], and
//! the next link is made. It is subscribed to every room that the node wants and has its probe
//! heard before anything reaches the sink again; then the sink catches up.
//!
//! # What if Redis loses data?
//!
//! A log that is gone begins again with another epoch. A log that lost its end, because Redis was
//! restarted from an older state or a replica took over that had not received it, would give the
//! same offsets to other publications: hence the first publication in another run of the server
//! begins another epoch, too, in which the offsets go on and the publications kept remain.
//! `meta` remembers up to where positions of the epoch before still hold, and [`Snapshot::follows`]
//! tells who reads from one of them that nothing is missing.
//!
//! A server that was demoted and promoted again is in the same run all the while: a room that
//! nobody published to in between could have an offset given twice. That takes a failover there
//! and back, and will have to be told apart before Sentinel is supported.
//!
//! # What must Redis be like?
//!
//! Redis 6 or newer, or Valkey; one master, no cluster. Channels do not belong to a database, so
//! what shares a server shares its rooms. A subscriber that Redis finds too slow is cut off at
//! `client-output-buffer-limit pubsub`, whose default of 32 MiB is tight for a busy node; that is
//! a loss like any other, and healed like one.

mod connect;
mod inbound;
mod keys;
mod link;
mod predecessor;
mod publisher;
mod queue;
mod reader;
mod refusal;
mod script;
mod stats;
mod subscriber;
mod supervisor;

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_shared::{Position, Publication, RoomName};
use prometheus::core::Collector;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use connect::ConnectError;

use super::{
    Announcement, Backend, BackendError, EPOCH_TTL, Log, Pending, Publish, Read, Sink, Snapshot,
};
use connect::Server;
use link::Link;
use predecessor::Predecessor;
use queue::{Load, Queue};
use stats::Stats;
use subscriber::Interest;

/// How the link is set up. The names are those of the configuration's `redis` section.
#[derive(Clone)]
pub struct Options {
    /// Where Redis is: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or
    /// `unix:///path`.
    pub url: String,
    /// Certificates in PEM form that a `rediss://` server's is checked against, instead of the
    /// public authorities.
    pub authorities: Option<Vec<u8>>,
    /// The node's name: its probe's channel.
    pub node: String,
    /// How often the node sends itself a message.
    pub probe_interval: Duration,
    /// How long that message may take before the link is given up.
    pub probe_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// The most publications in one round trip.
    pub pipeline: usize,
    /// The most publications, and as many reads and subscriptions, that wait; one more is refused
    /// as [`BackendError::Overloaded`].
    pub queue: usize,
}

/// The most bytes of envelopes that wait; more are refused as [`BackendError::Overloaded`].
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// The link to the other nodes through Redis.
pub struct Redis {
    shared: Arc<Shared>,
    supervisor: OnceLock<AbortHandle>,
}

/// What the calls and the tasks of the link have in common.
struct Shared {
    options: Options,
    server: Server,
    publications: Queue<publisher::Item>,
    reads: Queue<reader::Item>,
    interest: Interest,
    predecessor: Predecessor,
    stats: Arc<Stats>,
    ready: watch::Sender<bool>,
    /// Whether the sink was told of a loss and has not caught up since.
    gapped: AtomicBool,
}

impl Redis {
    /// Checks the options; connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, ConnectError> {
        Ok(Self {
            shared: Arc::new(Shared::new(options)?),
            supervisor: OnceLock::new(),
        })
    }

    /// Tries once whether the server can be used for all that a node does, and says what is wrong
    /// if not.
    ///
    /// Not needed: once attached, a link is made as soon as that is possible.
    pub async fn check(&self) -> Result<(), ConnectError> {
        // One of its own, lest it meddle with a link that is up.
        let shared = Shared::new(self.shared.options.clone())?;
        let nobody: Arc<dyn Sink> = Arc::new(Nobody);
        let mut link = Link::make(&shared, &nobody).await?;
        link.touch_a_key(&shared).await
    }

    /// Names the hub that publications are handed to, and begins to keep a link, on `runtime`;
    /// only the first call counts.
    pub fn attach(&self, sink: Arc<dyn Sink>, runtime: &Handle) {
        self.supervisor.get_or_init(|| {
            let shared = Arc::clone(&self.shared);
            runtime.spawn(supervisor::run(shared, sink)).abort_handle()
        });
    }

    /// Waits until publications get through.
    pub async fn linked(&self) {
        let mut ready = self.shared.ready.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// The link's metrics, to be registered once.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.shared.stats.collectors()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.abort();
        }
    }
}

impl Shared {
    fn new(options: Options) -> Result<Self, ConnectError> {
        let items = options.queue;
        Ok(Self {
            server: Server::new(&options)?,
            publications: Queue::new(Load {
                items,
                weight: MAX_QUEUED_BYTES,
            }),
            reads: Queue::new(Load {
                items,
                weight: usize::MAX,
            }),
            interest: Interest::new(items),
            predecessor: Predecessor::default(),
            stats: Arc::new(Stats::new().map_err(|error| ConnectError::Metrics(Arc::new(error)))?),
            ready: watch::Sender::new(false),
            gapped: AtomicBool::new(false),
            options,
        })
    }

    fn set_ready(&self, ready: bool) {
        // First, for whoever waits and then looks at it.
        self.stats.connected.set(ready.into());
        self.ready.send_replace(ready);
    }
}

/// Wants nothing delivered.
struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, _: Arc<Publication>) {}

    fn announce(&self, _: Announcement) {}

    fn lost(&self) {}

    fn restored(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn congested(&self) -> bool {
        false
    }
}

impl Backend for Redis {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        let weight = publish.envelope.len();
        let (item, answered) = publisher::Item::new(publish);
        match self.shared.publications.push(item, weight) {
            Ok(()) => Pending::Waiting(answered),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn subscribe(&self, room: &RoomName) -> Pending<()> {
        self.shared.interest.subscribe(room)
    }

    fn unsubscribe(&self, room: &RoomName) {
        self.shared.interest.unsubscribe(room);
    }

    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot> {
        if log.size == 0 {
            return Pending::ready(Ok(Snapshot::default()));
        }
        let (item, answered) = reader::Item::new(room.clone(), log, read);
        let weight = item.limit() + 1;
        match self.shared.reads.push(item, weight) {
            Ok(()) => Pending::Waiting(answered),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn ready(&self) -> bool {
        *self.shared.ready.borrow()
    }
}
