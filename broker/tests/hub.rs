//! The hub over the memory backend, and over one that does as it is told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::{
    Backend, BackendError, Log, Pending, Publish, Read, Scope, Sink, Snapshot,
};
use fanfare_broker::{Hub, Join, Metrics, Options, Post, Replay, RoomKey, Ticket};
use fanfare_shared::{ClientId, Position, Publication, RoomName};
use prometheus::Registry;
use support::publications::{LOG, NO_LOG, named, text};
use tokio::runtime::Handle;
use tokio::time::{advance, timeout};

#[allow(dead_code, reason = "the conformance suite uses the rest")]
mod support {
    pub(crate) mod publications;
}

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
                Post::Reset { position, .. } => self.resets.push(position),
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

// --- over memory ---

#[tokio::test]
async fn a_member_sees_the_replay_and_then_what_is_published_without_gap_or_repeat() {
    let (hub, _) = over_memory(LOG);
    let start = publish(&hub, "a", "0").await.expect("a position");
    let (publisher, published) = (Arc::clone(&hub), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&published);
    let publishing = thread::spawn(move || {
        for number in 1..=5_000 {
            let publish = text("a", LOG, &number.to_string());
            assert!(matches!(
                publisher.backend().publish(publish),
                Pending::Ready(Some(Ok(_)))
            ));
            count.store(number, Ordering::SeqCst);
        }
    });
    // Each joins somewhere in the middle, with the position of the very first.
    for (worker, after) in [(0, 1), (1, 50), (0, 1_000), (1, 2_500)] {
        while published.load(Ordering::SeqCst) < after {
            thread::yield_now();
        }
        hub.join(&named("a"), join(worker, Replay::Since(start)));
    }
    publishing.join().expect("no panic");
    for worker in 0..2 {
        let last = |told: &Told| told.offsets().last() == Some(&5_001);
        let told = Told::until(&hub, worker, |told| told.joined.len() == 2 && last(told)).await;
        assert!(told.joined.iter().all(|joined| joined.2 == Some(true)));
        // The second to join came with a replay of its own.
        let offsets = told.offsets();
        let seam = (1..offsets.len()).rfind(|&at| offsets[at] == 2);
        let (first, second) = offsets.split_at(seam.expect("two replays"));
        let whole: Vec<_> = (2..=5_001).collect();
        assert_eq!(second, whole);
        assert_eq!(first, &whole[..first.len()]);
    }
}

#[tokio::test]
async fn a_client_returns_to_another_hub_of_the_same_log() {
    let memory = Arc::new(Memory::default());
    let hub = || {
        let backend = Arc::clone(&memory) as Arc<dyn Backend>;
        Hub::new(options(LOG), backend, Handle::current(), metrics())
    };
    let (first, second) = (hub(), hub());
    memory.attach(Arc::clone(&first) as Arc<dyn Sink>);
    first.join(&named("a"), join(0, Replay::None));
    let seen = publish(&first, "a", "1").await.expect("a position");
    for number in ["2", "3", "4"] {
        publish(&first, "a", number).await;
    }
    second.join(&named("a"), join(1, Replay::Since(seen)));
    let told = Told::until(&second, 1, |told| !told.joined.is_empty()).await;
    assert_eq!(told.joined[0].2, Some(true));
    assert_eq!(told.offsets(), [2, 3, 4]);
}

#[tokio::test]
async fn a_room_without_history_has_no_positions_and_nothing_to_recover() {
    let (hub, _) = over_memory(NO_LOG);
    let since = Position {
        epoch: fanfare_shared::Epoch::from_bits(1),
        offset: 1,
    };
    hub.join(&named("a"), join(0, Replay::Since(since)));
    hub.backend()
        .publish(text("a", NO_LOG, "x"))
        .await
        .expect("published");
    let told = Told::until(&hub, 0, |told| !told.publications.is_empty()).await;
    assert_eq!((told.joined[0].1, told.joined[0].2), (None, Some(false)));
    assert_eq!(told.publications[0].position, None);
}

#[tokio::test(start_paused = true)]
async fn a_room_lingers_without_members_and_is_then_closed() {
    let (hub, metrics) = over_memory(LOG);
    let room = named("a");
    hub.join(&room, join(0, Replay::None));
    advance(LINGER * 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 1, "it has a member");
    hub.leave(&room, 0);
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 1, "it lingers");
    hub.join(&room, join(1, Replay::None));
    hub.leave(&room, 1);
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 1, "it lingers from the last leave on");
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 0);
    hub.join(&room, join(1, Replay::None));
    let told = Told::until(&hub, 1, |told| told.joined.len() == 2).await;
    assert_ne!(
        told.joined[0].0, told.joined[1].0,
        "a key is never used twice"
    );
}

// --- over a backend that does as it is told ---

/// Memory that can be made to fail, or to be silent, and notes who is subscribed.
#[derive(Default)]
struct Obedient {
    memory: Memory,
    sink: std::sync::OnceLock<Arc<Hub>>,
    down: AtomicBool,
    /// Whether publications are kept from the hub.
    silent: AtomicBool,
    subscribed: Mutex<HashSet<RoomName>>,
    reads: Mutex<Vec<(RoomName, Read)>>,
    /// Told when a room is being closed, and waited for then: in vain, if all is well.
    closing: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Obedient {
    fn with_hub(options: Options) -> (Arc<Self>, Arc<Hub>, Metrics) {
        let (backend, metrics) = (Arc::new(Self::default()), metrics());
        let hub = Hub::new(
            options,
            Arc::clone(&backend) as Arc<dyn Backend>,
            Handle::current(),
            metrics.clone(),
        );
        let _ = backend.sink.set(Arc::clone(&hub));
        backend.memory.attach(Arc::clone(&backend) as Arc<dyn Sink>);
        (backend, hub, metrics)
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }

    fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    fn reads(&self) -> usize {
        self.reads.lock().expect("no panic").len()
    }
}

impl Backend for Obedient {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        self.memory.publish(publish)
    }

    fn subscribe(&self, room: &RoomName) -> Pending<()> {
        if self.is_down() {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        self.subscribed
            .lock()
            .expect("no panic")
            .insert(room.clone());
        Pending::ready(Ok(()))
    }

    fn unsubscribe(&self, room: &RoomName) {
        if let Some((closing, joins)) = self.closing.lock().expect("no panic").take() {
            closing.send(()).expect("somebody waits");
            let _ = joins.recv_timeout(Duration::from_millis(50));
        }
        self.subscribed.lock().expect("no panic").remove(room);
    }

    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot> {
        self.reads
            .lock()
            .expect("no panic")
            .push((room.clone(), read));
        if self.is_down() {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        self.memory.read(room, log, read)
    }

    fn ready(&self) -> bool {
        !self.is_down()
    }
}

impl Sink for Obedient {
    fn deliver(&self, publication: Arc<Publication>) {
        if !self.silent.load(Ordering::SeqCst)
            && let Some(hub) = self.sink.get()
        {
            hub.deliver(publication);
        }
    }

    fn lost(&self, _: &Scope) {}

    fn restored<'a>(
        &'a self,
        _: &'a Scope,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }

    fn congested(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_join_is_refused_while_the_backend_is_away_and_the_room_not_kept() {
    let (backend, hub, metrics) = Obedient::with_hub(options(LOG));
    backend.set_down(true);
    hub.join(&named("a"), join(0, Replay::None));
    let told = Told::until(&hub, 0, |told| !told.refused.is_empty()).await;
    assert!(told.joined.is_empty());
    assert_eq!(metrics.rooms.get(), 0);
    backend.set_down(false);
    hub.join(&named("a"), join(0, Replay::None));
    Told::until(&hub, 0, |told| told.joined.len() == 1).await;
    assert_eq!(metrics.rooms.get(), 1);
}

#[tokio::test]
async fn members_get_what_was_published_while_the_link_was_lost_once_it_is_restored() {
    let (backend, hub, metrics) = Obedient::with_hub(options(LOG));
    for room in ["a", "b", "c"] {
        hub.join(&named(room), join(0, Replay::None));
    }
    backend.set_silent(true);
    hub.lost(&|_| true);
    for room in ["a", "c", "a"] {
        publish(&hub, room, "missed").await;
    }
    backend.set_silent(false);
    publish(&hub, "a", "not yet").await;
    let mut told = Told::default();
    told.take(&hub, 0).await;
    assert!(told.publications.is_empty());
    hub.restored(&|_| true).await;
    publish(&hub, "b", "live").await;
    publish(&hub, "a", "live").await;
    let told = Told::until(&hub, 0, |told| told.publications.len() == 6).await;
    let of = |room: &str| {
        let of_room = told.publications.iter();
        let of_room = of_room.filter(|publication| publication.room.as_str() == room);
        let positions = of_room.map(|publication| publication.position.expect("one").offset);
        positions.collect::<Vec<_>>()
    };
    assert_eq!(
        (of("a"), of("b"), of("c")),
        (vec![1, 2, 3, 4], vec![1], vec![1])
    );
    assert_eq!(metrics.gaps_healed.get(), 2);
}

#[tokio::test]
async fn a_gap_heals_by_itself() {
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    publish(&hub, "a", "1").await;
    backend.set_silent(true);
    publish(&hub, "a", "2").await;
    backend.set_silent(false);
    publish(&hub, "a", "3").await;
    let told = Told::until(&hub, 0, |told| told.publications.len() == 3).await;
    assert_eq!(told.offsets(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_at_the_end_of_a_burst_is_found_by_comparing_positions() {
    let (backend, hub, metrics) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    backend.set_silent(true);
    publish(&hub, "a", "1").await;
    let compared = Arc::clone(&hub);
    tokio::spawn(async move { compared.compare_positions().await });
    let told = Told::until(&hub, 0, |told| !told.publications.is_empty()).await;
    assert_eq!(told.offsets(), [1]);
    assert_eq!((metrics.gaps_seen.get(), metrics.gaps_healed.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn positions_are_compared_at_their_interval_and_only_where_there_are_any() {
    let (backend, hub, _) = Obedient::with_hub(Options {
        log_of: Box::new(|room| if room == "plain" { NO_LOG } else { LOG }),
        ..options(LOG)
    });
    hub.join(&named("a"), join(0, Replay::None));
    hub.join(&named("plain"), join(0, Replay::None));
    let opened = backend.reads();
    let compared = Arc::clone(&hub);
    tokio::spawn(async move { compared.compare_positions().await });
    tokio::time::sleep(Duration::from_secs(95)).await;
    let reads = backend.reads.lock().expect("no panic")[opened..].to_vec();
    assert_eq!(reads, vec![(named("a"), Read::Position); 3]);
}

#[tokio::test]
async fn a_room_that_could_not_catch_up_is_read_again_by_the_sweep() {
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    hub.lost(&|_| true);
    backend.set_down(true);
    hub.restored(&|_| true).await;
    publish(&hub, "a", "1").await;
    let before = backend.reads();
    hub.sweep();
    assert_eq!(backend.reads(), before, "nothing is read while it is away");
    backend.set_down(false);
    hub.sweep();
    let told = Told::until(&hub, 0, |told| !told.publications.is_empty()).await;
    assert_eq!(told.offsets(), [1]);
}

#[tokio::test]
async fn a_lingering_room_that_could_not_catch_up_can_be_joined_again() {
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    hub.leave(&named("a"), 0);
    hub.lost(&|_| true);
    backend.set_down(true);
    hub.restored(&|_| true).await;
    backend.set_down(false);
    hub.sweep();
    hub.join(&named("a"), join(0, Replay::None));
    let told = Told::until(&hub, 0, |told| told.joined.len() == 2).await;
    assert!(told.refused.is_empty());
}

#[tokio::test]
async fn a_room_joined_while_another_of_its_name_is_closed_stays_subscribed() {
    let options = Options {
        linger: Duration::ZERO,
        ..options(LOG)
    };
    let (backend, hub, _) = Obedient::with_hub(options);
    let room = named("a");
    hub.join(&room, join(0, Replay::None));
    hub.leave(&room, 0);
    let (closing, closes) = mpsc::channel();
    let (joined, joins) = mpsc::channel();
    *backend.closing.lock().expect("no panic") = Some((closing, joins));
    thread::scope(|scope| {
        let (hub, room) = (&hub, &room);
        scope.spawn(move || {
            closes.recv().expect("the room is closed");
            hub.join(room, join(0, Replay::None));
            // Nobody waits any more, unless the join did not wait for the close.
            let _ = joined.send(());
        });
        hub.sweep();
    });
    assert!(backend.subscribed.lock().expect("no panic").contains(&room));
}
