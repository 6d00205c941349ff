//! The backend of a single node: logs in memory, no link to anywhere.

mod presence;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use fanfare_shared::{Epoch, Position, Publication, RoomName};

use super::{Backend, BackendError, EPOCH_TTL, Log, Pending, Publish, Read, Sink, Snapshot};

/// Locks over the logs: enough that worker threads rarely meet, few enough to sweep quickly.
const STRIPES: usize = 64;

/// The most idempotency keys that a room remembers; beyond it the oldest is forgotten.
const MAX_KEYS: usize = 65_536;

/// Logs in memory.
///
/// A publish appends and delivers under the lock of the room's stripe, so that the order of
/// offsets is the order of delivery. Locks are taken in the direction log → hub, never the other
/// way.
pub struct Memory {
    sink: OnceLock<Arc<dyn Sink>>,
    hasher: RandomState,
    stripes: [Mutex<Logs>; STRIPES],
    presence: presence::Rooms,
}

/// Logs by room. Clients choose the names, so the hasher has keys.
type Logs = HashMap<RoomName, RoomLog, RandomState>;

/// One room's log and the keys it has accepted.
struct RoomLog {
    position: Position,
    publications: VecDeque<Arc<Publication>>,
    keys: VecDeque<(Instant, Arc<str>)>,
    accepted: HashMap<Arc<str>, Position>,
    ttl: Duration,
    /// When the log was last appended to: its publications live `ttl` from here.
    appended: Instant,
    /// When the log was last used: its epoch lives longer, from here.
    touched: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            sink: OnceLock::new(),
            hasher: RandomState::new(),
            stripes: std::array::from_fn(|_| Mutex::default()),
            presence: presence::Rooms::default(),
        }
    }
}

impl Memory {
    /// Names the hub that publications are handed to; only the first call counts.
    pub fn attach(&self, sink: Arc<dyn Sink>) {
        let _ = self.sink.set(sink);
    }

    /// Forgets what has outlived its TTL. To be called every second or so.
    pub fn sweep(&self) {
        let now = Instant::now();
        for stripe in &self.stripes {
            lock(stripe).retain(|_, log| {
                log.expire(now);
                log.is_worth_keeping(now)
            });
        }
    }

    fn stripe(&self, room: &RoomName) -> MutexGuard<'_, Logs> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let index = self.hasher.hash_one(room) as usize % STRIPES;
        lock(&self.stripes[index])
    }

    fn deliver(&self, publication: Arc<Publication>) {
        if let Some(sink) = self.sink.get() {
            sink.deliver(publication);
        }
    }
}

/// A panic under the lock leaves a log that is at worst one publication short: go on with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for Memory {
    fn publish(&self, mut publish: Publish) -> Pending<Option<Position>> {
        if self.sink.get().is_some_and(|sink| sink.congested()) {
            return Pending::ready(Err(BackendError::Overloaded));
        }
        let Log { size, ttl } = publish.log;
        if size == 0 {
            self.deliver(Arc::new(publish.publication));
            return Pending::ready(Ok(None));
        }
        let room = &publish.publication.room;
        let mut stripe = self.stripe(room);
        let log = RoomLog::open(&mut stripe, room, ttl);
        if let Some(key) = &publish.key
            && let Some(position) = log.accepted.get(&**key)
        {
            return Pending::ready(Ok(Some(*position)));
        }
        let position = log.position.next();
        publish.publication.position = Some(position);
        let publication = Arc::new(publish.publication);
        log.append(Arc::clone(&publication), position, size);
        if let Some(key) = publish.key {
            log.remember(key.into(), position);
        }
        self.deliver(publication);
        Pending::ready(Ok(Some(position)))
    }

    fn subscribe(&self, _room: &RoomName, _worker: usize) -> Pending<()> {
        Pending::ready(Ok(()))
    }

    fn unsubscribe(&self, _room: &RoomName) {}

    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot> {
        if log.size == 0 {
            return Pending::ready(Ok(Snapshot::default()));
        }
        let mut stripe = self.stripe(room);
        Pending::ready(Ok(RoomLog::open(&mut stripe, room, log.ttl).read(read)))
    }

    fn ready(&self) -> bool {
        true
    }
}

impl RoomLog {
    /// Finds the room's log, or begins one with a new epoch, and renews its life.
    fn open<'a>(stripe: &'a mut Logs, room: &RoomName, ttl: Duration) -> &'a mut Self {
        let now = Instant::now();
        let log = stripe.entry(room.clone()).or_insert_with(|| Self {
            position: Position {
                epoch: Epoch::from_bits(fastrand::u64(..)),
                offset: 0,
            },
            publications: VecDeque::new(),
            keys: VecDeque::new(),
            accepted: HashMap::new(),
            ttl,
            appended: now,
            touched: now,
        });
        log.ttl = ttl;
        log.expire(now);
        log.touched = now;
        log
    }

    fn append(&mut self, publication: Arc<Publication>, position: Position, size: usize) {
        self.position = position;
        self.appended = self.touched;
        self.publications.push_back(publication);
        while self.publications.len() > size {
            self.publications.pop_front();
        }
    }

    fn remember(&mut self, key: Arc<str>, position: Position) {
        if self.keys.len() == MAX_KEYS
            && let Some((_, oldest)) = self.keys.pop_front()
        {
            self.accepted.remove(&oldest);
        }
        self.keys.push_back((self.touched, Arc::clone(&key)));
        self.accepted.insert(key, position);
    }

    fn read(&self, read: Read) -> Snapshot {
        let skip = match read {
            Read::Position => self.publications.len(),
            Read::After { position, .. } if position.epoch != self.position.epoch => {
                self.publications.len()
            }
            Read::After { position, .. } => self
                .publications
                .partition_point(|kept| kept.position.is_some_and(|at| at <= position)),
            Read::Newest { limit } => self.publications.len().saturating_sub(limit),
        };
        let limit = match read {
            Read::Position => 0,
            Read::After { limit, .. } | Read::Newest { limit } => limit,
        };
        let publications: Vec<_> = self
            .publications
            .iter()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect();
        Snapshot {
            position: Some(self.position),
            follows: self.follows(read, &publications),
            publications,
        }
    }

    /// Whether what was read is all that followed on the position asked for, up to the limit.
    fn follows(&self, read: Read, publications: &[Arc<Publication>]) -> bool {
        let Read::After { position, limit } = read else {
            return false;
        };
        let missing = self.position.offset.checked_sub(position.offset);
        let missing = missing.and_then(|missing| usize::try_from(missing).ok());
        let first = publications.first();
        position.epoch == self.position.epoch
            && missing.is_some_and(|missing| publications.len() == missing.min(limit))
            && first.is_none_or(|first| first.position == Some(position.next()))
    }

    /// Drops what has outlived its TTL.
    fn expire(&mut self, now: Instant) {
        while let Some((accepted, _)) = self.keys.front()
            && now.duration_since(*accepted) >= self.ttl
        {
            if let Some((_, key)) = self.keys.pop_front() {
                self.accepted.remove(&key);
            }
        }
        if now.duration_since(self.appended) >= self.ttl {
            self.publications.clear();
        }
    }

    /// Whether anyone may still hold a position of its epoch.
    fn is_worth_keeping(&self, now: Instant) -> bool {
        now.duration_since(self.touched) < self.ttl + EPOCH_TTL
    }
}
