//! The backend of many nodes: each room's log is a Redis stream, and publications reach the nodes
//! with interest through a Redis channel per room.
//!
//! # How does it work?
//!
//! A room belongs to a `shard`: one master, and all that waits for it. Of a shard a `supervisor`
//! keeps one link at a time: a connection for commands, and for each worker one that is subscribed,
//! made and given up together. They speak RESP3 by themselves (`connection`, `command`, `resp`), and
//! leave two things to redis-rs: to read addresses, and replies of several parts. While
//! a link is up,
//!
//! - `publish` sends a publication at once if none is under way; else it puts it in a bounded queue,
//!   from which the `publisher` sends all that wait in one pipeline, the next when the last was
//!   answered. `publish.lua` assigns the offset, appends to the stream and publishes on the channel,
//!   atomically;
//! - `read` goes through such a queue and the `reader` to `read.lua`;
//! - who is in a room goes that way, too, through the `members` task and `members.lua`;
//! - `subscribe` and `unsubscribe` note a wish, which `interest` sends with all others;
//! - what arrives goes from the socket through `inbound` straight into the sink, on the thread of
//!   the worker whose member was the first to want the room, which so need not be woken for it;
//! - a probe, a message that the node sends itself through all connections, says every
//!   [`Options::probe_interval`] whether all this works.
//!
//! When a connection closes, a probe is not heard within [`Options::probe_timeout`], the server
//! turns out to be a replica or in another run, or the sink is congested for too many publications
//! on end, the link is lost: the sink is told so, all that is under way answers
//! [`BackendError::Unavailable`], and the next link is made. It is subscribed to every room that
//! the node wants and has its probe heard before anything reaches the sink again; then the sink
//! catches up. A server that answers BUSY does nothing for anybody: its link stays.
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
//! A run is one of a process as master: a server that was demoted and promoted again is in another
//! one. Redis gives its replication another id then; it does so, too, when the first replica comes
//! and an hour after the last has gone, which costs a new epoch and nothing else. The probe looks
//! at the id, and gives the link up where it changed, lest nodes disagree on the run for longer.
//!
//! What a probe's interval cannot see is a master that is demoted and promoted again within it,
//! its connections left open all the while. Sentinel closes them; by hand it can be done.
//!
//! # Where is a room?
//!
//! With one server, there; behind sentinels at whichever is the master now, which `place` asks
//! before each link. With several servers the `ranking` says which: they know nothing of each
//! other, and one that fails takes its own rooms along. A node is ready as long as one is linked,
//! since one dead server of eight must not take every node out of the balancer.
//!
//! In a Redis Cluster a room is where its slot is, and every master with slots is a shard. The
//! `cluster` reads the map of slots again when anything casts doubt on it, and moves rooms with
//! their slots: the sink is told that they are lost, and restored once they are subscribed at their
//! new shard. A publication that is refused since its slot is elsewhere or on its way was not done;
//! it waits, for 5 s at most, and later ones of the slot behind it. Reads and subscriptions do not
//! wait: they are unavailable. Each move ends an epoch, whose positions go on to hold.
//!
//! # Who is in a room?
//!
//! Beside its log a room has its members, each held under the `lease` of its node. The leases are
//! in a register on the shard of one room, and renewed by `lease.lua`; `members.lua` enters, takes
//! out, lists, and takes out what is held under a lease that ended. A server in a run that the node
//! has not met may lack what was entered, or still have what was taken out: the node then takes
//! another lease, and enters its members again.
//!
//! # What must Redis be like?
//!
//! Redis 6.2 or newer, or Valkey; in a cluster Redis 7, for sharded channels. Channels do not belong
//! to a database, so what shares a server shares its rooms. A subscriber that Redis finds too slow
//! is cut off at `client-output-buffer-limit pubsub`, whose default of 32 MiB is tight for a busy
//! node; that is a loss like any other, and healed like one.

mod calls;
mod link;
mod names;
mod options;
mod server;
mod shard;
mod topology;
mod wire;

use std::sync::{Arc, OnceLock};

use fanfare_shared::envelope::Draft;
use fanfare_shared::{ClientId, Member, Position, Roll, RoomName};
use prometheus::core::Collector;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;

pub use self::calls::ingest::{Form, ingest};
pub use self::options::Options;
pub use self::server::connect::ConnectError;

use self::calls::lease::REGISTER;
use self::calls::members::Act;
use self::calls::{done, publish, read};
use self::link::supervisor;
use self::names::ranking::Ranking;
use self::server::connect::Server;
use self::server::place::Place;
use self::shard::stats::Families;
use self::shard::{Common, Shard};
use self::topology::attendance::Attendance;
use self::topology::cluster::{self, Cluster};
use self::topology::route::Route;
use super::{
    Backend, BackendError, Log, Page, Pending, Presence, Publish, Read, Refused, Sink, Snapshot,
    Standing, Submission,
};

/// The link to the other nodes through Redis.
pub struct Redis {
    options: Arc<Options>,
    route: Route,
    attendance: Arc<Attendance>,
    families: Arc<Families>,
    supervisors: OnceLock<Vec<AbortHandle>>,
}

impl Redis {
    /// Checks the options; connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, ConnectError> {
        let common = Common::new(options);
        let common = common.map_err(|error| ConnectError::Metrics(Arc::new(error)))?;
        let options = Arc::clone(&common.options);
        let read = |key, urls: &[String]| {
            let servers = urls.iter().map(|url| Server::new(key, url, &options));
            servers.collect::<Result<Vec<_>, _>>()
        };
        let servers = read("redis.url", &options.urls)?;
        let sentinels = read("redis.sentinels", &options.sentinels)?;
        let (families, leases) = (Arc::clone(&common.families), Arc::clone(&common.leases));
        let route = if options.cluster {
            Route::Cluster(Cluster::new(common, servers))
        } else {
            ranked(&common, servers, &sentinels)?
        };
        let attendance = Attendance::new(
            route.clone(),
            leases,
            Arc::clone(&families),
            options.announce_each,
        );
        Ok(Self {
            route,
            options,
            attendance: Arc::new(attendance),
            families,
            supervisors: OnceLock::new(),
        })
    }

    /// Tries once whether the servers can be used for all that a node does, and says what is wrong
    /// if not.
    ///
    /// Of several servers some may be away, if that may pass: theirs are not all the rooms, and a
    /// node that waited for them would serve none.
    ///
    /// Not needed: once attached, links are made as soon as that is possible.
    pub async fn check(&self) -> Result<(), ConnectError> {
        // Shards of its own, lest it meddle with links that are up.
        let other = Self::new(Options::clone(&self.options))?;
        let mut away = Vec::new();
        if let Route::Cluster(cluster) = &other.route {
            cluster.learn().await?;
        }
        let shards = other.route.shards();
        for shard in &shards {
            match supervisor::check(shard).await {
                Err(error) if error.may_pass() => away.push(error),
                outcome => outcome?,
            }
        }
        let one_answers = away.len() < shards.len();
        for error in away {
            if !one_answers {
                return Err(error);
            }
            tracing::warn!("{error}");
        }
        Ok(())
    }

    /// Names the hub that publications are handed to, and begins to keep a link, on `runtime`;
    /// only the first call counts.
    ///
    /// Answers the tasks that do so, by name. They end with the backend; one that ends before is a
    /// fault in this program, and the backend is of no use any more.
    pub fn attach(
        &self,
        sink: Arc<dyn Sink>,
        runtime: &Handle,
    ) -> Vec<(&'static str, JoinHandle<()>)> {
        let mut tasks = Vec::new();
        self.supervisors.get_or_init(|| {
            match &self.route {
                Route::Ranked(shards, _) => {
                    for shard in shards {
                        tasks.push((
                            "redis-link",
                            supervisor::attach(shard, Arc::clone(&sink), runtime),
                        ));
                    }
                }
                Route::Cluster(cluster) => {
                    let follower = cluster::run(Arc::clone(cluster), sink);
                    tasks.push(("redis-cluster", runtime.spawn(follower)));
                }
            }
            tasks.push(("presence-lease", self.attendance.attach(runtime)));
            tasks.iter().map(|(_, task)| task.abort_handle()).collect()
        });
        tasks
    }

    /// Waits until publications get through, and then a while ([`Options::connect_timeout`]) for
    /// those servers of several that are not linked yet.
    pub async fn linked(&self) {
        if let Route::Cluster(cluster) = &self.route {
            cluster.mapped().await;
        }
        let shards = self.route.shards().into_iter();
        let mut waiting: JoinSet<_> = shards
            .map(|shard| {
                let mut ready = shard.ready.subscribe();
                // Ends without a sender, which the shard has.
                async move { ready.wait_for(|ready| *ready).await.is_ok() }
            })
            .collect();
        waiting.join_next().await;
        let all = async { while waiting.join_next().await.is_some() {} };
        let _ = timeout(self.options.connect_timeout, all).await;
    }

    /// The links' metrics, to be registered once.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        self.families.collectors()
    }
}

/// Servers that know nothing of each other, each found at its address or through sentinels.
fn ranked(
    common: &Common,
    servers: Vec<Server>,
    sentinels: &[Server],
) -> Result<Route, ConnectError> {
    let names: Vec<_> = servers.iter().map(|server| &*server.address).collect();
    if let Some(twice) = (1..)
        .zip(&names)
        .find(|(next, name)| names[*next..].contains(name))
    {
        return Err(ConnectError::Twice((*twice.1).to_owned()));
    }
    let ranking = Arc::new(Ranking::new(names));
    let shard = |(index, server)| {
        let ranking = Arc::clone(&ranking);
        let rooms = move |room: &RoomName| ranking.first(room) == index;
        let place = Place::new(server, sentinels)?;
        let shard = Shard::new(common, place, rooms);
        Ok(Arc::new(shard))
    };
    let shards = (0..).zip(servers).map(shard).collect::<Result<_, _>>()?;
    Ok(Route::Ranked(shards, ranking))
}

impl Drop for Redis {
    fn drop(&mut self) {
        for supervisor in self.supervisors.get().into_iter().flatten() {
            supervisor.abort();
        }
    }
}

impl Backend for Redis {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        self.submit((&publish).into())
    }

    fn submit(&self, submission: Submission<'_>) -> Pending<Option<Position>> {
        let (item, answered) = publish::Item::new(&submission);
        match self.route.publish(item) {
            Ok(()) => Pending::Waiting(answered),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn forget(&self, room: &RoomName) -> Pending<()> {
        let (item, answered) = publish::Item::forget(room);
        match self.route.publish(item) {
            Ok(()) => Pending::Waiting(answered),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn tell(&self, room: &RoomName, draft: Draft<'_>) -> Pending<Option<u64>> {
        let (item, answered) = publish::Item::to_nodes(room, draft);
        match self.route.publish(item) {
            Ok(()) => Pending::Waiting(answered),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn subscribe(&self, room: &RoomName, worker: usize) -> Pending<()> {
        let subscriber = worker % self.options.subscribers();
        self.route
            .ask(room, |shard| Ok(shard.interest.subscribe(room, subscriber)))
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
            if shard.interest.is_unsettled(room) {
                return Err(BackendError::Unavailable);
            }
            let (item, answered) = read::Item::new(room.clone(), log, read);
            let weight = item.limit() + 1;
            shard.reads.push(item, weight)?;
            Ok(Pending::Waiting(answered))
        })
    }

    fn part(&self, room: &RoomName) -> u64 {
        self.route.part(room)
    }

    /// With several servers: through one of them at least. A server that is away takes its rooms
    /// with it and no others; were its absence to make every node not ready, it would take all.
    fn ready(&self) -> bool {
        let shards = self.route.shards();
        shards
            .iter()
            .any(|shard| shard.is_ready() && shard.refusing().is_none())
    }

    fn refusing(&self) -> Option<Refused> {
        let shards = self.route.shards();
        let linked = shards.iter().filter(|shard| shard.is_ready());
        linked.filter_map(|shard| shard.refusing()).next()
    }
}

impl Presence for Redis {
    fn enter(&self, room: &RoomName, member: &Member, announce: bool) -> Pending<()> {
        let Some(lease) = self.attendance.leasing.leases.to_enter() else {
            return Pending::ready(Err(BackendError::Unavailable));
        };
        let act = Act::Enter(room.clone(), member.clone(), lease, announce);
        self.attendance.ask(room, act, done)
    }

    fn exit(&self, room: &RoomName, client: ClientId, announce: bool) -> Pending<()> {
        let act = Act::Exit(room.clone(), client, announce);
        self.attendance.ask(room, act, done)
    }

    fn members(&self, room: &RoomName, page: Page, announce: bool) -> Pending<Roll> {
        self.attendance.members(room, page, announce)
    }

    fn resign(&self) -> Pending<()> {
        let Some(lease) = self.attendance.leasing.leases.resign() else {
            return Pending::ready(Ok(()));
        };
        self.attendance.ask(&REGISTER, Act::Resign(lease), done)
    }

    fn part(&self, room: &RoomName) -> u64 {
        self.route.part(room)
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.attendance.leasing.leases.standing()
    }
}
