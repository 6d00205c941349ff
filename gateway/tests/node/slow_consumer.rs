//! Members that do not read what they get: bounded, cut off or thinned out, never in others' way.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{Client, Format, open_on};
use crate::node::{BACKENDS, Node};
use crate::socket::{CLOSE, End, Socket};

const SLOW: &str = r#"fanfare_slow_consumers_total{action="disconnect"}"#;
const SHED: &str = r#"fanfare_slow_consumers_total{action="shed"}"#;
const DROPPED: &str = r#"fanfare_dropped_total{reason="slow_consumer"}"#;

/// How many publications are more than the kernel and the outbox hold, each of [`DATA`] bytes.
const MANY: u64 = 400;
const DATA: usize = 8_000;

/// An outbox of a few publications. A slow consumer may take its time to look at the close frame.
/// With one worker, what one member has got the outboxes of all have got.
const SMALL: &str = "workers = 1\n[limits]\nmax_message = 16384\noutbox_bytes = 65536\n\
    close_timeout = '30s'\n";

/// A client that has been welcomed and reads no more until the test does.
async fn slow_client(node: &Node, path: &str) -> Client {
    let socket = Socket::connect_with_little_room(node.public).await;
    Client::welcomed(open_on(socket, path, "").await, Format::Json).await
}

/// One that has joined `a`.
async fn slow_member(node: &Node) -> Client {
    let mut client = slow_client(node, "/ws").await;
    let joined = client.call(json!({"type": "join", "room": "a"})).await;
    assert_eq!(joined["type"], "joined");
    client
}

/// Publishes [`MANY`] into `a`, all of which come back.
async fn publish_many(member: &mut Client) {
    for n in 1..=MANY {
        let offset = member.publish("a", json!("x".repeat(DATA))).await;
        assert_eq!(offset, n);
        assert_eq!(member.message().await["offset"], n);
    }
}

/// A node whose room `a` thins out what waits for the slow; a slow member of it, and a fast one,
/// which has published [`MANY`]; and the offsets that the slow one still gets.
async fn thinned_out(slow_consumer: &str) -> (Node, Client, Client, Vec<u64>) {
    let rule = format!("[[rooms]]\nmatch = 'a'\nslow_consumer = '{slow_consumer}'\n");
    let node = Node::with(&format!("{SMALL}{rule}")).await;
    let mut slow = slow_member(&node).await;
    let mut fast = Client::join(&node, "a").await;
    publish_many(&mut fast).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&MANY) {
        let message = slow.message().await;
        seen.push(message["offset"].as_u64().expect("an offset"));
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert!(seen.len() < MANY as usize, "{seen:?}");
    (node, slow, fast, seen)
}

#[tokio::test]
async fn slow_consumer_is_closed_with_4008_and_recovers_while_others_lose_nothing() {
    let node = Node::with(SMALL).await;
    let mut slow = slow_member(&node).await;
    let mut fast = Client::join(&node, "a").await;
    let epoch = fast.call(json!({"type": "history", "room": "a"})).await["epoch"].clone();
    publish_many(&mut fast).await;
    node.until_metric(SLOW, 1.0).await;
    node.until_metric("fanfare_memberships", 1.0).await;

    // What the kernel had taken comes in order, then the close frame in place of the outbox.
    let mut last = 0;
    let close = loop {
        let frame = slow.socket.frame().await;
        if frame.opcode == CLOSE {
            break frame;
        }
        let message: Value = serde_json::from_slice(&frame.payload).expect("a message");
        last += 1;
        assert_eq!(message["offset"], last, "a gap");
    };
    assert_eq!(close.close_code(), Some(4008));
    assert!(last < MANY, "nothing was left out");
    slow.socket.send(&crate::socket::close(4008)).await;
    slow.socket.expect_end().await;

    let mut back = Client::connect(&node, "/ws").await;
    let since = json!({"epoch": epoch, "offset": MANY - 100});
    let joined = back
        .call(json!({"type": "join", "room": "a", "since": since}))
        .await;
    assert_eq!(joined["recovered"], true);
    let missed = joined["messages"].as_array().expect("a list");
    let missed: Vec<_> = missed
        .iter()
        .map(|message| message["offset"].clone())
        .collect();
    assert_eq!(
        missed,
        (MANY - 99..=MANY).map(Value::from).collect::<Vec<_>>()
    );
    fast.publish("a", json!("on we go")).await;
    assert_eq!(back.data(1).await, ["on we go"]);
}

#[tokio::test]
async fn a_slow_consumer_that_never_reads_is_dropped_after_the_close_timeout() {
    let node = Node::with(&SMALL.replace("30s", "200ms")).await;
    let mut slow = slow_member(&node).await;
    let mut fast = Client::join(&node, "a").await;
    publish_many(&mut fast).await;
    node.until_metric("fanfare_connections", 1.0).await;
    let closed = r#"fanfare_connections_closed_total{reason="slow_consumer"}"#;
    node.until_metric(closed, 1.0).await;
    fast.publish("a", json!("still here")).await;
    assert_eq!(fast.data(1).await, ["still here"]);
    // Reading on, it finds the end and not half a frame too many.
    let end = loop {
        match slow.socket.end_of_stream().await {
            None => {}
            Some(end) => break end,
        }
    };
    assert!(matches!(end, End::Closed | End::Reset));
}

#[tokio::test]
async fn several_slow_consumers_of_one_room_are_closed_and_the_node_lives() {
    let node = Node::with(SMALL).await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(slow_member(&node).await);
    }
    let mut fast = Client::join(&node, "a").await;
    publish_many(&mut fast).await;
    node.until_metric(SLOW, 5.0).await;
    for client in slow {
        client.expect_closed(4008).await;
    }
    node.until_metric("fanfare_connections", 1.0).await;
}

#[tokio::test]
async fn the_slowest_is_shed_when_many_outboxes_take_too_much_memory_together() {
    const LEAD: u64 = 30;
    const MOST: u64 = 1_000;
    let config = "workers = 1\n[limits]\noutbox_bytes = 1048576\nbacklog_bytes = 1048576\n\
        close_timeout = '30s'\n[[rooms]]\nmatch = '*'\npublish = 'anyone'\n";
    let node = Node::with(config).await;
    let mut publisher = Client::connect(&node, "/ws").await;
    let mut members = Vec::new();
    for room in ["r0", "r1", "r2", "r3"] {
        let mut member = slow_client(&node, &format!("/ws?room={room}")).await;
        assert_eq!(member.event().await["type"], "joined");
        members.push(member);
    }
    // The one in `r0` is farther behind than the others, and none has a full outbox.
    for _ in 0..LEAD {
        publisher.publish("r0", json!("x".repeat(DATA))).await;
    }
    let mut rounds = 0;
    while node.metrics().await.value(SHED) == Some(0.0) {
        for room in ["r0", "r1", "r2", "r3"] {
            publisher.publish(room, json!("x".repeat(DATA))).await;
        }
        rounds += 1;
        assert!(rounds < MOST, "nobody was shed");
    }
    members.remove(0).expect_closed(4008).await;
    for mut member in members {
        assert_eq!(member.data(rounds as usize).await.len(), rounds as usize);
    }
    let metrics = node.metrics().await;
    assert_eq!(
        (metrics.value(SHED), metrics.value(SLOW)),
        (Some(1.0), Some(0.0))
    );
}

#[tokio::test]
async fn with_drop_oldest_the_oldest_give_way_and_the_connection_lives() {
    let (node, mut slow, _fast, seen) = thinned_out("drop_oldest").await;
    let gaps = seen
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .count();
    assert!(gaps >= 1, "{seen:?}");
    // The newest are together: as many as the outbox holds.
    let newest = MANY - 65_536 / (DATA as u64 + 200) + 1;
    assert!(
        seen.ends_with(&(newest..=MANY).collect::<Vec<_>>()),
        "{seen:?}"
    );
    node.until_metric(DROPPED, (MANY as usize - seen.len()) as f64)
        .await;
    assert_eq!(slow.call(json!({"type": "ping"})).await["type"], "pong");
    assert_eq!(node.metrics().await.value(SLOW), Some(0.0));
}

#[tokio::test]
async fn with_latest_only_the_newest_waits_and_the_connection_lives() {
    let (node, mut slow, mut fast, seen) = thinned_out("latest").await;
    assert_ne!(
        seen[seen.len() - 2],
        MANY - 1,
        "more than the newest waited"
    );
    node.until_metric(DROPPED, (MANY as usize - seen.len()) as f64)
        .await;
    // Once it reads again, it gets everything again.
    for n in 1..=10 {
        fast.publish("a", json!(n)).await;
        assert_eq!(slow.data(1).await, [n]);
    }
    assert_eq!(node.metrics().await.value(SLOW), Some(0.0));
}

#[tokio::test]
async fn replies_that_nobody_reads_close_with_4008_too() {
    let node = Node::with(SMALL).await;
    let mut slow = slow_member(&node).await;
    let pings: Vec<_> = (100..20_100)
        .map(|id| json!({"type": "ping", "id": id}))
        .collect();
    slow.send_all(&pings).await;
    node.until_metric(SLOW, 1.0).await;
    slow.expect_closed(4008).await;
}

#[tokio::test]
async fn a_burst_larger_than_the_outbox_is_not_slowness() {
    let node = Node::with("[limits]\nmax_message = 1024\noutbox_bytes = 4096").await;
    let mut ann = Client::join(&node, "a").await;
    let mut bo = Client::join(&node, "a").await;
    // Several outboxes full, and less than the kernel takes before anyone reads.
    let burst = 150;
    let commands: Vec<_> = (0..burst)
        .map(|n| json!({"type": "publish", "id": n + 100, "room": "a", "data": n}))
        .collect();
    ann.send_all(&commands).await;
    for n in 0..burst {
        assert_eq!(ann.reply(n + 100).await["offset"], n + 1);
    }
    let expected: Vec<_> = (0..burst).map(Value::from).collect();
    assert_eq!(ann.data(expected.len()).await, expected);
    assert_eq!(bo.data(expected.len()).await, expected);
    assert_eq!(node.metrics().await.value(SLOW), Some(0.0));
}

#[tokio::test]
async fn coming_back_to_many_rooms_at_once_is_not_slowness() {
    const ROOMS: u64 = 20;
    const MISSED: u64 = 40;
    for backend in BACKENDS {
        let node = Node::on(backend, "").await;
        let mut publisher = Client::connect(&node, "/ws").await;
        let mut joins = Vec::new();
        for id in 1..=ROOMS {
            let room = format!("room {id}");
            let joined = publisher.call(json!({"type": "join", "room": room})).await;
            for _ in 0..MISSED {
                publisher
                    .publish_and_see(&room, json!("x".repeat(DATA)))
                    .await;
            }
            let since = json!({"epoch": joined["epoch"], "offset": 0});
            joins.push(json!({"type": "join", "id": id, "room": room, "since": since}));
        }
        // Together many times an outbox, asked for as the client does it: all at once.
        let mut back = Client::connect(&node, "/ws").await;
        back.send_all(&joins).await;
        for id in 1..=ROOMS {
            let joined = back.reply(id).await;
            assert_eq!(joined["recovered"], true);
            assert_eq!(
                joined["messages"].as_array().map(Vec::len),
                Some(MISSED as usize)
            );
        }
        assert_eq!(node.metrics().await.value(SLOW), Some(0.0));
    }
}

#[tokio::test]
async fn a_replay_that_takes_longer_than_the_heartbeat_to_read_arrives() {
    let node = Node::with("heartbeat = '4s'").await;
    let mut publisher = Client::join(&node, "a").await;
    publish_many(&mut publisher).await;
    let mut slow = slow_client(&node, "/ws").await;
    // Two of them, so that a command waits for the first as well.
    slow.send_all(&[
        json!({"type": "join", "id": 1, "room": "a", "history": 256}),
        json!({"type": "history", "id": 2, "room": "a"}),
        json!({"type": "ping", "id": 3}),
    ])
    .await;
    // Pings wait behind the replay: nothing is answered while it is read at this pace.
    for _ in 0..80 {
        sleep(Duration::from_millis(100)).await;
        slow.socket.receive_some(32_768).await;
    }
    for id in [1, 2] {
        let reply = slow.reply(id).await;
        assert_eq!(
            reply["messages"].as_array().map(Vec::len),
            Some(256),
            "{}",
            reply["type"]
        );
    }
    assert_eq!(slow.reply(3).await["type"], "pong");
}
