//! What the Redis backend does when something fails: on a real `redis-server`, really killed,
//! paused, flushed, demoted and misconfigured.

#[allow(dead_code, reason = "not every suite needs every node")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[allow(dead_code, reason = "here without sentinels")]
#[path = "support/redis_sentinel.rs"]
mod redis_sentinel;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_broker::backend::redis::{ConnectError, Options, Redis};
use fanfare_broker::backend::{Backend, BackendError, Read, Sink, Snapshot};
use fanfare_shared::Position;

use node::{attached, linked, options, publish, subscribe, until_linked};
use publications::{LOG, NO_LOG, named, text};
use recording::{DEADLINE, Event};
use redis_sentinel::{follow, until};
use redis_server::{RedisServer, free_port};

/// Long enough for a busy machine, short enough to wait for.
const IMPATIENT: Duration = Duration::from_millis(700);

async fn after(redis: &Redis, room: &str, position: Position) -> Snapshot {
    let limit = 10_000;
    let read = redis.read(&named(room), LOG, Read::After { position, limit });
    read.await.expect("read")
}

fn texts(snapshot: &Snapshot) -> Vec<String> {
    let publications = snapshot.publications.iter();
    publications
        .map(|publication| String::from_utf8_lossy(&publication.data.bytes).into_owned())
        .collect()
}

fn is_unavailable<T>(outcome: &Result<T, BackendError>) -> bool {
    matches!(outcome, Err(BackendError::Unavailable))
}

// --- lost and found ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_that_comes_back_without_data_is_a_new_log() {
    let mut server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let before = publish(&node, "room", "a").await;
    sink.until("the first", |sink| sink.texts("room") == ["a"])
        .await;
    assert_eq!((sink.lost(), sink.restored()), (0, 0));

    server.kill();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    assert!(!node.ready());
    let down = node.publish(text("room", LOG, "b")).await;
    assert!(is_unavailable(&down));
    assert!(is_unavailable(&node.subscribe(&named("other")).await));
    let read = node.read(&named("room"), LOG, Read::Position).await;
    assert!(is_unavailable(&read));

    server.restart();
    until_linked(&node).await;
    assert_eq!((sink.lost(), sink.restored()), (1, 1));
    let position = publish(&node, "room", "c").await;
    assert_ne!(position.epoch, before.epoch);
    assert_eq!(position.offset, 1);
    sink.until("the room's publication", |sink| {
        sink.texts("room") == ["a", "c"]
    })
    .await;
    assert!(!after(&node, "room", before).await.follows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_restarted_from_older_data_never_gives_an_offset_a_second_meaning() {
    let mut server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    subscribe(&node, "quiet").await;
    publish(&node, "room", "a").await;
    let saved = publish(&node, "room", "b").await;
    let quiet = publish(&node, "quiet", "x").await;
    server.tell(&["SAVE"]).await;
    let unsaved = publish(&node, "room", "gone").await;
    publish(&node, "room", "gone, too").await;

    server.kill();
    server.restart();
    sink.until("the return", |sink| sink.restored() == 1).await;

    // Nothing was published since: the log stands where it was saved, and says so to whoever has
    // seen more of it.
    let gap = after(&node, "room", unsaved).await;
    assert_eq!(gap.position, Some(saved));
    assert!(!gap.follows);
    assert!(after(&node, "room", saved).await.follows);

    let next = publish(&node, "room", "c").await;
    assert_eq!(next.offset, unsaved.offset, "offsets go on");
    assert_ne!(next.epoch, unsaved.epoch, "and mean something else");
    publish(&node, "room", "d").await;
    let gap = after(&node, "room", unsaved).await;
    assert!(!gap.follows && gap.publications.is_empty());
    // Whoever had seen no more than was saved has missed nothing that is not there.
    let missed = after(&node, "room", saved).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["c", "d"]);
    let newest = node
        .read(&named("room"), LOG, Read::Newest { limit: 9 })
        .await;
    assert_eq!(texts(&newest.expect("read")), ["a", "b", "c", "d"]);
    // A room in which nothing was published is as it was.
    let still = after(&node, "quiet", quiet).await;
    assert!(still.follows);
    assert_eq!(still.position, Some(quiet));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_subscriber_connection_is_a_loss_and_is_healed_from_the_log() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let subscribed: Vec<_> = (0..2_500)
        .map(|room| node.subscribe(&named(&format!("r{room}"))))
        .collect();
    for answer in subscribed {
        answer.await.expect("subscribed");
    }
    subscribe(&node, "room").await;
    let position = publish(&node, "room", "a").await;
    sink.until("the first", |sink| sink.texts("room") == ["a"])
        .await;

    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 1);
    until_linked(&node).await;

    let channels: Vec<String> = server.ask(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(channels.len(), 2_502, "2,501 rooms and the probe");
    publish(&node, "room", "b").await;
    sink.until("the second", |sink| sink.texts("room") == ["a", "b"])
        .await;
    let missed = after(&node, "room", position).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_command_connection_is_a_loss_too() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    server
        .tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 1);
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_redis_is_found_by_the_probe_and_fails_what_is_under_way() {
    let server = RedisServer::start();
    let (node, sink) = linked(Options {
        probe_timeout: IMPATIENT,
        connect_timeout: IMPATIENT,
        pipeline: 2,
        queue: 8,
        ..options(server.url())
    })
    .await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;

    server.pause();
    let pending: Vec<_> = (0..20)
        .map(|number| node.publish(text("room", LOG, &number.to_string())))
        .collect();
    let mut outcomes = Vec::new();
    for answer in pending {
        outcomes.push(answer.await);
    }
    let overloaded = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(BackendError::Overloaded)))
        .count();
    let unavailable = outcomes.iter().filter(|outcome| is_unavailable(outcome));
    assert!(overloaded >= 20 - 8 - 2, "beyond the queue: {outcomes:?}");
    assert_eq!(unavailable.count(), 20 - overloaded, "{outcomes:?}");
    sink.until("the loss", |sink| sink.lost() == 1).await;
    assert!(is_unavailable(&node.publish(text("room", LOG, "x")).await));

    server.resume();
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;
    publish(&node, "room", "z").await;
    sink.until("the publication", |sink| {
        sink.texts("room").last().is_some_and(|text| text == "z")
    })
    .await;
    assert_eq!(sink.lost(), 1);
    // What was under way was executed before, or never will be.
    let clients: String = server.ask(&["CLIENT", "LIST"]).await;
    let own = clients.matches("name=fanfare:n1 ").count();
    assert_eq!(own, 2, "the lost link is gone: {clients}");
    let newest = node.read(&named("room"), LOG, Read::Newest { limit: 1 });
    assert_eq!(texts(&newest.await.expect("read")), ["z"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_gap_in_what_is_delivered_was_told_of() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let (other, _) = linked(Options {
        node: "n2".to_owned(),
        ..options(server.url())
    })
    .await;
    subscribe(&node, "room").await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            while !stop.load(Ordering::SeqCst) {
                // One that is under way when the connections are killed may fail.
                let _ = other.publish(text("room", LOG, "x")).await;
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 1..=5 {
        server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        sink.until("the return", |sink| sink.restored() >= round)
            .await;
        until_linked(&node).await;
        let seen = sink.delivered("room").len();
        sink.until("more", |sink| sink.delivered("room").len() > seen)
            .await;
    }
    stop.store(true, Ordering::SeqCst);
    publishing.await.expect("no panic");

    let (mut up, mut told, mut last) = (true, true, 0);
    for event in sink.events() {
        match event {
            Event::Lost(_) => {
                assert!(up, "lost twice");
                (up, told) = (false, true);
            }
            Event::Restored(_) => {
                assert!(!up, "restored without a loss");
                up = true;
            }
            Event::Delivered(publication) => {
                let offset = publication.position.expect("a position").offset;
                assert!(
                    offset == last + 1 || told && offset > last,
                    "{last} {offset}"
                );
                (told, last) = (false, offset);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rooms_that_are_wanted_still_are_subscribed_again() {
    let mut server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    for room in ["kept", "dropped while down", "dropped before"] {
        subscribe(&node, room).await;
    }
    node.unsubscribe(&named("dropped before"));
    server.kill();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    node.unsubscribe(&named("dropped while down"));
    let refused = node.subscribe(&named("asked for while down")).await;
    assert!(is_unavailable(&refused));
    server.restart();
    until_linked(&node).await;

    let mut channels: Vec<String> = server.ask(&["PUBSUB", "CHANNELS"]).await;
    channels.sort();
    assert_eq!(channels, ["fanfare:probe:{n1}", "fanfare:{kept}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_not_there_yet_is_waited_for() {
    let mut server = RedisServer::start();
    server.kill();
    let (node, sink) = attached(options(server.url()));
    assert!(is_unavailable(&node.publish(text("room", LOG, "a")).await));
    assert!(!node.ready());
    server.restart();
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    assert_eq!((sink.lost(), sink.restored()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_panics_costs_a_link_and_not_the_node() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    sink.panic_once();
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 2, "the killed link and the one of the panic");
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_say_what_happened() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let registry = prometheus::Registry::new();
    for collector in node.collectors() {
        registry.register(collector).expect("registered");
    }
    subscribe(&node, "room").await;
    for garbage in ["no header", " \u{92}\u{2}"] {
        server.tell(&["PUBLISH", "fanfare:{room}", garbage]).await;
    }
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;

    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("metrics");
    let at = format!("server=\"127.0.0.1:{}\"", server.port());
    for line in [
        format!("fanfare_backend_connected{{{at}}} 1"),
        format!("fanfare_backend_publish_seconds_count{{{at}}} 1"),
        format!("fanfare_backend_reconnects_total{{reason=\"closed\",{at}}} 1"),
        format!("fanfare_backend_reconnects_total{{reason=\"congested\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"demoted\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"internal\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"probe\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"renewed\",{at}}} 0"),
        "fanfare_backend_skipped_total{reason=\"malformed\"} 2".to_owned(),
        "fanfare_backend_skipped_total{reason=\"newer\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("fanfare_backend_lag_seconds_count"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_backend_leaves_redis() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    drop(node);
    sink.until("the end", |sink| sink.lost() == 1).await;
    let gone = async {
        loop {
            let channels: Vec<String> = server.ask(&["PUBSUB", "CHANNELS"]).await;
            if channels.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, gone)
        .await
        .expect("no subscription is left");
}

// --- refusals ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_scripts_cost_neither_order_nor_publications() {
    const EACH: usize = 20_000;
    let server = RedisServer::start();
    let names = ["n1", "n2", "n3"];
    let mut nodes = Vec::new();
    for name in names {
        let node = Options {
            node: name.to_owned(),
            ..options(server.url())
        };
        nodes.push(linked(node).await.0);
    }
    let done = Arc::new(AtomicBool::new(false));
    let flushing = tokio::spawn({
        let (done, mut connection) = (Arc::clone(&done), server.connect().await);
        async move {
            let mut flushes = 0;
            while !done.load(Ordering::SeqCst) {
                let flush = redis::cmd("SCRIPT").arg("FLUSH").to_owned();
                let flushed: redis::RedisResult<()> = flush.query_async(&mut connection).await;
                flushed.expect("flushed");
                flushes += 1;
                // Often, and yet with room for a few pipelines in between.
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            flushes
        }
    });
    let mut publishers = tokio::task::JoinSet::new();
    for (node, name) in nodes.iter().zip(names) {
        let node = Arc::clone(node);
        publishers.spawn(async move {
            let mut answers = Vec::new();
            for number in 0..EACH {
                answers.push(node.publish(text("room", LOG, &format!("{name} {number:05}"))));
                if answers.len() == 2_000 {
                    for answer in answers.drain(..) {
                        answer.await.expect("published");
                    }
                }
            }
        });
    }
    publishers.join_all().await;
    done.store(true, Ordering::SeqCst);
    let flushes: usize = flushing.await.expect("no panic");
    assert!(flushes > 10, "{flushes} flushes");

    let log = fanfare_broker::backend::Log {
        size: 10 * EACH,
        ..LOG
    };
    let limit = log.size;
    let kept = nodes[0]
        .read(&named("room"), log, Read::Newest { limit })
        .await
        .expect("read");
    // Each node's own, of those that the log still keeps: in order, without a gap.
    for name in names {
        let own: Vec<_> = texts(&kept)
            .into_iter()
            .filter(|text| text.starts_with(name))
            .collect();
        let first = EACH - own.len();
        let expected: Vec<_> = (first..EACH)
            .map(|number| format!("{name} {number:05}"))
            .collect();
        let astray = own.iter().zip(&expected).find(|(is, ought)| is != ought);
        assert!(astray.is_none(), "after {flushes} flushes: {astray:?}");
    }
    let top = kept.position.expect("a position").offset;
    assert_eq!(top, (names.len() * EACH) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_publications_and_takes_them_again() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let first = publish(&node, "room", "a").await;
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(is_unavailable(&node.publish(text("room", LOG, "b")).await));
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(publish(&node, "room", "c").await, first.next());
    assert_eq!(sink.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_publication_does_not_fail_the_others() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    server
        .tell(&["SET", "fanfare:{bad}:log", "not a stream"])
        .await;
    server
        .tell(&[
            "HSET",
            "fanfare:{bad}:meta",
            "e",
            "00000000000000ff",
            "o",
            "1",
        ])
        .await;
    let good = node.publish(text("good", LOG, "a"));
    let bad = node.publish(text("bad", LOG, "b"));
    let better = node.publish(text("good", NO_LOG, "c"));
    assert!(good.await.is_ok());
    let bad = bad.await;
    assert!(
        matches!(&bad, Err(BackendError::Failed(text)) if text.contains("WRONGTYPE")),
        "{bad:?}"
    );
    assert!(better.await.is_ok());
    assert_eq!(sink.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_master_is_left_and_taken_again_once_it_is_master() {
    let server = RedisServer::start();
    let (busy, busy_sink) = linked(Options {
        // Its probe is not what finds out.
        probe_interval: DEADLINE,
        ..options(server.url())
    })
    .await;
    let (idle, idle_sink) = linked(Options {
        node: "n2".to_owned(),
        ..options(server.url())
    })
    .await;
    let nobody = free_port().to_string();
    server.tell(&["REPLICAOF", "127.0.0.1", &nobody]).await;
    assert!(is_unavailable(&busy.publish(text("room", LOG, "a")).await));
    busy_sink.until("the loss", |sink| sink.lost() == 1).await;
    idle_sink.until("the loss", |sink| sink.lost() == 1).await;

    let another = Redis::new(options(server.url())).expect("good options");
    let error = another.check().await.expect_err("a replica");
    assert!(matches!(error, ConnectError::Replica(..)), "{error}");
    let master = format!("127.0.0.1:{nobody}");
    assert!(error.may_pass() && error.to_string().contains(&master));

    server.tell(&["REPLICAOF", "NO", "ONE"]).await;
    for node in [&busy, &idle] {
        until_linked(node).await;
        publish(node, "room", "b").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_congested_node_gives_up_the_link_rather_than_memory() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    sink.set_congested(true);
    let answers: Vec<_> = (0..40_000)
        .map(|_| node.publish(text("room", NO_LOG, "x")))
        .collect();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    for answer in answers {
        // Answered, or lost with the link.
        let _ = answer.await;
    }
    let delivered = sink.delivered("room").len();
    assert!(delivered <= 16_384, "{delivered} delivered");
    assert!(!node.ready());
    assert!(sink.congested());

    sink.set_congested(false);
    until_linked(&node).await;
    assert_eq!((sink.lost(), sink.restored()), (1, 1));
}

// --- failovers by hand ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_there_and_back_never_gives_an_offset_a_second_meaning() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    follow(&other, &server).await;
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let kept = publish(&node, "room", "a").await;
    let entries = ["XLEN", "fanfare:{room}:log"];
    until(&other, &entries, |length: &usize| *length == 1).await;
    // The other takes over without the newest.
    other.tell(&["REPLICAOF", "NO", "ONE"]).await;
    let lost = publish(&node, "room", "gone").await;
    sink.until("both", |sink| sink.texts("room") == ["a", "gone"])
        .await;
    follow(&server, &other).await;
    sink.until("the loss", |sink| sink.lost() == 1).await;
    // And back, in the same processes, with nothing published in between.
    server.tell(&["REPLICAOF", "NO", "ONE"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;

    let next = publish(&node, "room", "b").await;
    assert_eq!(next.offset, lost.offset);
    assert_ne!(next.epoch, lost.epoch);
    assert!(!after(&node, "room", lost).await.follows);
    let missed = after(&node, "room", kept).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_gets_its_first_replica_is_linked_anew_and_nothing_is_lost() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let first = publish(&node, "room", "a").await;
    follow(&other, &server).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;
    publish(&node, "room", "b").await;
    sink.until("both", |sink| sink.texts("room") == ["a", "b"])
        .await;
    let missed = after(&node, "room", first).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["b"]);
}
