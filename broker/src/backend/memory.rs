//! The backend of a single node: logs in memory, no link to anywhere.

mod log;
mod presence;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ahash::RandomState;
use fanfare_shared::envelope::Draft;
use fanfare_shared::{ClientId, Headcount, Member, MemberChange, Position, Roll, RoomName};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;

use self::log::RoomLog;
use super::{
    Announcement, Backend, BackendError, Log, Page, Pending, Presence, Publish, Read, Sink,
    Snapshot, Standing,
};

/// Locks over the logs: enough that worker threads rarely meet, few enough to sweep quickly.
const STRIPES: usize = 64;

/// What the logs may take together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most logs.
    pub rooms: usize,
    /// About how many bytes they may take.
    pub bytes: usize,
}

/// Logs in memory.
///
/// A publish appends and delivers under the lock of the room's stripe, so that the order of
/// offsets is the order of delivery. Locks are taken in the direction log → hub, never the other
/// way.
///
/// At its [`Bounds`] the log that was used least recently is forgotten. Its members learn that by a
/// reset, as after any other loss.
pub struct Memory {
    sink: OnceLock<Arc<dyn Sink>>,
    hasher: RandomState,
    /// A panic under the lock leaves a log that is at worst one publication short.
    stripes: [Mutex<Logs>; STRIPES],
    bounds: Bounds,
    rooms: AtomicUsize,
    bytes: AtomicUsize,
    metrics: Metrics,
    presence: presence::Rooms,
}

/// Logs by room, by when they were last used. Clients choose the names, so the hasher has keys.
type Logs = LruCache<RoomName, RoomLog, RandomState>;

/// What the memory backend counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    logs: IntGauge,
    bytes: IntGauge,
    forgotten: IntCounter,
}

impl Default for Memory {
    /// Without bounds.
    fn default() -> Self {
        let bounds = Bounds {
            rooms: usize::MAX,
            bytes: usize::MAX,
        };
        Self::new(bounds, Metrics::default())
    }
}

impl Memory {
    /// Makes a backend without logs.
    #[must_use]
    pub fn new(bounds: Bounds, metrics: Metrics) -> Self {
        Self {
            sink: OnceLock::new(),
            hasher: RandomState::new(),
            stripes: std::array::from_fn(|_| {
                Mutex::new(LruCache::unbounded_with_hasher(RandomState::new()))
            }),
            bounds,
            rooms: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            metrics,
            presence: presence::Rooms::default(),
        }
    }

    /// Names the hub that publications are handed to; only the first call counts.
    pub fn attach(&self, sink: Arc<dyn Sink>) {
        let _ = self.sink.set(sink);
    }

    /// Forgets what has outlived its TTL. To be called every second or so.
    pub fn sweep(&self) {
        let now = Instant::now();
        for stripe in &self.stripes {
            let mut logs = stripe.lock();
            let mut ended = Vec::new();
            for (room, log) in &mut *logs {
                let before = log.weight();
                log.expire(now);
                self.weighed(before, log.weight());
                if !log.is_worth_keeping(now) {
                    ended.push(room.clone());
                }
            }
            for room in ended {
                let ended = logs.pop(&room);
                self.dropped(ended.as_ref());
            }
        }
        let gauged = |count: &AtomicUsize| i64::try_from(count.load(Ordering::Relaxed));
        self.metrics
            .logs
            .set(gauged(&self.rooms).unwrap_or(i64::MAX));
        self.metrics
            .bytes
            .set(gauged(&self.bytes).unwrap_or(i64::MAX));
    }

    fn stripe(&self, room: &RoomName) -> MutexGuard<'_, Logs> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let index = self.hasher.hash_one(room) as usize % STRIPES;
        self.stripes[index].lock()
    }

    /// Does something with a room's log, begun if there was none, and renews its life.
    fn with_log<T>(
        &self,
        logs: &mut Logs,
        room: &RoomName,
        kept: Log,
        act: impl FnOnce(&mut RoomLog) -> T,
    ) -> T {
        let now = Instant::now();
        let mut is_new = false;
        let log = logs.get_or_insert_mut_ref(room, || {
            is_new = true;
            RoomLog::begin(kept, now)
        });
        if is_new {
            self.rooms.fetch_add(1, Ordering::Relaxed);
            self.weighed(0, log.weight());
        }
        let before = log.weight();
        log.touch(kept, now);
        let done = act(log);
        self.weighed(before, log.weight());
        done
    }

    // --- bounds ---

    fn weighed(&self, before: usize, after: usize) {
        // Wraps around where it becomes less, as the counter does.
        self.bytes
            .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    fn dropped(&self, log: Option<&RoomLog>) {
        if let Some(log) = log {
            self.rooms.fetch_sub(1, Ordering::Relaxed);
            self.weighed(log.weight(), 0);
        }
    }

    fn is_within(&self, bounds: Bounds) -> bool {
        self.rooms.load(Ordering::Relaxed) <= bounds.rooms
            && self.bytes.load(Ordering::Relaxed) <= bounds.bytes
    }

    /// Forgets logs if there are too many. No lock may be held.
    fn bound(&self) {
        if self.is_within(self.bounds) {
            return;
        }
        // Some more than needed: to find the next one costs a look at every stripe.
        let enough = Bounds {
            rooms: self.bounds.rooms - self.bounds.rooms / 32,
            bytes: self.bounds.bytes - self.bounds.bytes / 32,
        };
        while !self.is_within(enough) && self.forget_one() {}
    }

    /// Forgets the log that was used least recently, or the older part of one that is large by
    /// itself. Answers whether there was one.
    fn forget_one(&self) -> bool {
        let used = |stripe: &Mutex<Logs>| Some(stripe.lock().peek_lru()?.1.touched());
        let stripes = self.stripes.iter();
        let least = stripes.filter_map(|stripe| Some((used(stripe)?, stripe)));
        let Some((_, stripe)) = least.min_by_key(|(used, _)| *used) else {
            return false;
        };
        let mut logs = stripe.lock();
        let Some((room, log)) = logs.pop_lru() else {
            return true;
        };
        self.metrics.forgotten.inc();
        if log.weight() > self.bounds.bytes / 2 {
            let mut log = log;
            let before = log.weight();
            log.trim(self.bounds.bytes / 4);
            self.weighed(before, log.weight());
            logs.push(room, log);
        } else {
            drop(logs);
            self.dropped(Some(&log));
        }
        true
    }
}

impl Default for Metrics {
    /// Metrics that are registered nowhere.
    #[allow(clippy::expect_used, reason = "the names are constant and good")]
    fn default() -> Self {
        let gauge = |name, help| IntGauge::new(name, help).expect("a good name");
        Self {
            logs: gauge(
                "fanfare_memory_logs",
                "Rooms whose logs the memory backend keeps",
            ),
            bytes: gauge("fanfare_memory_log_bytes", "About what these logs take"),
            forgotten: IntCounter::new(
                "fanfare_memory_logs_forgotten_total",
                "Logs that the memory backend forgot or cut at memory.rooms or memory.bytes",
            )
            .expect("a good name"),
        }
    }
}

impl Metrics {
    /// Registers the metrics, on nodes with another backend, too: there they stay 0. Fails if they
    /// are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::default();
        registry.register(Box::new(metrics.logs.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.forgotten.clone()))?;
        Ok(metrics)
    }
}

impl Backend for Memory {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        let sink = self.sink.get();
        if sink.is_some_and(|sink| sink.congested()) {
            return Pending::ready(Err(BackendError::Overloaded));
        }
        let Publish {
            mut publication,
            log: kept,
            key,
        } = publish;
        if kept.size == 0 {
            if let Some(sink) = sink {
                sink.deliver(Arc::new(publication));
            }
            return Pending::ready(Ok(None));
        }
        let room = publication.room.clone();
        let mut logs = self.stripe(&room);
        let position = self.with_log(&mut logs, &room, kept, |log| {
            if let Some(position) = key.as_deref().and_then(|key| log.accepted(key)) {
                return position;
            }
            let position = log.next();
            publication.position = Some(position);
            let publication = Arc::new(publication);
            log.append(Arc::clone(&publication));
            if let Some(key) = key {
                log.remember(key.into());
            }
            if let Some(sink) = sink {
                sink.deliver(publication);
            }
            position
        });
        drop(logs);
        self.bound();
        Pending::ready(Ok(Some(position)))
    }

    fn forget(&self, room: &RoomName) -> Pending<()> {
        let forgotten = self.stripe(room).pop(room);
        self.dropped(forgotten.as_ref());
        Pending::ready(Ok(()))
    }

    fn tell(&self, room: &RoomName, draft: Draft<'_>) -> Pending<Option<u64>> {
        let Some(sink) = self.sink.get() else {
            return Pending::ready(Ok(Some(0)));
        };
        if sink.congested() {
            return Pending::ready(Err(BackendError::Overloaded));
        }
        sink.deliver(Arc::new(draft.to_publication(room.clone())));
        // This one.
        Pending::ready(Ok(Some(1)))
    }

    fn subscribe(&self, _room: &RoomName, _worker: usize) -> Pending<()> {
        Pending::ready(Ok(()))
    }

    fn unsubscribe(&self, _room: &RoomName) {}

    fn read(&self, room: &RoomName, kept: Log, read: Read) -> Pending<Snapshot> {
        if kept.size == 0 {
            return Pending::ready(Ok(Snapshot::default()));
        }
        let mut logs = self.stripe(room);
        let snapshot = match read {
            Read::Begin | Read::Resume { .. } => {
                self.with_log(&mut logs, room, kept, |log| log.read(read))
            }
            Read::After { .. } | Read::Newest { .. } => {
                let log = logs.peek_mut(room);
                log.map(|log| {
                    let before = log.weight();
                    log.expire(Instant::now());
                    self.weighed(before, log.weight());
                    log.read(read)
                })
                .unwrap_or_default()
            }
        };
        drop(logs);
        self.bound();
        Pending::ready(Ok(snapshot))
    }

    fn ready(&self) -> bool {
        true
    }
}

impl Memory {
    fn announce(&self, room: &RoomName, headcount: Headcount, change: MemberChange) {
        if let Some(sink) = self.sink.get() {
            sink.announce(Announcement {
                room: room.clone(),
                headcount,
                change,
            });
        }
    }
}

impl Presence for Memory {
    fn enter(&self, room: &RoomName, member: &Member, announce: bool) -> Pending<()> {
        let mut rooms = self.presence.rooms.lock();
        let members = rooms.entry(room.clone()).or_default();
        if members.insert(member).is_none() && announce {
            let change = MemberChange::Join(member.clone());
            self.announce(room, members.headcount(), change);
        }
        Pending::ready(Ok(()))
    }

    fn exit(&self, room: &RoomName, client: ClientId, announce: bool) -> Pending<()> {
        let mut rooms = self.presence.rooms.lock();
        if let Some(members) = rooms.get_mut(room.as_str()) {
            let gone = members.remove(client);
            if let Some(identity) = gone.filter(|_| announce) {
                let change = MemberChange::Leave(Member { client, identity });
                self.announce(room, members.headcount(), change);
            }
            if members.members.is_empty() {
                rooms.remove(room.as_str());
            }
        }
        Pending::ready(Ok(()))
    }

    fn members(&self, room: &RoomName, page: Page, _announce: bool) -> Pending<Roll> {
        let rooms = self.presence.rooms.lock();
        let room = rooms.get(room.as_str());
        Pending::ready(Ok(room.map(|room| room.page(page)).unwrap_or_default()))
    }

    fn resign(&self) -> Pending<()> {
        Pending::ready(Ok(()))
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.presence.standing.subscribe()
    }
}

#[cfg(test)]
mod tests;
