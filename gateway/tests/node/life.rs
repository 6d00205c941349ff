//! A node's life with its connections: heartbeats, comings and goings, the clean stop.

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Client, Plain, open};
use crate::deadline::until;
use crate::node::Node;
use crate::socket::{FIN, PING, PONG, Socket, frame, text};

// --- heartbeats ---

#[tokio::test]
async fn who_answers_no_ping_is_closed_with_4011() {
    let node = Node::with("heartbeat = '1s'").await;
    let mut silent = open(&node, "/plain/a", "").await;
    assert_eq!(silent.frame().await.opcode, PING);
    let reason = silent.expect_closed(4011).await;
    assert!(reason.contains("ping"), "{reason}");
    let closed = r#"fanfare_connections_closed_total{reason="no_heartbeat"}"#;
    node.until_metric(closed, 1.0).await;
}

#[tokio::test]
async fn who_answers_pings_stays() {
    let node = Node::with("heartbeat = '1s'").await;
    let mut socket = open(&node, "/plain/a", "").await;
    for _ in 0..4 {
        let ping = socket.frame().await;
        assert_eq!(ping.opcode, PING);
        socket.send(&frame(FIN | PONG, &ping.payload)).await;
    }
    socket.send(&text("still here")).await;
    assert_eq!(Plain { socket }.text().await, "still here");
}

#[tokio::test]
async fn anything_received_is_a_sign_of_life() {
    let node = Node::with("heartbeat = '1s'").await;
    let mut socket = open(&node, "/plain/a?echo=false", "").await;
    for _ in 0..4 {
        assert_eq!(socket.frame().await.opcode, PING);
        socket.send(&text("no pong, but words")).await;
    }
    socket.send(&frame(FIN | PING, b"alive")).await;
    assert_eq!(socket.frame().await.payload, b"alive");
}

#[tokio::test]
async fn a_connection_of_the_greatest_age_is_told_to_come_back() {
    let node = Node::with("heartbeat = '1s'\n[limits]\nmax_connection_age = '1s'").await;
    Client::join(&node, "a").await.expect_closed(1012).await;
    let closed = r#"fanfare_connections_closed_total{reason="restart"}"#;
    node.until_metric(closed, 1.0).await;
}

// --- comings and goings ---

#[tokio::test]
async fn two_thousand_connections_leave_nothing_behind() {
    let node = Node::start().await;
    let mut stayer = Client::join(&node, "a").await;
    for batch in 0..100 {
        let mut clients = Vec::new();
        for n in 0..20 {
            let path = format!("/ws?room=a&room=b{}&room=c{batch}", n % 5);
            clients.push(open(&node, &path, "").await);
        }
        for (n, mut client) in clients.into_iter().enumerate() {
            match n % 4 {
                0 => {
                    client.send(&crate::socket::close(1000)).await;
                    client.expect_closed(1000).await;
                }
                1 => client.reset(),
                2 => client.finish().await,
                _ => {}
            }
        }
    }
    node.until_metric("fanfare_connections", 1.0).await;
    node.until_metric("fanfare_memberships", 1.0).await;
    node.until_metric("fanfare_connections_opened_total", 2_001.0)
        .await;
    stayer.publish("a", json!("alone")).await;
    assert_eq!(stayer.data(1).await, ["alone"]);
    stayer.close().await;
    node.until_metric("fanfare_connections", 0.0).await;
    node.until_metric("fanfare_memberships", 0.0).await;
    // Rooms are kept a few seconds for those who come back.
    node.until_metric("fanfare_rooms", 0.0).await;
}

// --- the end ---

#[tokio::test]
async fn a_signal_closes_everyone_with_1001_and_the_node_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Node::with("workers = 2\n[drain]\nwindow = '0s'").await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(Client::join(&node, "a").await);
        }
        let plain = open(&node, "/plain/a", "").await;
        node.signal(signal);
        for client in clients {
            client.expect_closed(1001).await;
        }
        let mut plain = plain;
        plain.expect_closed(1001).await;
        let status = node.exit().await;
        assert_eq!(status.code(), Some(0), "{signal:?}: {status}");
    }
}

#[tokio::test]
async fn within_a_drain_window_clients_are_told_to_come_back() {
    let mut node = Node::with("[drain]\nwindow = '500ms'").await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::join(&node, "a").await);
    }
    node.signal(Signal::TERM);
    for client in clients {
        client.expect_closed(1012).await;
    }
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_go_holds_the_stop_up_for_the_drain_timeout_at_most() {
    let mut node = Node::with("[drain]\nwindow = '0s'\ntimeout = '500ms'").await;
    let _stuck = Client::join(&node, "a").await;
    let _half_open = Socket::connect(node.public).await;
    node.signal(Signal::TERM);
    assert_eq!(node.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let config = "[drain]\nwindow = '0s'\ntimeout = '1h'\n[limits]\nclose_timeout = '5m'";
    let mut node = Node::with(config).await;
    let _stuck = Client::join(&node, "a").await;
    node.signal(Signal::INT);
    until("the drain", async || {
        (node.internal("/readyz").await.status == 503).then_some(())
    })
    .await;
    node.signal(Signal::INT);
    node.exit().await;
}

#[tokio::test]
async fn a_draining_node_takes_nobody_and_says_so() {
    let config = "[drain]\nwindow = '0s'\ntimeout = '1h'\n[limits]\nclose_timeout = '5m'";
    let mut node = Node::with(config).await;
    let stuck = Client::join(&node, "a").await;
    node.signal(Signal::TERM);
    let ready = until("the drain", async || {
        let ready = node.internal("/readyz").await;
        (ready.status == 503).then_some(ready)
    })
    .await;
    assert!(ready.body.contains("draining"), "{ready:?}");
    assert_eq!(node.internal("/livez").await.status, 200);
    // The workers learn of it a moment later.
    node.until_metric("fanfare_draining", 1.0).await;
    let refused = until("a refusal", async || {
        let mut socket = Socket::connect(node.public).await;
        socket
            .send(crate::client::request("/ws", "").as_bytes())
            .await;
        let response = socket.response(true).await;
        (response.status != 101).then_some(response)
    })
    .await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.body.contains("shutting down"));
    stuck.expect_closed(1001).await;
    assert_eq!(node.exit().await.code(), Some(0));
}
