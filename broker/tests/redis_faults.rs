//! What the Redis backend does when something fails: on a real `redis-server`, really killed,
//! paused, flushed, demoted and misconfigured.

#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_broker::backend::redis::{ConnectError, Options, Redis};
use fanfare_broker::backend::{Backend, BackendError, Read, Sink, Snapshot};
use fanfare_shared::Position;
use redis::FromRedisValue;

use node::{attached, linked, options, until_linked};
use publications::{LOG, NO_LOG, named, text};
use recording::{DEADLINE, Event};
use redis_server::{RedisServer, free_port};

/// Long enough for a busy machine, short enough to wait for.
const IMPATIENT: Duration = Duration::from_millis(700);

async fn publish(redis: &Redis, room: &str, content: &str) -> Position {
    let published = redis.publish(text(room, LOG, content)).await;
    published.expect("published").expect("a position")
}

async fn subscribe(redis: &Redis, room: &str) {
    redis.subscribe(&named(room)).await.expect("subscribed");
}

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

/// Asks a server something with a connection of the test's own.
async fn ask<T: FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut connection = server.connect().await;
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
        .query_async(&mut connection)
        .await
        .expect("answered")
}

async fn tell(server: &RedisServer, words: &[&str]) {
    let _: redis::Value = ask(server, words).await;
}

/// Why the backend cannot use a server.
async fn complaint(options: Options) -> (ConnectError, String) {
    let error = match Redis::new(options) {
        Ok(redis) => redis.check().await.expect_err("something is wrong"),
        Err(error) => error,
    };
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    (error, line)
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
    tell(&server, &["SAVE"]).await;
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

    tell(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 1);
    until_linked(&node).await;

    let channels: Vec<String> = ask(&server, &["PUBSUB", "CHANNELS"]).await;
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
    tell(
        &server,
        &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
    )
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
        tell(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
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
            Event::Lost => {
                assert!(up, "lost twice");
                (up, told) = (false, true);
            }
            Event::Restored => {
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

    let mut channels: Vec<String> = ask(&server, &["PUBSUB", "CHANNELS"]).await;
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
async fn a_dropped_backend_leaves_redis() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    drop(node);
    sink.until("the end", |sink| sink.lost() == 1).await;
    let gone = async {
        loop {
            let channels: Vec<String> = ask(&server, &["PUBSUB", "CHANNELS"]).await;
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
    tell(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(is_unavailable(&node.publish(text("room", LOG, "b")).await));
    tell(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(publish(&node, "room", "c").await, first.next());
    assert_eq!(sink.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_publication_does_not_fail_the_others() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    tell(&server, &["SET", "fanfare:{bad}:log", "not a stream"]).await;
    tell(
        &server,
        &[
            "HSET",
            "fanfare:{bad}:meta",
            "e",
            "00000000000000ff",
            "o",
            "1",
        ],
    )
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
    tell(&server, &["REPLICAOF", "127.0.0.1", &nobody]).await;
    assert!(is_unavailable(&busy.publish(text("room", LOG, "a")).await));
    busy_sink.until("the loss", |sink| sink.lost() == 1).await;
    idle_sink.until("the loss", |sink| sink.lost() == 1).await;

    let (error, line) = complaint(options(server.url())).await;
    assert!(matches!(error, ConnectError::Replica(..)), "{line}");
    assert!(line.contains(&format!("127.0.0.1:{nobody}")), "{line}");
    assert!(error.may_pass());

    tell(&server, &["REPLICAOF", "NO", "ONE"]).await;
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

// --- what is wrong at the start ---

#[tokio::test]
async fn an_address_that_is_none_is_named_with_what_would_be_right() {
    for url in ["localhost:6379", "http://:secret@h", "redis://:secret@", ""] {
        let (error, line) = complaint(options(url.to_owned())).await;
        assert!(matches!(error, ConnectError::Url(_)), "{line}");
        assert!(line.starts_with("redis.url: "), "{line}");
        assert!(!line.contains("secret"), "{line}");
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let (error, line) = complaint(options(format!("redis://127.0.0.1:{}", free_port()))).await;
    assert!(matches!(error, ConnectError::Unreachable(..)), "{line}");
    assert!(line.contains("refused"), "{line}");
    assert!(error.may_pass());
    let (error, line) = complaint(options("redis://no-such-host.invalid".to_owned())).await;
    assert!(matches!(error, ConnectError::Unreachable(..)), "{line}");
}

#[tokio::test]
async fn wrong_credentials_are_named_without_the_password() {
    let server = RedisServer::start_with(&["--requirepass", "right-secret"]);
    let port = server.port();
    let at = |credentials: &str| options(format!("redis://{credentials}127.0.0.1:{port}"));
    for credentials in [
        ":wrong-secret@",
        "nobody:wrong-secret@",
        "default:wrong-secret@",
        "",
    ] {
        let (error, line) = complaint(at(credentials)).await;
        assert!(matches!(error, ConnectError::Credentials(..)), "{line}");
        assert!(!line.contains("secret"), "{line}");
        assert!(!error.may_pass());
    }
    for credentials in [":right-secret@", "default:right-secret@"] {
        let (node, _) = linked(at(credentials)).await;
        publish(&node, "room", "a").await;
    }
}

#[tokio::test]
async fn a_user_with_the_permissions_that_are_named_suffices_and_fewer_are_named() {
    let server = RedisServer::start();
    let at = |user: &str| options(format!("redis://{user}:pw@127.0.0.1:{}", server.port()));
    let documented = "+@read +@write +@pubsub +@scripting +@connection +info ~fanfare:* &fanfare:*";
    let mut grant = vec!["ACL", "SETUSER", "node", "on", ">pw"];
    grant.extend(documented.split(' '));
    tell(&server, &grant).await;
    let (node, sink) = linked(at("node")).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;

    tell(
        &server,
        &["ACL", "SETUSER", "less", "on", ">pw", "+@connection"],
    )
    .await;
    let (error, line) = complaint(at("less")).await;
    assert!(matches!(error, ConnectError::Permission(..)), "{line}");
    assert!(line.contains(documented), "{line}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let server = RedisServer::start();
    let (error, line) = complaint(options(format!("{}/99", server.url()))).await;
    assert!(matches!(error, ConnectError::Database(_, 99)), "{line}");
    let (node, sink) = linked(options(format!("{}/7", server.url()))).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

/// Listens, and answers everybody with `answer`, if with anything.
fn impostor(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            if !answer.is_empty() {
                // Read first, lest closing resets the connection before the answer is seen.
                let _ = stream.read(&mut [0; 1_024]);
                let _ = stream.write_all(answer);
            }
            open.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn something_else_at_the_address_is_told_apart() {
    let http = impostor(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let (error, line) = complaint(options(http)).await;
    assert!(matches!(error, ConnectError::NotRedis(..)), "{line}");

    let silent = Options {
        connect_timeout: Duration::from_millis(100),
        ..options(impostor(b""))
    };
    let (error, line) = complaint(silent).await;
    assert!(matches!(error, ConnectError::Timeout(..)), "{line}");

    // What Redis 5 says, which repeats the arguments.
    let old = impostor(
        b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `secret`\r\n\
          -ERR x\r\n-ERR x\r\n-ERR x\r\n",
    );
    let old = old.replace("redis://", "redis://u:secret@");
    let (error, line) = complaint(options(old)).await;
    assert!(matches!(error, ConnectError::TooOld(..)), "{line}");
    assert!(!line.contains("secret"), "{line}");
}

// --- TLS and sockets ---

#[tokio::test]
async fn tls_is_spoken_and_the_servers_certificate_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    certify(directory.path());
    let authority = std::fs::read(directory.path().join("ca.crt")).expect("the authority");
    let tls = free_port();
    let tls_port = tls.to_string();
    let server = RedisServer::start_in(
        directory,
        &[
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            "{dir}/server.crt",
            "--tls-key-file",
            "{dir}/server.key",
            "--tls-ca-cert-file",
            "{dir}/ca.crt",
            "--tls-auth-clients",
            "no",
        ],
    );
    let url = format!("rediss://localhost:{tls}");
    let (node, sink) = linked(Options {
        authorities: Some(authority.clone()),
        ..options(url.clone())
    })
    .await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;

    // An authority that nobody trusts, plain text on the TLS port, and TLS on the plain one.
    let (error, line) = complaint(options(url)).await;
    assert!(matches!(error, ConnectError::Certificate(..)), "{line}");
    let (_, line) = complaint(options(format!("redis://localhost:{tls}"))).await;
    assert!(line.contains("rediss://"), "{line}");
    let plain = Options {
        // Redis waits for the end of a line.
        connect_timeout: IMPATIENT,
        ..options(format!("rediss://localhost:{}", server.port()))
    };
    let (error, line) = complaint(plain).await;
    assert!(matches!(error, ConnectError::Timeout(..)), "{line}");
    assert!(line.contains("TLS"), "{line}");
    let (error, line) = complaint(Options {
        authorities: Some(b"no certificate".to_vec()),
        ..options(format!("rediss://localhost:{tls}"))
    })
    .await;
    assert!(matches!(error, ConnectError::Authorities(_)), "{line}");
}

/// Makes an authority, and a certificate of it for `localhost`.
fn certify(directory: &Path) {
    std::fs::write(directory.join("ext"), "subjectAltName=DNS:localhost").expect("written");
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt \
         -extfile ext",
    ] {
        let made = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(directory)
            .output()
            .unwrap_or_else(|error| {
                panic!("openssl, which makes the certificates, cannot be started: {error}")
            });
        assert!(made.status.success(), "{made:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket");
    let url = format!("unix://{}", socket.display());
    let _server = RedisServer::start_in(directory, &["--unixsocket", "{dir}/socket"]);
    let (node, sink) = linked(options(url)).await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}
