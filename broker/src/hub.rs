//! What a node's workers share: the rooms with local members.
//!
//! The hub takes publications from the backend, joins and leaves from the workers, and answers
//! through the workers' inboxes. A room's lock is held while a publication is put in order and
//! posted, and while the backend is told that a room is wanted or not, since rooms of one name
//! may follow each other quickly; never while anything is awaited or read.

mod mail;
mod mailbox;
mod reading;
mod resync;
mod survey;
mod trials;

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ahash::RandomState;
use bytes::Bytes;
use fanfare_shared::envelope::Draft;
use fanfare_shared::{Hidden, Position, Publication, RoomName};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::{
    Announcement, Backend, BackendError, Log, Pending, Publish, Scope, Sink, Submission,
};
use crate::letter::QUESTIONS;
use crate::room::{Request, Room};
use crate::{Inbox, Join, Metrics, Post, RoomKey};
use mailbox::Mail;
use trials::Resync;

/// What a node says to a question of another.
pub type Respond = Box<dyn Fn(Arc<Hub>, Bytes) -> Answering + Send + Sync>;

/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// Locks over the rooms: enough that workers and the backend rarely meet.
const STRIPES: usize = 64;

/// How many rooms catch up at once after the backend was lost; bounds what a node asks of Redis
/// in one go.
const CONCURRENT_SYNCS: usize = 512;

/// How the hub is set up.
pub struct Options {
    /// How many workers there are.
    pub workers: usize,
    /// How many posts may wait for a worker before the hub is congested.
    pub inbox: usize,
    /// How many recent publications are kept per room.
    pub recent: usize,
    /// How many publications are read from a log at once: a turn's work for a worker.
    pub page: usize,
    /// How long a room without members is kept, lest a reconnect cost a round trip.
    pub linger: Duration,
    /// How often a room's position is compared with the log's.
    pub sync_interval: Duration,
    /// How many rooms there may be; a join of one more is refused as
    /// [`BackendError::Overloaded`].
    pub rooms: usize,
    /// Up to how many members a room tells of each one that comes or goes.
    pub announce_each: usize,
    /// How each room's log is kept.
    pub log_of: Box<dyn Fn(&str) -> Log + Send + Sync>,
}

/// Rooms by name. Clients choose the names, so the hasher has keys; each publication is looked up
/// several times, so it is a fast one.
type Rooms = HashMap<RoomName, Room, RandomState>;

/// The rooms of a node.
pub struct Hub {
    options: Options,
    backend: Arc<dyn Backend>,
    runtime: Handle,
    metrics: Metrics,
    inboxes: Box<[Arc<Inbox>]>,
    hasher: RandomState,
    stripes: [Mutex<Rooms>; STRIPES],
    next_key: AtomicU64,
    resync: Resync,
    mail: Arc<Mail>,
    /// Answers questions of other nodes.
    respond: OnceLock<Respond>,
    /// For the tasks that answer a room's requests.
    this: Weak<Self>,
}

impl Hub {
    /// Makes a hub without rooms. `runtime` is where answers of the backend are awaited.
    pub fn new(
        options: Options,
        backend: Arc<dyn Backend>,
        runtime: Handle,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            inboxes: (0..options.workers)
                .map(|_| Arc::new(Inbox::new(options.inbox)))
                .collect(),
            options,
            backend,
            runtime,
            metrics,
            hasher: RandomState::new(),
            stripes: std::array::from_fn(|_| Mutex::default()),
            next_key: AtomicU64::new(1),
            resync: Resync::default(),
            mail: Arc::default(),
            respond: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// How many workers there are.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.inboxes.len()
    }

    /// What a worker has to do.
    #[must_use]
    pub fn inbox(&self, worker: usize) -> &Arc<Inbox> {
        &self.inboxes[worker]
    }

    /// What links this node to the others.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Asks for a membership. The answer is a [`Joined`](crate::Post::Joined) or a
    /// [`Refused`](crate::Post::Refused) in the worker's inbox; a worker whose connection is gone
    /// by then answers a `Joined` with [`Hub::leave`].
    pub fn join(&self, name: &RoomName, join: Join) {
        let mut stripe = self.stripe(name);
        if let Some(room) = stripe.get_mut(name.as_str()) {
            let request = room.join(join, &self.inboxes);
            let (key, log) = (room.key(), room.log());
            drop(stripe);
            self.fulfil(name, key, log, request);
            return;
        }
        let open = usize::try_from(self.metrics.rooms.get()).unwrap_or_default();
        let is_hidden = name.hidden().is_some();
        if open >= self.options.rooms && !is_hidden {
            drop(stripe);
            self.metrics.rooms_refused.inc();
            self.inboxes[join.worker].push(Post::Refused {
                ticket: join.ticket,
                name: name.clone(),
                error: BackendError::Overloaded,
            });
            return;
        }
        let log = (self.options.log_of)(name.as_str());
        let key = self.new_key();
        let mut room = Room::new(
            key,
            name.clone(),
            log,
            self.options.recent,
            self.options.page,
            self.inboxes.len(),
        );
        let worker = join.worker;
        let none = room.join(join, &self.inboxes);
        debug_assert!(none.is_none());
        stripe.insert(name.clone(), room);
        if !is_hidden {
            self.metrics.rooms.inc();
        }
        let subscribed = self.backend.subscribe(name, worker);
        drop(stripe);
        self.open(name, key, log, subscribed);
    }

    /// Has the backend put a publication into its room's log and deliver it everywhere. Answers its
    /// position once it is there; `None` where the room keeps no log.
    pub fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        self.backend.publish(publish)
    }

    /// The same for a publication that is still in the message it came in.
    pub fn submit(&self, submission: Submission<'_>) -> Pending<Option<Position>> {
        self.backend.submit(submission)
    }

    /// Deletes a room's log. Its members learn of it with the next publication, or by
    /// [`Hub::look_again`].
    pub fn forget(&self, room: &RoomName) -> Pending<()> {
        self.backend.forget(room)
    }

    /// Tells every node with interest in a room that keeps no log; answers how many have it, if that
    /// is known.
    pub fn tell(&self, room: &RoomName, draft: Draft<'_>) -> Pending<Option<u64>> {
        self.backend.tell(room, draft)
    }

    /// Takes one of a worker's members out of a room.
    pub fn leave(&self, name: &RoomName, worker: usize) {
        if let Some(room) = self.stripe(name).get_mut(name.as_str()) {
            room.leave(worker);
        }
    }

    /// How a room's log is kept.
    #[must_use]
    pub fn log_of(&self, room: &str) -> Log {
        (self.options.log_of)(room)
    }

    /// Closes rooms that have had no members for a while, and reads again what could not be read, ever
    /// more seldom where that fails. To be called every second or so.
    pub fn sweep(&self) {
        let now = Instant::now();
        let may_read = self.may_read();
        let mut lost = Vec::new();
        for stripe in &self.stripes {
            stripe.lock().retain(|name, room| {
                room.shrink();
                room.tell_count(&self.inboxes);
                let idle = room.empty_since().map(|since| now.duration_since(since));
                if idle.is_some_and(|idle| idle >= self.options.linger) {
                    self.closed(name);
                    return false;
                }
                if may_read && room.is_lost() && room.member_count() > 0 {
                    lost.push((name.clone(), room.key(), room.log()));
                }
                true
            });
        }
        self.sweep_mailboxes(now);
        self.read_again(lost);
    }

    // --- opening and closing ---

    /// Reads where the log stands once the subscription is confirmed: in this order nothing is
    /// missed.
    fn open(&self, name: &RoomName, key: RoomKey, log: Log, subscribed: Pending<()>) {
        match subscribed {
            Pending::Ready(Some(outcome)) => self.opened(name, key, log, outcome),
            waiting => {
                let (name, this) = (name.clone(), self.this.clone());
                self.runtime.spawn(async move {
                    let outcome = waiting.await;
                    if let Some(hub) = this.upgrade() {
                        hub.opened(&name, key, log, outcome);
                    }
                });
            }
        }
    }

    fn opened(&self, name: &RoomName, key: RoomKey, log: Log, outcome: Result<(), BackendError>) {
        let request = self.with_room(name, key, Room::sync);
        match (outcome, request) {
            (Ok(()), request) => self.fulfil(name, key, log, request),
            (Err(error), Some(Request::Sync { attempt, .. })) => {
                self.synced(name, key, log, attempt, Err(error));
            }
            (Err(_), _) => {}
        }
    }

    fn new_key(&self) -> RoomKey {
        let number = self.next_key.fetch_add(1, Ordering::Relaxed);
        // Counting from one, it takes centuries to come round to zero.
        RoomKey(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }

    /// Lets go of a room that was taken out; its lock is still held.
    fn closed(&self, name: &RoomName) {
        if name.hidden().is_none() {
            self.metrics.rooms.dec();
        }
        self.backend.unsubscribe(name);
    }

    /// Begins to read what a room missed; answers when it has it, or could not read it.
    fn catch_up(&self, name: RoomName, key: RoomKey, log: Log) -> impl Future<Output = ()> + use<> {
        // Anew, where a join has just begun it: nobody here could await that.
        let begun = self.with_room(&name, key, |room| Some(room.sync_anew()));
        let begun = begun.and_then(|request| match request {
            Request::Sync { attempt, read, .. } => {
                Some((attempt, self.backend.read(&name, log, read)))
            }
            Request::Extend(_) => None,
        });
        let this = self.this.clone();
        async move {
            let Some((attempt, outcome)) = begun else {
                return;
            };
            let outcome = outcome.await;
            let Some(hub) = this.upgrade() else { return };
            let next = hub.synced_once(&name, key, attempt, outcome);
            if let Some(next) = next {
                hub.read_on(&name, key, log, next).await;
            }
        }
    }

    // --- locks ---

    fn stripe(&self, name: &RoomName) -> MutexGuard<'_, Rooms> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let index = self.hasher.hash_one(name) as usize % STRIPES;
        self.stripes[index].lock()
    }

    /// Does something with a room, unless it was closed since.
    fn with_room<T>(
        &self,
        name: &RoomName,
        key: RoomKey,
        act: impl FnOnce(&mut Room) -> Option<T>,
    ) -> Option<T> {
        self.stripe(name)
            .get_mut(name.as_str())
            .filter(|room| room.key() == key)
            .and_then(act)
    }

    fn rooms(&self, wanted: impl Fn(&Room) -> bool) -> Vec<(RoomName, RoomKey, Log)> {
        let mut found = Vec::new();
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            let rooms = stripe.iter().filter(|(_, room)| wanted(room));
            found.extend(rooms.map(|(name, room)| (name.clone(), room.key(), room.log())));
        }
        found
    }
}

impl Sink for Hub {
    fn deliver(&self, publication: Arc<Publication>) {
        match publication.room.hidden() {
            Some(Hidden::User(_) | Hidden::Node(_)) => return self.receive(&publication),
            Some(Hidden::Nodes(_)) if publication.room == *QUESTIONS => {
                return self.receive_question(&publication);
            }
            Some(Hidden::Nodes(_)) | None => {}
        }
        let mut stripe = self.stripe(&publication.room);
        let Some(room) = stripe.get_mut(publication.room.as_str()) else {
            return;
        };
        let request = room.deliver(publication, &self.inboxes, &self.metrics);
        if request.is_some() {
            let (name, key, log) = (room.name().clone(), room.key(), room.log());
            drop(stripe);
            // The backend may hold a lock of its own while it delivers.
            let this = self.this.clone();
            self.runtime.spawn(async move {
                if let Some(hub) = this.upgrade() {
                    hub.fulfil(&name, key, log, request);
                }
            });
        }
    }

    fn announce(&self, announcement: Announcement) {
        if let Some(room) = self
            .stripe(&announcement.room)
            .get_mut(announcement.room.as_str())
        {
            let each = self.options.announce_each as u64;
            room.announce(announcement, each, &self.inboxes);
        }
    }

    fn lost(&self, rooms: &Scope) {
        for stripe in &self.stripes {
            for (name, room) in &mut *stripe.lock() {
                if rooms(name) {
                    room.lose(&self.inboxes);
                }
            }
        }
    }

    fn restored<'a>(&'a self, rooms: &'a Scope) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {
            let mut catching_up = JoinSet::new();
            for (name, key, log) in self.rooms(Room::is_behind) {
                if !rooms(&name) {
                    continue;
                }
                if catching_up.len() == CONCURRENT_SYNCS {
                    catching_up.join_next().await;
                }
                catching_up.spawn_on(self.catch_up(name, key, log), &self.runtime);
            }
            self.listen_again(rooms, usize::MAX);
            catching_up.join_all().await;
        })
    }

    fn congested(&self) -> bool {
        self.inboxes.iter().any(|inbox| inbox.full())
    }
}
