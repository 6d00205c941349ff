//! Redis Cluster: slots that move and masters that are replaced are followed, and only the rooms
//! concerned notice.

#[allow(dead_code, reason = "not every suite needs every node")]
#[path = "support/node.rs"]
mod node;
#[allow(dead_code, reason = "not every suite publishes with keys")]
#[path = "support/publications.rs"]
mod publications;
#[allow(dead_code, reason = "not every suite looks at everything")]
#[path = "support/recording.rs"]
mod recording;
#[path = "support/redis_cluster.rs"]
mod redis_cluster;
#[allow(dead_code, reason = "not every suite does everything to its server")]
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/stream.rs"]
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_broker::backend::redis::{ConnectError, Options, Redis};
use fanfare_broker::backend::{Backend, BackendError, Read, Refused};

use node::{is_done, linked, options, publish, subscribe};
use publications::{LOG, keyed, named, text};
use recording::{DEADLINE, Recording, eventually};
use redis_cluster::{MASTERS, RedisCluster};
use redis_server::{RedisServer, free_port};
use stream::Stream;

/// Long enough for a busy machine, short enough to wait for.
const DOWN_AFTER: Duration = Duration::from_secs(2);

fn member(cluster: &RedisCluster) -> Options {
    Options {
        urls: cluster.seeds(),
        cluster: true,
        connect_timeout: Duration::from_secs(2),
        // Few, so that some wait behind those that are under way.
        pipeline: 2,
        ..options(String::new())
    }
}

/// A node, and for each master a room whose slot it has.
async fn node_and_rooms(cluster: &RedisCluster) -> (Arc<Redis>, Arc<Recording>, Vec<String>) {
    let (node, sink) = linked(member(cluster)).await;
    let mut rooms = vec![None; MASTERS];
    for number in 0.. {
        let room = format!("room {number}");
        rooms[RedisCluster::home(cluster.slot(&room).await)].get_or_insert(room);
        if rooms.iter().all(Option::is_some) {
            break;
        }
    }
    let rooms: Vec<_> = rooms.into_iter().flatten().collect();
    sink.watch(&rooms);
    for room in &rooms {
        subscribe(&node, room).await;
        publish(&node, room, "first").await;
    }
    (node, sink, rooms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_followed_with_its_keys_while_it_is_published_to() {
    let cluster = RedisCluster::start(DEADLINE).await;
    let (node, sink, rooms) = node_and_rooms(&cluster).await;
    let stream = Stream::begin(&node, &rooms[0]);
    let other = Stream::begin(&node, &rooms[1]);
    let slot = cluster.slot(&rooms[0]).await;
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        stream.until_answered(stream.answered() + 20).await;
        let others = other.answered();
        cluster.begin_move(slot, from, to).await;
        // With its keys still there, and with one of two gone: what cannot be done is held.
        stream.until_answered(stream.answered() + 20).await;
        assert_eq!(cluster.move_keys(slot, from, to, 1).await, 1);
        other.until_answered(others + 20).await;
        while cluster.move_keys(slot, from, to, 100).await > 0 {}
        cluster.finish_move(slot, from, to).await;
        stream.until_answered(stream.answered() + 20).await;
    }
    let (stream, other) = (stream.end().await, other.end().await);
    assert_eq!(
        stream.check(&node, &sink).await,
        0,
        "nothing accepted is lost"
    );
    assert_eq!(other.check(&node, &sink).await, 0);
    assert!(sink.lost_of(&rooms[0]) >= 3);
    sink.until("the last return", |sink| sink.restored_of(&rooms[0]) >= 3)
        .await;
    assert_eq!(sink.lost_of(&rooms[1]), 0, "a room that never moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cluster_cannot_do_in_the_midst_of_a_move_waits_and_keeps_its_order() {
    let cluster = RedisCluster::start(DEADLINE).await;
    let (node, _, rooms) = node_and_rooms(&cluster).await;
    let room = &rooms[0];
    let slot = cluster.slot(room).await;
    cluster.begin_move(slot, 0, 1).await;
    // The record of a key is not there yet, the log is: TRYAGAIN. Then one without, which could
    // be done at once, but not before.
    let key = node.publish(keyed(room, LOG, "with a key", "k"));
    let plain = node.publish(text(room, LOG, "without"));
    while cluster.move_keys(slot, 0, 1, 100).await > 0 {}
    cluster.finish_move(slot, 0, 1).await;
    let outcomes = [key.await, plain.await];
    // Each is done or refused as one to try again; never done in another order.
    let mut done = Vec::new();
    for (outcome, content) in outcomes.iter().zip(["with a key", "without"]) {
        match outcome {
            Ok(_) => done.push(content),
            Err(error) => assert!(matches!(error, BackendError::Unavailable), "{error}"),
        }
    }
    let again = || node.publish(keyed(room, LOG, "with a key", "k"));
    let position = eventually("the key", again, is_done).await;
    let position = position.expect("accepted");
    if let Ok(first) = &outcomes[0] {
        assert_eq!(&position, first, "accepted once");
    } else {
        done.push("with a key");
    }
    // The room is read once it is subscribed at its new master.
    let newest = Read::Newest { limit: 10 };
    let read = || node.read(&named(room), LOG, newest);
    let read = eventually("the log", read, is_done).await.expect("read");
    let found = read
        .publications
        .iter()
        .skip(1)
        .map(|publication| String::from_utf8_lossy(&publication.data.bytes).into_owned());
    assert_eq!(found.collect::<Vec<_>>(), done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_replaced_by_its_replica() {
    let mut cluster = RedisCluster::start(DOWN_AFTER).await;
    let (node, sink, rooms) = node_and_rooms(&cluster).await;
    let stream = Stream::begin(&node, &rooms[0]);
    let other = Stream::begin(&node, &rooms[1]);
    // There, and back to the one that was killed first.
    for (killed, heir) in [(0, MASTERS), (MASTERS, 0)] {
        stream.until_answered(stream.answered() + 20).await;
        cluster.nodes[killed].kill();
        let others = other.answered();
        other.until_answered(others + 20).await;
        cluster.until_master(heir).await;
        stream.until_answered(stream.answered() + 20).await;
        cluster.nodes[killed].restart();
        cluster.until_whole().await;
    }
    stream.end().await.check(&node, &sink).await;
    assert_eq!(other.end().await.check(&node, &sink).await, 0);
    assert!(sink.lost_of(&rooms[0]) >= 2);
    sink.until("the return", |sink| sink.restored_of(&rooms[0]) >= 2)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_command_is_followed_there_and_back() {
    let cluster = RedisCluster::start(DEADLINE).await;
    let (node, sink, rooms) = node_and_rooms(&cluster).await;
    let stream = Stream::begin(&node, &rooms[2]);
    for heir in [MASTERS + 2, 2] {
        stream.until_answered(stream.answered() + 20).await;
        cluster.take_over(heir).await;
        stream.until_answered(stream.answered() + 20).await;
        cluster.until_whole().await;
    }
    stream.end().await.check(&node, &sink).await;
    sink.until("the return", |sink| sink.restored_of(&rooms[2]) >= 2)
        .await;
    assert_eq!(sink.lost_of(&rooms[0]), 0, "another master's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_come_and_go_while_slots_move_are_subscribed_as_last_asked() {
    let cluster = Arc::new(RedisCluster::start(DEADLINE).await);
    let (node, sink, rooms) = node_and_rooms(&cluster).await;
    let slot = cluster.slot("moving").await;
    let home = RedisCluster::home(slot);
    let done = Arc::new(AtomicBool::new(false));
    let moving = tokio::spawn({
        let (cluster, done) = (Arc::clone(&cluster), Arc::clone(&done));
        async move {
            // There and back, often before the node has looked.
            while !done.load(Ordering::SeqCst) {
                let other = (home + 1) % MASTERS;
                cluster.move_empty(slot, home, other).await;
                cluster.move_empty(slot, other, home).await;
            }
        }
    });
    // Every other room has the slot that moves: up to the first brace, its name is the same. Those
    // are refused at times, among others that are not.
    let passing: Vec<_> = (0..2_000)
        .map(|number| match number % 2 {
            0 => format!("moving}}{number}"),
            _ => format!("p{number}"),
        })
        .collect();
    let (mut refused, mut round) = (0, 0);
    // Until there was something to tell apart.
    let there = loop {
        let asked: Vec<_> = (0..)
            .zip(&passing)
            .map(|(worker, room)| node.subscribe(&named(room), worker))
            .collect();
        let mut there = Vec::new();
        for (room, answer) in passing.iter().zip(asked) {
            match answer.await {
                Ok(()) => there.push(room),
                Err(BackendError::Unavailable) => refused += 1,
                Err(error) => panic!("{room}: {error}"),
            }
        }
        round += 1;
        if round >= 20 && refused > 0 {
            break there;
        }
        for room in &passing {
            node.unsubscribe(&named(room));
        }
    };
    done.store(true, Ordering::SeqCst);
    moving.await.expect("no panic");
    for room in passing.iter().filter(|room| !there.contains(room)) {
        node.unsubscribe(&named(room));
    }

    // What was answered is there, wherever it has moved since.
    for room in &there {
        let deaf = format!("what is said in {room}; {refused} were refused");
        let say = || node.publish(text(room, LOG, "a"));
        let _ = eventually(&deaf, say, |_| !sink.texts(room).is_empty()).await;
    }
    // And what was not is not.
    let mut subscribed = 0;
    for index in 0..MASTERS {
        let channels: Vec<String> = cluster.nodes[index]
            .ask(&["PUBSUB", "SHARDCHANNELS", "fanfare:{*"])
            .await;
        subscribed += channels.len();
    }
    assert_eq!(subscribed, there.len() + rooms.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_will_do_to_begin_with() {
    let mut cluster = RedisCluster::start(DEADLINE).await;
    // A replica that is there, after a port where nobody is.
    let options = Options {
        urls: vec![
            format!("redis://127.0.0.1:{}", free_port()),
            cluster.nodes[MASTERS + 1].url(),
        ],
        ..member(&cluster)
    };
    let checked = Redis::new(options.clone()).expect("good options");
    checked.check().await.expect("a cluster");
    let (node, _) = linked(options.clone()).await;
    publish(&node, "room", "a").await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    let error = checked.check().await.expect_err("nobody is there");
    assert!(matches!(error, ConnectError::Unreachable(..)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_another_mode_is_named_with_the_remedy() {
    let alone = RedisServer::start();
    let in_cluster = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let complaint = |url: String, cluster: bool| {
        node::complaint(Options {
            cluster,
            ..options(url)
        })
    };
    let error = complaint(alone.url(), true).await;
    assert!(matches!(error, ConnectError::Mode(..)), "{error}");
    assert!(
        error.to_string().contains("leave out redis.cluster"),
        "{error}"
    );
    let error = complaint(in_cluster.url(), false).await;
    assert!(matches!(error, ConnectError::Mode(..)), "{error}");
    assert!(
        error.to_string().contains("redis.cluster = true"),
        "{error}"
    );
    // A cluster without slots.
    let error = complaint(in_cluster.url(), true).await;
    assert!(matches!(error, ConnectError::ClusterDown(_)), "{error}");
    assert!(error.may_pass());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_a_script_keeps_busy_refuses_new_rooms_and_takes_them_afterwards() {
    // Nothing is taken for down.
    let cluster = RedisCluster::start(DEADLINE).await;
    let (node, sink, rooms) = node_and_rooms(&cluster).await;
    let mut number = 0;
    let new = loop {
        let room = format!("new {number}");
        if RedisCluster::home(cluster.slot(&room).await) == 0 {
            break named(&room);
        }
        number += 1;
    };
    cluster.nodes[0].keep_busy().await;
    let refused = tokio::time::timeout(DEADLINE, node.subscribe(&new, 0)).await;
    let refused = refused.expect("answered in time");
    assert!(
        matches!(refused, Err(BackendError::Refused(Refused::Busy))),
        "{refused:?}"
    );
    publish(&node, &rooms[1], "elsewhere").await;
    cluster.nodes[0].end_busy().await;
    let taken = || node.subscribe(&new, 0);
    eventually("the subscription", taken, Result::is_ok)
        .await
        .expect("taken");
    publish(&node, &rooms[0], "afterwards").await;
    sink.until("all", |sink| {
        sink.texts(&rooms[0]) == ["first", "afterwards"]
            && sink.texts(&rooms[1]) == ["first", "elsewhere"]
    })
    .await;
    assert_eq!(sink.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_which_something_stays_amiss_is_asked_ever_more_seldom() {
    let mut cluster = RedisCluster::start(DEADLINE).await;
    let (node, _) = linked(member(&cluster)).await;
    // Nobody takes its place.
    cluster.nodes[0].kill();
    let answered = async |cluster: &RedisCluster| -> u64 {
        let mut sum = 0;
        for node in &cluster.nodes[1..MASTERS] {
            sum += node.calls("cluster|slots").await;
        }
        sum
    };
    let before = answered(&cluster).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let asked = answered(&cluster).await - before;
    assert!((1..=24).contains(&asked), "{asked} times in 8 s");
    drop(node);
}
