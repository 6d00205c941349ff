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
mod lease;
mod link;
mod members;
mod predecessor;
mod presence;
mod publisher;
mod queue;
mod reader;
mod refusal;
mod route;
mod script;
mod shard;
mod stats;
mod subscriber;
mod supervisor;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_shared::{Position, Publication, RoomName};
use prometheus::core::Collector;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub use connect::ConnectError;

use super::{
    Announcement, Backend, BackendError, EPOCH_TTL, Log, Page, Pending, Presence, Publish, Read,
    Scope, Sink, Snapshot, Standing,
};
use connect::Server;
use lease::Leases;
use presence::Attendance;
use route::Route;
use shard::Shard;
use stats::Stats;

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
    /// Within which time the members of a node that is gone are taken out of their rooms.
    pub lease: Duration,
    /// Up to how many members in a room each that is taken out so is announced.
    pub announce_each: usize,
    /// The most publications, and as many reads and subscriptions, that wait; one more is refused
    /// as [`BackendError::Overloaded`].
    pub queue: usize,
}

/// The link to the other nodes through Redis.
pub struct Redis {
    options: Arc<Options>,
    route: Arc<Route>,
    attendance: Arc<Attendance>,
    stats: Arc<Stats>,
    supervisors: OnceLock<Vec<AbortHandle>>,
}

impl Redis {
    /// Checks the options; connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, ConnectError> {
        let options = Arc::new(options);
        let stats = Stats::new().map_err(|error| ConnectError::Metrics(Arc::new(error)))?;
        let stats = Arc::new(stats);
        let server = Server::new(&options)?;
        let leases = Arc::new(Leases::new(options.lease, Arc::clone(&stats)));
        let shard = Shard::new(
            Arc::clone(&options),
            server,
            Arc::clone(&stats),
            Arc::clone(&leases),
            |_| true,
        );
        let route = Arc::new(Route::single(shard));
        let attendance = Attendance {
            route: Arc::clone(&route),
            leases,
            stats: Arc::clone(&stats),
            announce_each: options.announce_each,
            runtime: OnceLock::new(),
        };
        Ok(Self {
            options,
            route,
            attendance: Arc::new(attendance),
            stats,
            supervisors: OnceLock::new(),
        })
    }

    /// Tries once whether the server can be used for all that a node does, and says what is wrong
    /// if not.
    ///
    /// Not needed: once attached, a link is made as soon as that is possible.
    pub async fn check(&self) -> Result<(), ConnectError> {
        // Shards of its own, lest it meddle with links that are up.
        let other = Self::new(Options::clone(&self.options))?;
        for shard in other.route.shards() {
            shard.check().await?;
        }
        Ok(())
    }

    /// Names the hub that publications are handed to, and begins to keep a link, on `runtime`;
    /// only the first call counts.
    pub fn attach(&self, sink: Arc<dyn Sink>, runtime: &Handle) {
        self.supervisors.get_or_init(move || {
            let shards = self.route.shards().iter();
            shards
                .map(|shard| shard.attach(Arc::clone(&sink), runtime))
                .chain([self.attendance.attach(runtime)])
                .collect()
        });
    }

    /// Waits until publications get through.
    pub async fn linked(&self) {
        for shard in self.route.shards() {
            let mut ready = shard.ready.subscribe();
            // Fails only without a sender, which lives as long as the shard.
            let _ = ready.wait_for(|ready| *ready).await;
        }
    }

    /// The link's metrics, to be registered once.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.stats.collectors()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        for supervisor in self.supervisors.get().into_iter().flatten() {
            supervisor.abort();
        }
    }
}

/// Wants nothing delivered.
struct Nobody;

impl Sink for Nobody {
    fn deliver(&self, _: Arc<Publication>) {}

    fn announce(&self, _: Announcement) {}

    fn lost(&self, _: &Scope) {}

    fn restored<'a>(&'a self, _: &'a Scope) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn congested(&self) -> bool {
        false
    }
}

impl Backend for Redis {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        let room = publish.room.clone();
        self.route.ask(&room, |shard| {
            let weight = publish.envelope.len();
            let (item, answered) = publisher::Item::new(publish);
            shard.publications.push(item, weight)?;
            Ok(Pending::Waiting(answered))
        })
    }

    fn subscribe(&self, room: &RoomName) -> Pending<()> {
        self.route
            .ask(room, |shard| Ok(shard.interest.subscribe(room)))
    }

    fn unsubscribe(&self, room: &RoomName) {
        self.route
            .with(room, |shard| shard.interest.unsubscribe(room));
    }

    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot> {
        if log.size == 0 {
            return Pending::ready(Ok(Snapshot::default()));
        }
        self.route.ask(room, |shard| {
            let (item, answered) = reader::Item::new(room.clone(), log, read);
            let weight = item.limit() + 1;
            shard.reads.push(item, weight)?;
            Ok(Pending::Waiting(answered))
        })
    }

    fn ready(&self) -> bool {
        self.route.shards().iter().any(|shard| shard.is_ready())
    }
}
