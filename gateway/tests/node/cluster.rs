//! Several nodes and one Redis: one room wherever its members are, and what becomes of it when a
//! node or Redis goes away.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Client, FORMATS, Format, Plain, open};
use crate::deadline::{until, within};
use crate::http::get;
use crate::node::{Node, own_address};
use crate::redis_server::RedisServer;

/// A node that notices soon when Redis is gone, and keeps more than any test publishes.
fn config(redis: &RedisServer) -> String {
    format!(
        "[redis]\nurl = '{}'\nprobe_interval = '100ms'\nprobe_timeout = '1s'\n\
         [[rooms]]\nmatch = '*'\nhistory = {{ size = 20000, ttl = '10m' }}\n",
        redis.url()
    )
}

async fn nodes<const N: usize>(redis: &RedisServer) -> [Node; N] {
    let config = config(redis);
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(Node::with(&config).await);
    }
    nodes
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many as were pushed"))
}

/// A publication as members see it.
type Seen = BTreeMap<u64, Value>;

/// Takes a publication that has to follow on the last.
fn see(seen: &mut Seen, message: &Value) {
    assert_eq!(message["type"], "message", "{message}");
    let offset = message["offset"].as_u64().expect("an offset");
    assert_eq!(offset, seen.len() as u64 + 1, "out of order: {message}");
    seen.insert(offset, message["data"].clone());
}

/// Publishes `[who, n]` for each n, a few at a time, and reads meanwhile what the room sees.
/// Answers the offsets in the order of publishing; the replies themselves may come in any.
async fn publish_all(client: &mut Client, who: usize, count: usize, seen: &mut Seen) -> Vec<u64> {
    const AT_ONCE: usize = 50;
    const FIRST_ID: usize = 1_000;
    let mut offsets = vec![0; count];
    let mut replies = 0;
    for first in (0..count).step_by(AT_ONCE) {
        let end = count.min(first + AT_ONCE);
        let commands: Vec<_> = (first..end)
            .map(|n| json!({"type": "publish", "id": n + FIRST_ID, "room": "a", "data": [who, n]}))
            .collect();
        client.send_all(&commands).await;
        while replies < end {
            let event = client.event().await;
            if event["type"] == "published" {
                let id = event["id"].as_u64().expect("an id");
                let n = usize::try_from(id).expect("an id of ours") - FIRST_ID;
                offsets[n] = event["offset"].as_u64().expect("an offset");
                replies += 1;
            } else {
                see(seen, &event);
            }
        }
    }
    assert!(
        offsets.is_sorted_by(|a, b| a < b),
        "the order of one publisher is kept"
    );
    offsets
}

/// Reads until so many publications were seen.
async fn read_until(client: &mut Client, count: usize, seen: &mut Seen) {
    while seen.len() < count {
        see(seen, &client.event().await);
    }
}

// --- in good times ---

#[tokio::test]
async fn ten_thousand_publications_from_three_nodes_reach_everyone_in_one_order() {
    const EACH: [usize; 3] = [3_334, 3_333, 3_333];
    let redis = RedisServer::start();
    let nodes: [Node; 3] = nodes(&redis).await;
    let mut publishers = Vec::new();
    let mut readers = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        publishers.push(Client::join_in(node, "a", FORMATS[n % 2]).await);
        readers.push(Client::join_in(node, "a", FORMATS[(n + 1) % 2]).await);
    }
    let mut tasks = Vec::new();
    for (who, (mut client, count)) in publishers.into_iter().zip(EACH).enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut seen = Seen::new();
            let offsets = publish_all(&mut client, who, count, &mut seen).await;
            read_until(&mut client, 10_000, &mut seen).await;
            for (n, offset) in offsets.iter().enumerate() {
                assert_eq!(
                    seen[offset],
                    json!([who, n]),
                    "acknowledged at another place"
                );
            }
            seen
        }));
    }
    for mut client in readers {
        tasks.push(tokio::spawn(async move {
            let mut seen = Seen::new();
            read_until(&mut client, 10_000, &mut seen).await;
            seen
        }));
    }
    let mut orders = Vec::new();
    for task in tasks {
        orders.push(task.await.expect("the member saw everything"));
    }
    assert!(
        orders.iter().all(|seen| *seen == orders[0]),
        "members saw different orders"
    );
}

#[tokio::test]
async fn a_room_is_one_whatever_node_and_format() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut json = Client::join(&alder, "a").await;
    let mut msgpack = Client::join_in(&birch, "a", Format::MsgPack).await;
    let mut plain = Plain::join(&birch, "a").await;
    let mut silent = json!({"type": "publish", "room": "a", "data": {"n": 1}, "event": "e"});
    silent["echo"] = false.into();
    let published = json.call(silent).await;
    assert_eq!(published["offset"], 1, "{published}");
    let message = msgpack.message().await;
    assert_eq!(
        (&message["data"], &message["event"]),
        (&json!({"n": 1}), &json!("e"))
    );
    assert_eq!(message["from"]["client"], *json.id());
    assert_eq!(plain.text().await, r#"{"n":1}"#);
    plain.send_bytes(&[0, 255]).await;
    assert_eq!(plain.bytes().await, [0, 255]);
    // Its own silent publication did not come back.
    let message = json.message().await;
    assert_eq!(
        (&message["data"], &message["binary"]),
        (&json!("AP8="), &json!(true))
    );
    assert_eq!(message["offset"], 2);
}

#[tokio::test]
async fn a_key_is_accepted_once_whichever_node_it_is_repeated_on() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    let keyed = |data: &str| json!({"type": "publish", "room": "a", "data": data, "key": "k"});
    let first = ann.call(keyed("first")).await;
    let again = bo.call(keyed("again")).await;
    assert_eq!(
        (&first["epoch"], &first["offset"]),
        (&again["epoch"], &again["offset"])
    );
    bo.publish("a", json!("next")).await;
    assert_eq!(ann.data(2).await, ["first", "next"]);
    assert_eq!(bo.data(2).await, ["first", "next"]);
}

#[tokio::test]
async fn a_client_recovers_on_another_node() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let first = ann
        .call(json!({"type": "publish", "room": "a", "data": 1}))
        .await;
    for n in 2..=500 {
        ann.publish("a", json!(n)).await;
    }
    for seen in [0, 1, 250, 499, 500] {
        let mut back = Client::connect(&birch, "/ws").await;
        let since = json!({"epoch": first["epoch"], "offset": seen});
        let joined = back
            .call(json!({"type": "join", "room": "a", "since": since}))
            .await;
        assert_eq!(
            (&joined["recovered"], &joined["offset"]),
            (&json!(true), &json!(500))
        );
        let missed = joined["messages"].as_array().expect("a list");
        let missed: Vec<_> = missed
            .iter()
            .map(|message| message["data"].clone())
            .collect();
        assert_eq!(
            missed,
            (seen + 1..=500).map(Value::from).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn commands_beyond_the_limit_wait_for_the_backend_and_keep_their_order() {
    let redis = RedisServer::start();
    let config = format!("[limits]\ninflight_commands = 1\n{}", config(&redis));
    let node = Node::with(&config).await;
    let mut client = Client::connect(&node, "/ws").await;
    let mut commands = vec![json!({"type": "join", "id": 1, "room": "a"})];
    commands.extend((2..1_000).map(|id| match id % 5 {
        0 => json!({"type": "history", "id": id, "room": "a", "limit": 1}),
        1 => json!({"type": "ping", "id": id}),
        _ => json!({"type": "publish", "id": id, "room": "a", "data": id}),
    }));
    client.send_all(&commands).await;
    let (mut next, mut published) = (1, 0);
    while next < 1_000 {
        let event = client.event().await;
        if event["type"] == "message" {
            continue;
        }
        assert_eq!(event["id"], next, "{event}");
        match next % 5 {
            0 => assert_eq!(event["offset"], published, "{event}"),
            _ if event["type"] == "published" => published += 1,
            _ => {}
        }
        next += 1;
    }
}

#[tokio::test]
async fn who_comes_and_goes_between_nodes_sees_everything_once() {
    const COUNT: usize = 2_000;
    let redis = RedisServer::start();
    // Interest ends with the last member, so that each return subscribes anew.
    let config = config(&redis).replace("[redis]", "[redis]\nlinger = '0s'");
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::with(&config).await);
    }
    let mut publisher = Client::join(&nodes[0], "a").await;
    let history = json!({"type": "history", "room": "a", "limit": 0});
    let epoch = publisher.call(history).await["epoch"].clone();
    let publishing = tokio::spawn(async move {
        let mut seen = Seen::new();
        publish_all(&mut publisher, 0, COUNT, &mut seen).await;
        read_until(&mut publisher, COUNT, &mut seen).await;
        seen
    });
    let mut seen = Seen::new();
    for visit in 0.. {
        if seen.len() == COUNT {
            break;
        }
        let mut client = Client::connect(&nodes[1 + visit % 2], "/ws").await;
        let since = json!({"epoch": epoch, "offset": seen.len()});
        let joined = client
            .call(json!({"type": "join", "room": "a", "since": since}))
            .await;
        assert_eq!(joined["recovered"], true, "{joined}");
        for message in joined["messages"].as_array().expect("a list") {
            see(&mut seen, message);
        }
        let stay = COUNT.min(seen.len() + visit % 7 * 10);
        read_until(&mut client, stay, &mut seen).await;
        if visit % 3 == 0 {
            client.close().await;
        } else if visit % 3 == 1 {
            // What comes before the reply was delivered still.
            client
                .send(&json!({"type": "leave", "id": 77, "room": "a"}))
                .await;
            loop {
                let event = client.event().await;
                if event["id"] == 77 {
                    break;
                }
                see(&mut seen, &event);
            }
        }
    }
    assert_eq!(
        seen,
        publishing.await.expect("the publisher saw everything")
    );
}

// --- when a node goes away ---

#[tokio::test]
async fn a_killed_node_costs_the_members_of_the_others_nothing() {
    const EACH: usize = 1_500;
    let redis = RedisServer::start();
    let [mut doomed, birch, cedar] = nodes(&redis).await;
    let mut victim = Client::join(&doomed, "a").await;
    let history = json!({"type": "history", "room": "a", "limit": 0});
    let epoch = victim.call(history.clone()).await["epoch"].clone();
    let mut clients = Vec::new();
    for node in [&birch, &cedar] {
        clients.push(Client::join(node, "a").await);
    }
    let mut tasks = Vec::new();
    for (who, mut client) in clients.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut seen = Seen::new();
            publish_all(&mut client, who, EACH, &mut seen).await;
            (client, seen)
        }));
    }
    // It publishes as well, until it dies in the middle of all this.
    let mut seen_by_victim = Seen::new();
    let acknowledged = publish_all(&mut victim, 2, 200, &mut seen_by_victim).await;
    let unanswered: Vec<_> = (0..100)
        .map(|n| json!({"type": "publish", "room": "a", "data": [3, n]}))
        .collect();
    victim.send_all(&unanswered).await;
    doomed.kill().await;

    let mut members = Vec::new();
    for task in tasks {
        members.push(task.await.expect("the member lost nothing"));
    }
    let (first, _) = &mut members[0];
    first.publish("a", json!("the end")).await;
    let end = first.call(history).await["offset"]
        .as_u64()
        .expect("an offset");
    for (client, seen) in &mut members {
        read_until(client, usize::try_from(end).expect("few"), seen).await;
    }
    let [(_, birch_saw), (_, cedar_saw)] = &members[..] else {
        unreachable!("two members");
    };
    assert_eq!(birch_saw, cedar_saw);
    for (n, offset) in acknowledged.iter().enumerate() {
        assert_eq!(birch_saw[offset], json!([2, n]), "acknowledged and lost");
    }
    for who in 0..4 {
        // In their order; of the unanswered ones, as many as got out.
        let published = birch_saw.values().filter(|data| data[0] == who);
        assert!(published.enumerate().all(|(n, data)| data[1] == n), "{who}");
    }

    // The victim's client misses nothing either, wherever it comes back.
    for node in [doomed.restart().await, birch] {
        let mut back = Client::connect(&node, "/ws").await;
        let since = json!({"epoch": epoch, "offset": seen_by_victim.len()});
        let joined = back
            .call(json!({"type": "join", "room": "a", "since": since}))
            .await;
        assert_eq!(joined["recovered"], true);
        let mut seen = seen_by_victim.clone();
        for message in joined["messages"].as_array().expect("a list") {
            see(&mut seen, message);
        }
        assert_eq!(seen, *cedar_saw);
    }
}

#[tokio::test]
async fn a_frozen_node_catches_up_when_it_thaws_and_holds_nobody_up() {
    let redis = RedisServer::start();
    let [frozen, birch] = nodes(&redis).await;
    let mut ann = Client::join(&frozen, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    frozen.signal(Signal::STOP);
    let mut seen = Seen::new();
    publish_all(&mut bo, 0, 1_000, &mut seen).await;
    read_until(&mut bo, 1_000, &mut seen).await;
    frozen.signal(Signal::CONT);
    let mut seen_late = Seen::new();
    read_until(&mut ann, 1_000, &mut seen_late).await;
    assert_eq!(seen, seen_late);
}

// --- when Redis goes away ---

/// Publishes until it is accepted, and answers its data.
async fn publish_at_last(client: &mut Client, data: &str) {
    until("an accepted publish", async || {
        let command = json!({"type": "publish", "room": "a", "data": data, "key": data});
        let reply = client.call(command).await;
        if reply["type"] == "published" {
            return Some(());
        }
        assert_eq!(
            (&reply["code"], &reply["retry"]),
            (&json!("unavailable"), &json!(true))
        );
        None
    })
    .await;
}

/// Reads until a publication has this data, and answers what came before it.
async fn read_up_to(client: &mut Client, data: &str) -> Vec<Value> {
    let mut before = Vec::new();
    within("the publication", async {
        loop {
            let event = client.event().await;
            if event["data"] == data {
                return;
            }
            before.push(event);
        }
    })
    .await;
    before
}

async fn until_ready(node: &Node, ready: bool) {
    let status = if ready { 200 } else { 503 };
    until("readiness to change", async || {
        let answer = node.internal("/readyz").await;
        (answer.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_redis_publishes_fail_and_clients_stay_and_with_it_all_heals() {
    let mut redis = RedisServer::start();
    let nodes: [Node; 2] = nodes(&redis).await;
    let mut ann = Client::join(&nodes[0], "a").await;
    let mut bo = Client::join(&nodes[1], "a").await;
    ann.publish("a", json!("before")).await;
    assert_eq!(bo.data(1).await, ["before"]);
    redis.kill();
    for (node, client) in nodes.iter().zip([&mut ann, &mut bo]) {
        until_ready(node, false).await;
        let ready = node.internal("/readyz").await;
        assert!(ready.body.contains("backend"), "{ready:?}");
        assert_eq!(node.internal("/livez").await.status, 200);
        for command in [
            json!({"type": "publish", "room": "a", "data": "lost"}),
            json!({"type": "history", "room": "a"}),
            json!({"type": "join", "room": "new"}),
        ] {
            let refused = client.call(command.clone()).await;
            assert_eq!(refused["code"], "unavailable", "{command}: {refused}");
            assert_eq!(refused["retry"], true, "{command}: {refused}");
        }
        assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");

        // Who comes now is taken, and told at once which room cannot be had yet.
        let mut late = Client::connect(node, "/ws?room=a").await;
        let (id, code, _) = late.error().await;
        assert_eq!((id, &*code), (None, "unavailable"));
        late.close().await;
        // A plain connection is its room: it is told to come back later.
        open(node, "/plain/a", "").await.expect_closed(1013).await;
    }
    redis.restart();
    for node in &nodes {
        until_ready(node, true).await;
    }
    publish_at_last(&mut ann, "from ann").await;
    publish_at_last(&mut bo, "from bo").await;
    for client in [&mut ann, &mut bo] {
        let before = read_up_to(client, "from ann").await;
        assert!(
            before.iter().all(|event| event["data"] != "lost"),
            "{before:?}"
        );
        read_up_to(client, "from bo").await;
        let joined = client.call(json!({"type": "join", "room": "new"})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
    }
    for node in &nodes {
        node.until_metric("fanfare_connections", 1.0).await;
    }
}

#[tokio::test]
async fn a_node_without_redis_stops_in_good_order() {
    let mut redis = RedisServer::start();
    let [mut node] = nodes(&redis).await;
    let client = Client::join(&node, "a").await;
    redis.kill();
    until_ready(&node, false).await;
    node.signal(Signal::TERM);
    client.expect_closed(1001).await;
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_redis_that_kept_its_data_heals_without_a_gap() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    for n in 0..20 {
        ann.publish("a", json!(n)).await;
    }
    redis.kill();
    until_ready(&alder, false).await;
    until_ready(&birch, false).await;
    redis.restart();
    publish_at_last(&mut ann, "healed").await;
    for client in [&mut ann, &mut bo] {
        for n in 0..20 {
            assert_eq!(client.message().await["data"], n);
        }
        let next = client.message().await;
        assert_eq!(
            (&next["data"], &next["offset"]),
            (&json!("healed"), &json!(21))
        );
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_and_nothing_acknowledged_is_lost() {
    let redis = RedisServer::start();
    let [alder, birch] = nodes(&redis).await;
    let mut ann = Client::join(&alder, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    ann.publish("a", json!("before")).await;
    redis.pause();
    let publish = json!({"type": "publish", "room": "a", "data": "hangs", "key": "hangs"});
    let refused = ann.call(publish).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("unavailable"), &json!(true))
    );
    until_ready(&alder, false).await;
    until_ready(&birch, false).await;
    redis.resume();
    // Its outcome was unknown: repeated with its key, it is there once.
    publish_at_last(&mut ann, "hangs").await;
    publish_at_last(&mut bo, "after").await;
    for client in [&mut ann, &mut bo] {
        for (offset, data) in (1..).zip(["before", "hangs", "after"]) {
            let message = client.message().await;
            assert_eq!(
                (&message["data"], &message["offset"]),
                (&json!(data), &json!(offset))
            );
        }
    }
    until_ready(&alder, true).await;
    until_ready(&birch, true).await;
}

// --- at the start ---

#[tokio::test]
async fn a_redis_that_is_not_there_fails_the_start_in_one_line() {
    let mut redis = RedisServer::start();
    redis.kill();
    let (status, said) = Node::fail(&config(&redis), &["--log-format", "human"]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    let errors: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    let [error] = errors[..] else {
        panic!("not one line: {said}");
    };
    assert_eq!(said.lines().last(), Some(error));
    assert!(
        error.contains(&redis.port().to_string()) && error.contains("redis.url"),
        "{error}"
    );
}

#[tokio::test]
async fn a_redis_address_that_is_none_fails_the_start_as_bad_configuration() {
    let (status, said) = Node::fail("[redis]\nurl = 'http://localhost'", &[]).await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.starts_with("error: ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(
        said.contains("redis.url") && said.contains("redis://"),
        "{said}"
    );
}

#[tokio::test]
async fn with_wait_a_node_waits_for_redis_and_is_seen_to_live() {
    let mut redis = RedisServer::start();
    redis.kill();
    let config = config(&redis);
    let internal = std::net::SocketAddr::from((own_address(), 8081));
    let arguments = ["--wait", "--internal-listen", &internal.to_string()];
    let arrives = async {
        until("the internal listener", async || {
            tokio::net::TcpStream::connect(internal).await.ok()
        })
        .await;
        assert_eq!(get(internal, "/livez").await.status, 200);
        let ready = get(internal, "/readyz").await;
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("starting"), "{ready:?}");
        redis.restart();
    };
    let (node, ()) = tokio::join!(Node::with_arguments(&config, &arguments), arrives);
    until_ready(&node, true).await;
    let mut ann = Client::join(&node, "a").await;
    ann.publish("a", json!("at last")).await;
    assert_eq!(ann.data(1).await, ["at last"]);
}
