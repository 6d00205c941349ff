//! When a room's log is gone while its members stay: what they are told, and what they still get.

use serde_json::{Value, json};

use super::nodes;
use crate::client::Client;
use crate::redis_server::RedisServer;

/// Reads up to the publication with this data; answers type, offset and data of each event.
async fn up_to(client: &mut Client, data: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let event = client.event().await;
        seen.push(json!([event["type"], event["offset"], event["data"]]));
        if event["data"] == data {
            return seen;
        }
    }
}

#[tokio::test]
async fn the_publication_that_reveals_a_lost_log_reaches_every_member() {
    let redis = RedisServer::start();
    let [here, there] = nodes(&redis).await;
    let losses: [&[&str]; 3] = [
        &["FLUSHALL"],
        &["DEL", "fanfare:{a}:meta", "fanfare:{a}:log"],
        &["DEL", "fanfare:{a}:meta"],
    ];
    let mut publisher = Client::join(&here, "a").await;
    let mut members = [
        Client::join(&here, "a").await,
        Client::join(&there, "a").await,
    ];
    for loss in losses {
        publisher.publish("a", json!("before")).await;
        for member in [&mut publisher].into_iter().chain(&mut members) {
            up_to(member, "before").await;
        }
        redis.tell(loss).await;
        assert_eq!(publisher.publish("a", json!("first")).await, 1);
        assert_eq!(publisher.publish("a", json!("second")).await, 2);
        let expected = json!([
            ["reset", 0, null],
            ["message", 1, "first"],
            ["message", 2, "second"],
        ]);
        for member in [&mut publisher].into_iter().chain(&mut members) {
            assert_eq!(json!(up_to(member, "second").await), expected, "{loss:?}");
        }
    }
}

#[tokio::test]
async fn a_log_that_lost_its_entries_alone_goes_on() {
    let redis = RedisServer::start();
    let [here, there] = nodes(&redis).await;
    let mut publisher = Client::join(&here, "a").await;
    let mut member = Client::join(&there, "a").await;
    publisher.publish("a", json!("before")).await;
    up_to(&mut member, "before").await;
    redis.tell(&["DEL", "fanfare:{a}:log"]).await;
    publisher.publish("a", json!("after")).await;
    let expected = json!([["message", 2, "after"]]);
    assert_eq!(json!(up_to(&mut member, "after").await), expected);
}

#[tokio::test]
async fn a_quiet_room_is_recovered_unless_its_log_was_lost_meanwhile() {
    let redis = RedisServer::start();
    let [here, there] = nodes(&redis).await;
    for lost in [false, true] {
        let mut client = Client::connect(&here, "/ws").await;
        let joined = client.call(json!({"type": "join", "room": "q"})).await;
        client.close().await;
        let mut publisher = Client::join(&there, "q").await;
        let command = |data| json!({"type": "publish", "room": "q", "data": data});
        let count = 2;
        for data in 0..count {
            publisher.call(command(data)).await;
        }
        if lost {
            redis.tell(&["FLUSHALL"]).await;
            publisher.call(command(9)).await;
        }
        let since = json!({"epoch": joined["epoch"], "offset": joined["offset"]});
        let mut back = Client::connect(&there, "/ws").await;
        let joined = back
            .call(json!({"type": "join", "room": "q", "since": since}))
            .await;
        assert_eq!(joined["recovered"], !lost, "{joined}");
        let missed = if lost { 0 } else { count };
        assert_eq!(joined["messages"].as_array().map(Vec::len), Some(missed));
        redis.tell(&["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn what_is_only_read_leaves_no_key_in_redis() {
    let redis = RedisServer::start();
    let [node] = nodes(&redis).await;
    let mut client = Client::connect(&node, "/ws").await;
    for number in 0..200 {
        let room = format!("unknown {number}");
        let history = client.call(json!({"type": "history", "room": room})).await;
        assert_eq!(history["messages"], json!([]));
        assert!(history.get("epoch").is_none(), "{history}");
        let since = json!({"epoch": "00000000000000ff", "offset": 3});
        let history = client
            .call(json!({"type": "history", "room": room, "since": since}))
            .await;
        assert_eq!(history["messages"], json!([]));
        client.call(json!({"type": "presence", "room": room})).await;
    }
    let keys: Vec<String> = redis.ask(&["KEYS", "fanfare:{unknown*"]).await;
    assert_eq!(keys, [""; 0]);
}
