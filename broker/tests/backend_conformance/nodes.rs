//! What only a backend of many nodes can promise, on one server.

use fanfare_broker::backend::{Backend, Read};

use crate::fixture::{Fixture, node};
use crate::publications::{LOG, NO_LOG, keyed, named, text};
use crate::redis_server::RedisServer;
use crate::{ALL, after, offsets, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_see_each_others_publications_in_one_order() {
    let server = RedisServer::start();
    let nodes = [node(&server, "n1").await, node(&server, "n2").await];
    for (node, _) in &nodes {
        node.subscribe(&named("shared"), 0)
            .await
            .expect("subscribed");
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
async fn rooms_are_received_on_a_connection_of_the_worker_that_wants_them_first() {
    let f = Fixture::redis().await;
    let server = &f.servers[0];
    let (first, second) = (named("of the first"), named("of the second"));
    for (room, worker) in [(&first, 0), (&second, 1), (&named("too"), 1)] {
        let subscribed = f.backend.subscribe(room, worker);
        subscribed.await.expect("subscribed");
    }
    // Each has the probe's channel, too.
    assert_eq!(subscriptions(server).await, [2, 3]);
    // Whoever wants it later gets it from there, and so does a third worker of two threads.
    let subscribed = f.backend.subscribe(&first, 1);
    subscribed.await.expect("subscribed");
    let subscribed = f.backend.subscribe(&named("of the third"), 2);
    subscribed.await.expect("subscribed");
    assert_eq!(subscriptions(server).await, [3, 3]);
    // Once nobody has wanted it for a while, it is whoever's that comes next.
    f.backend.unsubscribe(&second);
    for room in [&named("fence"), &second] {
        let subscribed = f.backend.subscribe(room, 0);
        subscribed.await.expect("subscribed");
    }
    assert_eq!(subscriptions(server).await, [2, 5]);
    for room in ["of the first", "of the second", "too", "of the third"] {
        f.publish(room, LOG, "x").await;
        f.publish(room, LOG, "y").await;
        f.sink
            .until("each once", |sink| sink.texts(room) == ["x", "y"])
            .await;
    }
}

/// How many channels each of a server's subscribed connections has, the least first.
async fn subscriptions(server: &RedisServer) -> Vec<u64> {
    let clients: String = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    let count = |client: &str| {
        let field = client
            .split(' ')
            .find_map(|field| field.strip_prefix("sub="));
        field.and_then(|count| count.parse().ok()).expect("a count")
    };
    let mut counts: Vec<_> = clients.lines().map(count).collect();
    counts.sort_unstable();
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rooms_are_subscribed_and_read_at_once() {
    let f = Fixture::redis().await;
    let rooms: Vec<_> = (0..10_000).map(|room| named(&format!("r{room}"))).collect();
    let subscribed: Vec<_> = (0..)
        .zip(&rooms)
        .map(|(worker, room)| f.backend.subscribe(room, worker))
        .collect();
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
    f.read("only read", LOG, Read::Begin).await;
    f.publish("no log", NO_LOG, "x").await;

    let mut redis = f.servers[0].connect().await;
    let mut keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut redis)
        .await
        .unwrap();
    // The node's lease has a test of its own.
    keys.retain(|key| !key.starts_with("fanfare:{presence}:"));
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
        let ttl: i64 = redis::cmd("PTTL")
            .arg(&key)
            .query_async(&mut redis)
            .await
            .unwrap();
        assert!(ttl > 0, "{key} lives forever");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_given_its_time_now_and_then_and_when_it_begins_anew() {
    let f = Fixture::redis().await;
    let mut redis = f.servers[0].connect().await;
    // Whoever is given time has it, for longer than the TTL; who has not lives forever here.
    let mut given = async |room: &str, act: &str, part: &str| {
        let _: i64 = redis::cmd(act)
            .arg(format!("fanfare:{{{room}}}:{part}"))
            .query_async(&mut redis)
            .await
            .unwrap();
        f.publish(room, LOG, "x").await;
        let mut given = Vec::new();
        for part in ["log", "meta"] {
            let ttl: i64 = redis::cmd("PTTL")
                .arg(format!("fanfare:{{{room}}}:{part}"))
                .query_async(&mut redis)
                .await
                .unwrap();
            assert!(ttl == -1 || ttl > i64::try_from(LOG.ttl.as_millis()).unwrap());
            given.push(ttl != -1);
        }
        given
    };
    assert_eq!(given("a", "EXISTS", "log").await, [true, true]);
    assert_eq!(given("a", "PERSIST", "log").await, [false, true]);
    assert_eq!(given("a", "PERSIST", "meta").await, [false, false]);
    assert_eq!(given("a", "DEL", "log").await, [true, true]);
    assert_eq!(given("a", "PERSIST", "log").await, [false, true]);
    assert_eq!(given("a", "DEL", "meta").await, [true, true]);

    // One that is answered with an earlier position gives nothing, and so counts for nothing.
    for _ in 0..2 {
        let publish = keyed("b", LOG, "x", "k");
        f.backend.publish(publish).await.expect("published");
    }
    assert_eq!(given("b", "PERSIST", "log").await, [true, true]);
    assert_eq!(given("b", "PERSIST", "log").await, [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_skipped_and_the_position_stays_right() {
    let f = Fixture::redis().await;
    f.subscribe("garbage").await;
    let first = f.publish("garbage", LOG, "1").await.expect("a position");
    let mut redis = f.servers[0].connect().await;
    // A publication of a newer release, in the log and on the channel; then plain garbage.
    let newer = [&[0x92, 2, 0xc0][..]];
    let _: () = redis::cmd("XADD")
        .arg("fanfare:{garbage}:log")
        .arg("2-0")
        .arg("e")
        .arg(&newer)
        .query_async(&mut redis)
        .await
        .unwrap();
    let _: () = redis::cmd("HSET")
        .arg("fanfare:{garbage}:meta")
        .arg("o")
        .arg(2)
        .query_async(&mut redis)
        .await
        .unwrap();
    let position = format!("{}2 ", first.epoch);
    let _: () = redis::cmd("PUBLISH")
        .arg("fanfare:{garbage}")
        .arg([position.as_bytes(), newer[0]].concat())
        .query_async(&mut redis)
        .await
        .unwrap();
    for garbage in [&b""[..], b" ", b"\xff\xff", b"0000000000000001x 1"] {
        let _: () = redis::cmd("PUBLISH")
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
