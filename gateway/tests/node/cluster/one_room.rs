//! In good times: one room, one order and one log, whichever node one is on.

use serde_json::{Value, json};

use super::{Seen, config, nodes, publish_all, read_until, see};
use crate::client::{Client, FORMATS, Format, Plain};
use crate::node::Node;
use crate::redis_server::RedisServer;

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
