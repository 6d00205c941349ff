//! Publications without an id: nobody awaits their outcome.

use serde_json::{Value, json};

use super::{config, nodes, until_ready};
use crate::client::{Client, Plain};
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::socket::{FIN, PING, PONG, frame};

fn publish(data: u64) -> Value {
    json!({"type": "publish", "room": "a", "data": data})
}

#[tokio::test]
async fn of_a_failure_the_client_is_told_all_the_same() {
    let redis = RedisServer::start();
    let [node] = nodes(&redis).await;
    let mut client = Client::join(&node, "a").await;
    let mut plain = Plain::join(&node, "a").await;
    redis.pause();
    let commands: Vec<_> = (0..3).map(publish).collect();
    client.send_all(&commands).await;
    plain.send("unheard").await;
    // The probe's timeout ends the link, and with it what is under way.
    for _ in &commands {
        let (id, code, _) = client.error().await;
        assert_eq!((id, &*code), (None, "unavailable"));
    }
    plain.socket.expect_closed(1013).await;
    // Somebody who is gone is told nothing, and nothing comes of it.
    client.send(&publish(3)).await;
    drop((client, plain));
    redis.resume();
    until_ready(&node, true).await;
    node.until_metric("fanfare_connections", 0.0).await;
}

#[tokio::test]
async fn beyond_the_limit_they_wait_and_follow_in_their_order() {
    const COUNT: u64 = 500;
    for limit in [1, 2, 5] {
        let redis = RedisServer::start();
        let config = config(&redis).replace("probe_timeout = '1s'", "probe_timeout = '30s'");
        let config = format!("[limits]\ninflight_commands = {limit}\n{config}");
        let node = Node::with(&config).await;
        let mut client = Client::join(&node, "a").await;
        // So that the limit is reached for sure.
        redis.pause();
        let commands: Vec<_> = (0..COUNT).map(publish).collect();
        client.send_all(&commands).await;
        redis.resume();
        for n in 0..COUNT {
            let message = client.message().await;
            assert_eq!(
                (&message["data"], &message["offset"]),
                (&json!(n), &json!(n + 1))
            );
        }
    }
}

#[tokio::test]
async fn a_read_sees_all_that_came_before_it() {
    let redis = RedisServer::start();
    let config = config(&redis).replace("probe_timeout = '1s'", "probe_timeout = '30s'");
    let node = Node::with(&config).await;
    let mut client = Client::join(&node, "a").await;
    for round in 0..20u64 {
        // So that they are under way for sure: the first is sent, the second waits for it.
        redis.pause();
        let history = json!({"type": "history", "room": "a", "limit": 2, "id": round + 1});
        client
            .send_all(&[publish(2 * round), publish(2 * round + 1), history])
            .await;
        redis.resume();
        // Before the messages or after them: those come from Redis on another connection.
        let history = client.reply(round + 1).await;
        let data: Vec<_> = history["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .map(|message| message["data"].clone())
            .collect();
        let published = [json!(2 * round), json!(2 * round + 1)];
        assert_eq!(data, published);
        assert_eq!(client.data(2).await, published);
    }
}

#[tokio::test]
async fn who_is_not_read_meanwhile_is_not_taken_for_dead_and_later_is() {
    let redis = RedisServer::start();
    let config = config(&redis).replace("probe_timeout = '1s'", "probe_timeout = '30s'");
    let config = format!("heartbeat = '1s'\n[limits]\ninflight_commands = 1\n{config}");
    let node = Node::with(&config).await;
    let mut client = Client::join(&node, "a").await;
    redis.pause();
    let commands: Vec<_> = (0..3).map(publish).collect();
    client.send_all(&commands).await;
    // The node reads none of the pongs, and so may not miss them.
    for _ in 0..4 {
        let ping = client.socket.frame().await;
        assert_eq!(ping.opcode, PING);
        client.socket.send(&frame(FIN | PONG, &ping.payload)).await;
    }
    redis.resume();
    // From here on nothing is said: what was read late counts only until the next ping.
    for n in 0..3 {
        let message = client.message().await;
        assert_eq!(message["data"], n);
    }
    let mut socket = client.socket;
    let reason = socket.expect_closed(4011).await;
    assert!(reason.contains("ping"), "{reason}");
}
