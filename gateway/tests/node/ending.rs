//! How connections end: the node says all that it owes first, and does not wait for ever.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Client, Format, open, open_on};
use crate::cluster::{config, nodes};
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::socket::{Socket, close, text};

fn publish(id: u64) -> Value {
    json!({"type": "publish", "room": "a", "data": id, "id": id})
}

/// Sends bytes and the end of the stream, which a node finds together.
async fn send_last(node: &Node, socket: &mut Socket, bytes: &[u8]) {
    node.signal(Signal::STOP);
    socket.send(bytes).await;
    socket.finish().await;
    node.signal(Signal::CONT);
}

#[tokio::test]
async fn a_close_frame_with_the_end_of_the_stream_is_answered() {
    let node = Node::start().await;
    let mut plain = open(&node, "/plain/a", "").await;
    let last = [text("hi"), close(1000)].concat();
    send_last(&node, &mut plain, &last).await;
    assert_eq!(plain.frame().await.payload, b"hi");
    plain.expect_closed(1000).await;

    let mut client = Client::join(&node, "a").await;
    let last = [client.encode(&publish(1)), close(1000)].concat();
    send_last(&node, &mut client.socket, &last).await;
    assert_eq!(client.reply(1).await["type"], "published");
    client.socket.expect_closed(1000).await;
}

#[tokio::test]
async fn who_only_stops_sending_gets_every_answer() {
    let node = Node::start().await;
    let mut client = Client::connect(&node, "/ws").await;
    let last = client.encode(&json!({"type": "ping", "id": 1}));
    send_last(&node, &mut client.socket, &last).await;
    assert_eq!(client.reply(1).await["type"], "pong");
    client.socket.expect_end().await;
}

#[tokio::test]
async fn commands_that_await_redis_are_answered_before_a_close_frame() {
    for shuts in [false, true] {
        let redis = RedisServer::start();
        let [node] = nodes(&redis).await;
        let mut client = Client::join(&node, "a").await;
        redis.pause();
        let commands = [
            publish(1),
            json!({"type": "join", "room": "b", "id": 2}),
            publish(3),
        ];
        let mut last: Vec<u8> = commands.iter().flat_map(|it| client.encode(it)).collect();
        last.extend(close(1000));
        if shuts {
            send_last(&node, &mut client.socket, &last).await;
        } else {
            client.socket.send(&last).await;
        }
        redis.resume();
        for id in 1..=3 {
            assert_ne!(client.reply(id).await["type"], "error");
        }
        client.socket.expect_closed(1000).await;
    }
}

#[tokio::test]
async fn answers_that_do_not_come_are_not_waited_for_longer_than_a_close_may_take() {
    let redis = RedisServer::start();
    let config = config(&redis).replace("probe_timeout = '1s'", "probe_timeout = '30s'");
    let config = format!("[limits]\nclose_timeout = '1s'\n{config}");
    let node = Node::with(&config).await;
    let mut client = Client::join(&node, "a").await;
    let mut half = Client::join(&node, "a").await;
    redis.pause();
    client.send(&publish(1)).await;
    client.socket.send(&close(1000)).await;
    half.send(&publish(1)).await;
    half.socket.finish().await;
    client.socket.expect_closed(1000).await;
    half.socket.expect_end().await;
    node.until_metric("fanfare_connections", 0.0).await;
}

#[tokio::test]
async fn an_answer_larger_than_the_socket_takes_is_written_whole_before_the_end() {
    let node = Node::with("[limits]\nmax_message = 4000000\noutbox_bytes = 16000000").await;
    let mut client = Client::join(&node, "a").await;
    let large = "x".repeat(3_000_000);
    client.publish("a", json!(large)).await;
    for shuts in [false, true] {
        let mut socket = Socket::connect_with_little_room(node.public).await;
        socket = open_on(socket, "/ws", "").await;
        let mut reader = Client::welcomed(socket, Format::Json).await;
        let ask = json!({"type": "history", "room": "a", "limit": 1, "id": 1});
        let last = [reader.encode(&ask), close(1000)].concat();
        if shuts {
            send_last(&node, &mut reader.socket, &last).await;
        } else {
            reader.socket.send(&last).await;
        }
        let history = reader.reply(1).await;
        assert_eq!(history["messages"][0]["data"], json!(large));
        reader.socket.expect_closed(1000).await;
    }
}
