//! What every backend promises, tested by name on each of them: in memory, and on real Redis in
//! every topology, which the test starts itself.

#[allow(dead_code, reason = "not every suite needs a node that is not linked")]
#[path = "support/node.rs"]
mod node;
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "nothing fails over here")]
#[path = "support/redis_sentinel.rs"]
mod redis_sentinel;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::redis::{Options, Redis};
use fanfare_broker::backend::{Backend, Log, Read, Snapshot};
use fanfare_shared::{Epoch, Position};

use publications::{LOG, NO_LOG, bytes, keyed, named, text};
use recording::{DEADLINE, Recording};
use redis_sentinel::Watched;
use redis_server::RedisServer;

/// A backend and what it delivers to.
struct Fixture {
    backend: Arc<dyn Backend>,
    sink: Arc<Recording>,
    servers: Vec<RedisServer>,
}

impl Fixture {
    async fn memory() -> Self {
        let (memory, sink) = (Memory::default(), Arc::new(Recording::default()));
        memory.attach(sink.clone());
        Self {
            backend: Arc::new(memory),
            sink,
            servers: Vec::new(),
        }
    }

    /// One server.
    async fn redis() -> Self {
        let server = RedisServer::start();
        let (backend, sink) = node(&server, "n1").await;
        Self {
            backend,
            sink,
            servers: vec![server],
        }
    }

    /// Three servers that know nothing of each other.
    async fn several() -> Self {
        let servers: Vec<_> = (0..3).map(|_| RedisServer::start()).collect();
        let (backend, sink) = node::linked(node::several(&servers)).await;
        Self {
            backend,
            sink,
            servers,
        }
    }

    /// A master and a replica that sentinels watch.
    async fn sentinel() -> Self {
        // Nothing goes down here, however busy the machine is.
        let Watched { servers, sentinels } = Watched::start(DEADLINE).await;
        let (backend, sink) = node::linked(Options {
            sentinels: sentinels.iter().map(RedisServer::url).collect(),
            ..node::options(Watched::url())
        })
        .await;
        Self {
            backend,
            sink,
            servers: servers.into_iter().chain(sentinels).collect(),
        }
    }

    async fn publish(&self, room: &str, log: Log, content: &str) -> Option<Position> {
        let publish = text(room, log, content);
        self.backend.publish(publish).await.expect("published")
    }

    async fn read(&self, room: &str, log: Log, read: Read) -> Snapshot {
        self.backend
            .read(&named(room), log, read)
            .await
            .expect("read")
    }

    /// The texts of what a read finds.
    async fn texts(&self, room: &str, log: Log, read: Read) -> Vec<String> {
        texts(&self.read(room, log, read).await)
    }

    async fn subscribe(&self, room: &str) {
        let subscribed = self.backend.subscribe(&named(room));
        subscribed.await.expect("subscribed");
    }
}

async fn node(server: &RedisServer, name: &str) -> (Arc<Redis>, Arc<Recording>) {
    let options = node::options(server.url());
    node::linked(Options {
        node: name.to_owned(),
        ..options
    })
    .await
}

fn texts(snapshot: &Snapshot) -> Vec<String> {
    let bytes = snapshot
        .publications
        .iter()
        .map(|publication| &publication.data.bytes[..]);
    bytes
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

fn offsets(snapshot: &Snapshot) -> Vec<u64> {
    let positions = snapshot
        .publications
        .iter()
        .map(|publication| publication.position.expect("a position"));
    positions.map(|position| position.offset).collect()
}

const ALL: Read = Read::Newest { limit: 10_000 };

fn after(position: Position, limit: usize) -> Read {
    Read::After { position, limit }
}

/// Asks again until the answer is as wanted, for what only time brings about.
async fn eventually<T, F: Future<Output = T>>(
    what: &str,
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

macro_rules! conformance {
    ($($promise:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::memory().await).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::redis().await).await;
            })*
        }
        mod several {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::several().await).await;
            })*
        }
        mod sentinel {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(super::Fixture::sentinel().await).await;
            })*
        }
    };
}

conformance! {
    offsets_are_contiguous_and_delivered_in_order_under_concurrent_publishers
    publishes_take_effect_in_the_order_of_the_calls_without_being_awaited
    an_answered_publication_is_in_the_log
    a_key_is_accepted_once_per_room_and_window
    a_key_is_accepted_again_after_its_window
    a_read_answers_position_newest_and_what_came_after
    a_read_says_whether_what_it_found_follows_on_the_position
    a_position_of_another_epoch_is_followed_by_nothing
    a_room_that_was_only_read_keeps_its_first_epoch
    the_log_keeps_no_more_than_its_size
    the_log_forgets_after_its_ttl_but_keeps_its_position
    a_room_without_history_delivers_without_positions
    rooms_of_odd_names_are_rooms_like_others
    nothing_is_missed_after_subscribe_has_answered
    binary_and_large_payloads_arrive_as_they_were
    subscribing_and_unsubscribing_in_quick_succession_ends_as_last_asked
}

async fn offsets_are_contiguous_and_delivered_in_order_under_concurrent_publishers(f: Fixture) {
    const PUBLISHERS: u64 = 8;
    const EACH: u64 = 200;
    f.subscribe("busy").await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let backend = Arc::clone(&f.backend);
        publishers.spawn(async move {
            for number in 0..EACH {
                let publish = text("busy", LOG, &format!("{publisher}-{number}"));
                backend.publish(publish).await.expect("published");
            }
        });
    }
    publishers.join_all().await;
    f.sink
        .until("all publications", |sink| {
            sink.delivered("busy").len() as u64 == PUBLISHERS * EACH
        })
        .await;

    let delivered = f.sink.delivered("busy");
    let first = delivered[0].position.expect("a position");
    assert_eq!(first.offset, 1);
    for (publication, offset) in delivered.iter().zip(1..) {
        let position = publication.position.expect("a position");
        assert_eq!((position.epoch, position.offset), (first.epoch, offset));
    }
    let log = f.read("busy", LOG, ALL).await;
    assert_eq!(texts(&log), f.sink.texts("busy"));
    assert_eq!(offsets(&log), (1..=PUBLISHERS * EACH).collect::<Vec<_>>());
}

async fn publishes_take_effect_in_the_order_of_the_calls_without_being_awaited(f: Fixture) {
    f.subscribe("ordered").await;
    f.subscribe("ordered without log").await;
    let expected: Vec<_> = (0..2_000).map(|number| number.to_string()).collect();
    let mut answers = Vec::new();
    for content in &expected {
        answers.push(f.backend.publish(text("ordered", LOG, content)));
        answers.push(
            f.backend
                .publish(text("ordered without log", NO_LOG, content)),
        );
    }
    let mut offset = 0;
    for answer in answers {
        if let Some(position) = answer.await.expect("published") {
            offset += 1;
            assert_eq!(position.offset, offset);
        }
    }
    for room in ["ordered", "ordered without log"] {
        f.sink
            .until("all publications", |sink| {
                sink.delivered(room).len() == expected.len()
            })
            .await;
        assert_eq!(f.sink.texts(room), expected);
    }
}

async fn an_answered_publication_is_in_the_log(f: Fixture) {
    for number in 1..=20 {
        let position = f.publish("log", LOG, "x").await.expect("a position");
        assert_eq!(position.offset, number);
        let log = f.read("log", LOG, Read::Newest { limit: 1 }).await;
        assert_eq!(log.position, Some(position));
        assert_eq!(log.publications[0].position, Some(position));
        assert_eq!(log.publications[0].time, 1_767_225_600_123);
    }
}

async fn a_key_is_accepted_once_per_room_and_window(f: Fixture) {
    // Both in one go, then later.
    let first = f.backend.publish(keyed("keys", LOG, "one", "k}:log%"));
    let second = f.backend.publish(keyed("keys", LOG, "two", "k}:log%"));
    let position = first.await.expect("published");
    assert_eq!(second.await.expect("accepted before"), position);
    let other = f.backend.publish(keyed("keys", LOG, "three", "k}:log"));
    assert_eq!(
        other.await.expect("published"),
        position.map(Position::next)
    );
    let again = f.backend.publish(keyed("keys", LOG, "four", "k}:log%"));
    assert_eq!(again.await.expect("accepted before"), position);
    assert_eq!(f.texts("keys", LOG, ALL).await, ["one", "three"]);

    // Another room has keys of its own.
    let elsewhere = f.backend.publish(keyed("other", LOG, "five", "k}:log%"));
    assert_eq!(
        elsewhere
            .await
            .expect("published")
            .map(|position| position.offset),
        Some(1)
    );
    assert_eq!(f.texts("other", LOG, ALL).await, ["five"]);
}

async fn a_key_is_accepted_again_after_its_window(f: Fixture) {
    let log = Log {
        ttl: Duration::from_millis(40),
        ..LOG
    };
    let publish = || async {
        let publish = keyed("window", log, "x", "k");
        f.backend.publish(publish).await.expect("published")
    };
    let first = publish().await;
    let later = eventually("the window's end", publish, |position| *position != first).await;
    assert_eq!(later, first.map(Position::next));
}

async fn a_read_answers_position_newest_and_what_came_after(f: Fixture) {
    let mut positions = Vec::new();
    for content in ["a", "b", "c", "d"] {
        positions.push(f.publish("read", LOG, content).await.expect("a position"));
    }
    let snapshot = f.read("read", LOG, Read::Position).await;
    assert_eq!(snapshot.position, Some(positions[3]));
    assert!(snapshot.publications.is_empty());

    let newest = |limit| f.texts("read", LOG, Read::Newest { limit });
    assert_eq!(newest(2).await, ["c", "d"]);
    assert_eq!(newest(0).await, [""; 0]);
    assert_eq!(newest(9).await, ["a", "b", "c", "d"]);

    let after = |place: usize, limit| f.texts("read", LOG, after(positions[place], limit));
    assert_eq!(after(1, 9).await, ["c", "d"]);
    assert_eq!(after(0, 2).await, ["b", "c"]);
    assert_eq!(after(3, 9).await, [""; 0]);
}

async fn a_read_says_whether_what_it_found_follows_on_the_position(f: Fixture) {
    let log = Log { size: 3, ..LOG };
    let zero = f.read("follows", log, Read::Position).await;
    let zero = zero.position.expect("a position");
    assert!(f.read("follows", log, after(zero, 3)).await.follows);
    let mut positions = vec![zero];
    for content in ["a", "b", "c", "d"] {
        positions.push(
            f.publish("follows", log, content)
                .await
                .expect("a position"),
        );
    }
    let follows = |position, limit| {
        let f = &f;
        async move { f.read("follows", log, after(position, limit)).await.follows }
    };
    assert!(follows(positions[4], 3).await, "nothing came after");
    assert!(follows(positions[1], 3).await, "all of it is kept");
    assert!(follows(positions[1], 2).await, "as much as was asked for");
    assert!(!follows(positions[0], 3).await, "the first was let go");
    assert!(!follows(positions[4].next(), 3).await, "ahead of the log");
    assert!(
        !f.read("follows", log, Read::Newest { limit: 1 })
            .await
            .follows
    );
}

async fn a_position_of_another_epoch_is_followed_by_nothing(f: Fixture) {
    f.publish("epoch", LOG, "a").await;
    for epoch in [Epoch::from_bits(12_345), Epoch::UNKNOWN] {
        let position = Position { epoch, offset: 0 };
        let snapshot = f.read("epoch", LOG, after(position, 10)).await;
        assert!(snapshot.publications.is_empty());
        assert!(!snapshot.follows);
        assert_eq!(snapshot.position.map(|position| position.offset), Some(1));
    }
}

async fn a_room_that_was_only_read_keeps_its_first_epoch(f: Fixture) {
    let first = f
        .read("quiet", LOG, ALL)
        .await
        .position
        .expect("a position");
    assert_eq!(first.offset, 0);
    let second = f.read("quiet", LOG, Read::Position).await;
    assert_eq!(second.position, Some(first));
    assert_eq!(f.publish("quiet", LOG, "a").await, Some(first.next()));
    assert_eq!(f.texts("quiet", LOG, after(first, 9)).await, ["a"]);
}

async fn the_log_keeps_no_more_than_its_size(f: Fixture) {
    let log = Log { size: 5, ..LOG };
    let first = f.publish("sized", log, "1").await.expect("a position");
    for number in 2..=300 {
        f.publish("sized", log, &number.to_string()).await;
    }
    let kept = f.read("sized", log, ALL).await;
    assert_eq!(offsets(&kept), [296, 297, 298, 299, 300]);
    assert_eq!(texts(&kept), ["296", "297", "298", "299", "300"]);
    let after = f.read("sized", log, after(first, 1_000)).await;
    assert_eq!(offsets(&after), [296, 297, 298, 299, 300]);
    assert_eq!(after.position.map(|position| position.offset), Some(300));
}

async fn the_log_forgets_after_its_ttl_but_keeps_its_position(f: Fixture) {
    let log = Log {
        ttl: Duration::from_millis(40),
        ..LOG
    };
    let position = f.publish("brief", log, "a").await;
    let read = || f.read("brief", log, ALL);
    let snapshot = eventually("the log's end", read, |snapshot| {
        snapshot.publications.is_empty()
    })
    .await;
    assert_eq!(snapshot.position, position);
    let missed = f
        .read("brief", log, after(position.expect("a position"), 10))
        .await;
    assert!(missed.follows, "nothing was missed");
    assert_eq!(
        f.publish("brief", log, "b").await,
        position.map(Position::next)
    );
}

async fn a_room_without_history_delivers_without_positions(f: Fixture) {
    f.subscribe("fleeting").await;
    assert_eq!(f.publish("fleeting", NO_LOG, "a").await, None);
    f.sink
        .until("the publication", |sink| sink.texts("fleeting") == ["a"])
        .await;
    assert_eq!(f.sink.delivered("fleeting")[0].position, None);
    let snapshot = f.read("fleeting", NO_LOG, ALL).await;
    assert_eq!(snapshot.position, None);
    assert!(snapshot.publications.is_empty());
}

async fn rooms_of_odd_names_are_rooms_like_others(f: Fixture) {
    let longest = "ж".repeat(127) + "x";
    let odd = [
        "a}b{c",
        "}",
        "}}",
        "{}",
        "{",
        "чат 🎺",
        " ",
        "a b",
        "*",
        "a:log",
        "a}:log",
        "%7D",
        "\"'\\",
        &longest,
    ];
    for room in odd {
        f.subscribe(room).await;
    }
    for room in odd {
        let position = f.publish(room, LOG, room).await;
        assert_eq!(position.map(|position| position.offset), Some(1));
        assert_eq!(f.texts(room, LOG, ALL).await, [room]);
        f.sink.until(room, |sink| sink.texts(room) == [room]).await;
    }
}

async fn nothing_is_missed_after_subscribe_has_answered(f: Fixture) {
    for number in 0..200 {
        let room = format!("room {number}");
        f.subscribe(&room).await;
        f.publish(&room, LOG, "first").await;
        f.sink
            .until(&room, |sink| sink.texts(&room) == ["first"])
            .await;
    }
}

async fn binary_and_large_payloads_arrive_as_they_were(f: Fixture) {
    f.subscribe("payloads").await;
    let payloads: [Vec<u8>; 4] = [
        vec![],
        (0..=255).collect(),
        b"\r\n$5\r\n *3 \0\0".to_vec(),
        (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect(),
    ];
    for payload in &payloads {
        let published = f.backend.publish(bytes("payloads", LOG, payload)).await;
        published.expect("published");
    }
    f.sink
        .until("all payloads", |sink| {
            sink.delivered("payloads").len() == payloads.len()
        })
        .await;
    let log = f.read("payloads", LOG, ALL).await.publications;
    for (found, payload) in f.sink.delivered("payloads").iter().zip(&payloads) {
        assert!(found.data.bytes == payload, "{} bytes", payload.len());
    }
    for (found, payload) in log.iter().zip(&payloads) {
        assert!(found.data.bytes == payload, "{} bytes", payload.len());
    }
}

async fn subscribing_and_unsubscribing_in_quick_succession_ends_as_last_asked(f: Fixture) {
    let room = named("flicker");
    for _ in 0..50 {
        drop(f.backend.subscribe(&room));
        f.backend.unsubscribe(&room);
    }
    let last = f.backend.subscribe(&room);
    last.await.expect("subscribed");
    f.publish("flicker", LOG, "a").await;
    f.sink
        .until("the publication", |sink| sink.texts("flicker") == ["a"])
        .await;
}

// --- what only a backend of many nodes can promise ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_see_each_others_publications_in_one_order() {
    let server = RedisServer::start();
    let nodes = [node(&server, "n1").await, node(&server, "n2").await];
    for (node, _) in &nodes {
        node.subscribe(&named("shared")).await.expect("subscribed");
    }
    let mut answers = Vec::new();
    for number in 0..500 {
        for (index, (node, _)) in nodes.iter().enumerate() {
            let content = format!("{index}-{number}");
            answers.push(node.publish(text("shared", LOG, &content)));
        }
    }
    for answer in answers {
        answer.await.expect("published");
    }
    for (_, sink) in &nodes {
        sink.until("all publications", |sink| {
            sink.delivered("shared").len() == 1_000
        })
        .await;
        let offsets: Vec<_> = sink
            .delivered("shared")
            .iter()
            .map(|publication| publication.position.expect("a position").offset)
            .collect();
        assert_eq!(offsets, (1..=1_000).collect::<Vec<_>>());
    }
    assert_eq!(nodes[0].1.texts("shared"), nodes[1].1.texts("shared"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_only_the_rooms_that_it_wants() {
    let f = Fixture::redis().await;
    f.subscribe("wanted").await;
    f.subscribe("unwanted later").await;
    f.publish("never wanted", LOG, "x").await;
    f.backend.unsubscribe(&named("unwanted later"));
    // A subscription that was asked for later is answered later.
    f.subscribe("fence").await;
    f.publish("unwanted later", LOG, "x").await;
    f.publish("wanted", LOG, "x").await;
    f.sink
        .until("the wanted", |sink| sink.texts("wanted") == ["x"])
        .await;
    assert_eq!(f.sink.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rooms_are_subscribed_and_read_at_once() {
    let f = Fixture::redis().await;
    let rooms: Vec<_> = (0..10_000).map(|room| named(&format!("r{room}"))).collect();
    let subscribed: Vec<_> = rooms.iter().map(|room| f.backend.subscribe(room)).collect();
    for answer in subscribed {
        answer.await.expect("subscribed");
    }
    let published: Vec<_> = rooms
        .iter()
        .map(|room| f.backend.publish(text(room.as_str(), LOG, "x")))
        .collect();
    for answer in published {
        answer.await.expect("published");
    }
    let reads: Vec<_> = rooms
        .iter()
        .map(|room| f.backend.read(room, LOG, ALL))
        .collect();
    for read in reads {
        assert_eq!(texts(&read.await.expect("read")), ["x"]);
    }
    f.sink
        .until("a publication in each room", |sink| {
            sink.events().len() == rooms.len()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_in_redis_has_a_ttl() {
    let f = Fixture::redis().await;
    f.publish("a", LOG, "x").await;
    let key = f.backend.publish(keyed("b", LOG, "x", "k"));
    key.await.expect("published");
    f.read("only read", LOG, Read::Position).await;
    f.publish("no log", NO_LOG, "x").await;

    let mut redis = f.servers[0].connect().await;
    let mut keys: Vec<String> = ::redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut redis)
        .await
        .unwrap();
    keys.sort();
    assert_eq!(
        keys,
        [
            "fanfare:{a}:log",
            "fanfare:{a}:meta",
            "fanfare:{b}:key:k",
            "fanfare:{b}:log",
            "fanfare:{b}:meta",
            "fanfare:{only read}:meta",
        ]
    );
    for key in keys {
        let ttl: i64 = ::redis::cmd("PTTL")
            .arg(&key)
            .query_async(&mut redis)
            .await
            .unwrap();
        assert!(ttl > 0, "{key} lives forever");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_skipped_and_the_position_stays_right() {
    let f = Fixture::redis().await;
    f.subscribe("garbage").await;
    let first = f.publish("garbage", LOG, "1").await.expect("a position");
    let mut redis = f.servers[0].connect().await;
    // A publication of a newer release, in the log and on the channel; then plain garbage.
    let newer = f.backend.publish(fanfare_broker::backend::Publish {
        envelope: vec![0x92, 2, 0xc0],
        ..text("garbage", LOG, "")
    });
    newer.await.expect("published");
    for garbage in [&b""[..], b" ", b"\xff\xff", b"0000000000000001x 1"] {
        let _: () = ::redis::cmd("PUBLISH")
            .arg("fanfare:{garbage}")
            .arg(garbage)
            .query_async(&mut redis)
            .await
            .unwrap();
    }
    f.publish("garbage", LOG, "3").await;
    f.sink
        .until("what follows", |sink| sink.texts("garbage") == ["1", "3"])
        .await;
    let snapshot = f.read("garbage", LOG, after(first, 10)).await;
    assert_eq!(offsets(&snapshot), [3]);
    assert!(snapshot.follows, "what is unreadable is not missing");
    assert_eq!(snapshot.position.map(|position| position.offset), Some(3));
}
