//! A server that answers, but refuses: scripts that it forgot, no memory left, keys of another kind.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_broker::backend::redis::{Options, Redis};
use fanfare_broker::backend::{Backend, BackendError, Read, Refused};

use crate::node::{linked, options, publish, subscribe};
use crate::publications::{LOG, NO_LOG, named, text};
use crate::recording::eventually;
use crate::redis_server::RedisServer;
use crate::texts;

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
async fn a_read_is_answered_however_often_the_scripts_are_flushed() {
    const READS: u64 = 5;
    let server = RedisServer::start();
    let (node, _) = linked(options(server.url())).await;
    let first = publish(&node, "room", "a").await;
    // Some wait there all the time: between any two round trips one is executed.
    let mut flushers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut connection = server.connect().await;
        flushers.spawn(async move {
            loop {
                let mut flushes = redis::pipe();
                for _ in 0..8 {
                    flushes.cmd("SCRIPT").arg("FLUSH");
                }
                let flushed: redis::RedisResult<()> = flushes.query_async(&mut connection).await;
                flushed.expect("flushed");
            }
        });
    }
    let loaded = || server.calls("script|load");
    let before = loaded().await;
    assert!(before > 0, "no count");
    for _ in 0..READS {
        let read = node.read(&named("room"), LOG, Read::Newest { limit: 9 });
        let found = read.await.expect("read");
        assert_eq!(found.position, Some(first));
    }
    let loaded = loaded().await - before;
    // Once when it turns out to be gone, and once before the read.
    assert!(loaded <= 2 * READS, "loaded {loaded} times");
}

/// Asks again until what the backend says of writes is this.
async fn until_refusing(node: &Redis, refusing: Option<Refused>) {
    let wanted = (refusing, refusing.is_none());
    let said = async || (node.refusing(), node.ready());
    eventually(&format!("{refusing:?}"), said, |said| *said == wanted).await;
}

/// Has a server refuse, and take again, what nodes write; looks at what they say.
async fn refuses(server: &RedisServer, refuse: &[&str], why: Refused, allow: &[&str]) {
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let first = publish(&node, "room", "a").await;
    server.tell(refuse).await;
    let refused = node.publish(text("room", LOG, "b")).await;
    assert!(
        matches!(&refused, Err(error @ BackendError::Refused(found))
            if *found == why && !error.to_string().contains("reached")),
        "{refused:?}"
    );
    until_refusing(&node, Some(why)).await;
    // What is there can be read, by members and others.
    for read in [
        Read::Newest { limit: 9 },
        Read::Begin,
        Read::Resume {
            position: first,
            limit: 9,
        },
    ] {
        let found = node.read(&named("room"), LOG, read).await;
        assert_eq!(found.expect("read").position, Some(first));
    }
    let begun = node.read(&named("new"), LOG, Read::Begin).await;
    assert!(matches!(begun, Err(BackendError::Refused(found)) if found == why));
    server.tell(allow).await;
    until_refusing(&node, None).await;
    assert_eq!(publish(&node, "room", "c").await, first.next());
    assert_eq!(sink.lost(), 0, "the link serves on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_publications_and_takes_them_again() {
    let server = RedisServer::start();
    refuses(
        &server,
        &["CONFIG", "SET", "maxmemory", "1"],
        Refused::Full,
        &["CONFIG", "SET", "maxmemory", "0"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_save_refuses_publications_and_takes_them_again() {
    let server = RedisServer::start();
    server.tell(&["CONFIG", "SET", "save", "3600 1"]).await;
    server.tell(&["SET", "key", "value"]).await;
    // Where it is to save there is a directory.
    server
        .tell(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"])
        .await;
    let directory: Vec<String> = server.ask(&["CONFIG", "GET", "dir"]).await;
    std::fs::create_dir(Path::new(&directory[1]).join("dump.rdb")).expect("a directory");
    server.tell(&["BGSAVE"]).await;
    server
        .until(&["INFO", "persistence"], |info: &String| {
            info.contains("rdb_last_bgsave_status:err")
        })
        .await;
    let set = |stop| ["CONFIG", "SET", "stop-writes-on-bgsave-error", stop];
    refuses(&server, &set("yes"), Refused::CannotSave, &set("no")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_permission_is_told_apart_from_one_without_a_link() {
    let server = RedisServer::start();
    refuses(
        &server,
        &["ACL", "SETUSER", "default", "-xadd", "-hset", "-setrange"],
        Refused::NoPermission,
        &["ACL", "SETUSER", "default", "+xadd", "+hset", "+setrange"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_a_script_keeps_busy_is_linked_still_and_goes_on_afterwards() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let registry = prometheus::Registry::new();
    for collector in node.collectors() {
        registry.register(collector).expect("registered once");
    }
    let refused = || {
        let families = registry.gather();
        let refused = families
            .iter()
            .find(|family| family.name() == "fanfare_backend_refused_total");
        let busy = refused
            .into_iter()
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        let busy = busy.filter(|metric| metric.get_label().iter().any(|it| it.value() == "busy"));
        busy.map(|metric| metric.get_counter().get_value())
            .sum::<f64>()
    };
    subscribe(&node, "room").await;
    let first = publish(&node, "room", "a").await;
    server.keep_busy().await;
    until_refusing(&node, Some(Refused::Busy)).await;
    let is_busy = |error| matches!(error, BackendError::Refused(Refused::Busy));
    let published = node.publish(text("room", LOG, "b")).await;
    assert!(published.is_err_and(is_busy));
    let read = node.read(&named("room"), LOG, Read::Begin).await;
    assert!(read.is_err_and(is_busy));
    assert!(node.subscribe(&named("new"), 0).await.is_err_and(is_busy));
    // However long it takes.
    let before = refused();
    let probed = |refused: &f64| *refused >= before + 5.0;
    eventually("probes", async || refused(), probed).await;

    server.end_busy().await;
    until_refusing(&node, None).await;
    assert_eq!(publish(&node, "room", "c").await, first.next());
    sink.until("both", |sink| sink.texts("room") == ["a", "c"])
        .await;
    subscribe(&node, "new").await;
    assert_eq!(sink.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_leaves_and_changes_nothing() {
    const PROBES: u64 = 40;
    let server = RedisServer::start();
    let options = options(server.url());
    let probe = format!("fanfare:probe:{}", options.node);
    let (node, _) = linked(options).await;
    let probes = || server.calls("publish");
    let changes = || server.count("persistence", "rdb_changes_since_last_save:");
    let (sent, changed) = (probes().await, changes().await);
    eventually("probes", probes, |probes| *probes >= sent + PROBES).await;
    // The node's lease is renewed meanwhile.
    let changed = changes().await - changed;
    assert!(changed < PROBES / 2, "{changed} changes");
    let there: bool = server.ask(&["EXISTS", &probe]).await;
    assert!(!there);
    assert!(node.ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_under_the_probes_name_does_not_keep_a_node_from_its_redis() {
    let server = RedisServer::start();
    let options = options(server.url());
    let probe = format!("fanfare:probe:{}", options.node);
    server.tell(&["RPUSH", &probe, "no string"]).await;
    let (node, sink) = linked(options).await;
    assert!(node.ready());
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
    until_refusing(&node, Some(Refused::Full)).await;
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until_refusing(&node, None).await;
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
