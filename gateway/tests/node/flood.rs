//! Peers that send nothing, too little, or read nothing: each is bounded, and keeps nobody out.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::json;

use crate::client::{Client, check_accepted, open, request};
use crate::cluster::config;
use crate::deadline::until;
use crate::http::get;
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::socket::{BINARY, FIN, PING, PONG, Socket, TEXT, frame, header, text};

/// Connects so many, each of which sends `bytes` and no more.
async fn stuck(address: SocketAddr, count: usize, bytes: &[u8]) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = Socket::connect(address).await;
        // One that gave way to those behind it may be gone.
        socket.try_send(bytes).await;
        sockets.push(socket);
    }
    sockets
}

#[tokio::test]
async fn who_sends_no_whole_head_keeps_nobody_out() {
    // A time that the test does not wait for.
    let node = Node::with("[limits]\nhandshakes = 16\nhandshake_timeout = '5m'").await;
    let mut held = Vec::new();
    for begun in ["", "G", "GET /ws HTTP/1.1\r\nHost: x\r\n"] {
        held.extend(stuck(node.public, 100, begun.as_bytes()).await);
        Client::connect(&node, "/ws").await.close().await;
        assert_eq!(get(node.public, "/").await.status, 200);
    }
    // By age: a byte now and then makes nobody younger.
    for _ in 0..3 {
        for socket in &mut held {
            socket.try_send(b"x").await;
        }
        Client::connect(&node, "/ws").await.close().await;
    }
    let metrics = node.metrics().await;
    let count = |series: &str| metrics.value(series).expect("a series");
    let displaced = count(r#"fanfare_handshakes_total{result="displaced"}"#);
    assert!(displaced >= 280.0, "{displaced}");
    assert_eq!(count(r#"fanfare_places_limit{of="handshakes"}"#), 16.0);
    assert!(count(r#"fanfare_places{of="handshakes"}"#) <= 16.0);
}

#[tokio::test]
async fn who_gives_way_is_told_so() {
    let node = Node::with("[limits]\nhandshakes = 1\nhandshake_timeout = '5m'").await;
    for begun in ["", "GET /ws HTTP/1.1\r\n"] {
        let mut first = stuck(node.public, 1, begun.as_bytes()).await;
        Client::connect(&node, "/ws").await;
        let response = first[0].response(true).await;
        assert_eq!(response.status, 408, "{response:?}");
        assert!(response.body.contains("needed the place"), "{response:?}");
        first[0].expect_end().await;
    }
}

#[tokio::test]
async fn a_crowd_that_was_in_time_is_not_turned_away_for_being_large() {
    let node = Node::with("workers = 2\n[limits]\nhandshakes = 1").await;
    // All are there before the node looks at the first.
    node.signal(Signal::STOP);
    let crowd = stuck(node.public, 200, request("/ws", "").as_bytes()).await;
    node.signal(Signal::CONT);
    for mut client in crowd {
        check_accepted(&client.response(true).await);
    }
}

#[tokio::test]
async fn who_reads_no_answer_does_not_keep_its_place() {
    let node = Node::with("[limits]\nhandshake_timeout = '500ms'").await;
    let mut deaf = Vec::new();
    for path in ["/", "/page.js", "/nowhere", "/ws"] {
        let mut socket = Socket::connect_with_little_room(node.public).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        socket.send(request.as_bytes()).await;
        deaf.push(socket);
    }
    node.until_metric(r#"fanfare_handshakes_total{result="page"}"#, 2.0)
        .await;
    node.until_metric(r#"fanfare_places{of="handshakes"}"#, 0.0)
        .await;
}

#[tokio::test]
async fn a_refusal_reaches_who_is_still_sending() {
    let node = Node::with("[limits]\nhandshake_bytes = 2048").await;
    for _ in 0..10 {
        let mut socket = Socket::connect(node.public).await;
        let mut much = b"GET /ws HTTP/1.1\r\nCookie: ".to_vec();
        much.resize(100_000, b'x');
        socket.try_send(&much).await;
        assert_eq!(socket.response(true).await.status, 431);
        socket.expect_end().await;
    }
}

#[tokio::test]
async fn a_flooded_internal_port_answers_probes() {
    // A time that the test does not wait for.
    let node = Node::with("[internal]\nconnections = 8\ntimeout = '5m'").await;
    let whole = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let posted = "POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1";
    let mut held = Vec::new();
    for begun in ["", "GET /metrics HTTP/1.1\r\nHo", whole, posted] {
        held.extend(stuck(node.internal, 100, begun.as_bytes()).await);
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(node.internal(path).await.status, 200, "{path}");
        }
    }
    let metrics = node.metrics().await;
    let count = |series: &str| metrics.value(series).expect("a series");
    assert!(count(r#"fanfare_places{of="internal"}"#) <= 8.0);
    assert!(count(r#"fanfare_displaced_total{of="internal"}"#) >= 250.0);
}

#[tokio::test]
async fn connections_of_the_internal_port_end_whatever_the_peer_does() {
    let node = Node::with("[internal]\ntimeout = '200ms'").await;
    let mut held = Vec::new();
    for begun in [
        "",
        "GET /metrics HTTP/1.1\r\nHo",
        // Idle after an answer.
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
    ] {
        held.extend(stuck(node.internal, 10, begun.as_bytes()).await);
    }
    // Answers that nobody reads, more than the kernel holds.
    let mut deaf = Socket::connect_with_little_room(node.internal).await;
    let many = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    deaf.try_send(many.as_bytes()).await;
    until("all to be let go", async || {
        // The one that asks.
        let metrics = node.metrics().await;
        (metrics.value(r#"fanfare_places{of="internal"}"#) == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_message_has_to_be_whole_in_time() {
    // What the test answers to a close frame is a part of the message to the node.
    let limits = "[limits]\nmessage_timeout = '1s'\nclose_timeout = '100ms'";
    let node = Node::with(limits).await;
    let mut whole = open(&node, "/plain/a", "").await;
    let half = header(FIN | BINARY, 60_000);
    for begun in [
        half[..1].to_vec(),
        half.clone(),
        [&half, b"and so on".as_slice()].concat(),
        // A message of several frames, and a control frame in its middle.
        [frame(TEXT, b"once"), frame(FIN | PING, b"")].concat(),
        // Behind a whole one.
        [text("whole"), half.clone()].concat(),
    ] {
        let mut socket = open(&node, "/plain/b", "").await;
        socket.send(&begun).await;
        let reason = socket.expect_closed(1008).await;
        assert!(reason.contains("limits.message_timeout"), "{reason}");
        // Words that follow each other take as long as they like together.
        for half in text("still here").chunks(9) {
            whole.send(half).await;
        }
        let echo = whole.frame().await;
        assert_eq!(echo.payload, b"still here", "{echo:?}");
    }
    let late = r#"fanfare_unfinished_input_total{action="late"}"#;
    assert_eq!(node.metrics().await.value(late), Some(5.0));
    node.until_metric("fanfare_inbound_bytes", 0.0).await;
}

#[tokio::test]
async fn messages_that_are_here_in_part_have_a_bound_together() {
    const BOUND: f64 = 1_000_000.0;
    let config = format!("workers = 1\n[limits]\ninbound_bytes = {BOUND}");
    let node = Node::with(&config).await;
    let mut small = open(&node, "/plain/a", "").await;
    let message = text(&"x".repeat(1_000));
    small.send(&message[..500]).await;
    let whole = frame(FIN | BINARY, &[0; 65_000]);
    let mut large = Vec::new();
    for room in 0..100 {
        let mut socket = open(&node, &format!("/plain/{room}"), "").await;
        socket.try_send(&whole[..60_000]).await;
        large.push(socket);
    }
    let shed = r#"fanfare_unfinished_input_total{action="shed"}"#;
    let shed = async || node.metrics().await.value(shed).expect("a series");
    until("the bound to hold", async || {
        (shed().await >= 84.0).then_some(())
    })
    .await;
    let mut closed = 0;
    for mut socket in large {
        socket.try_send(&whole[60_000..]).await;
        let answer = socket.frame().await;
        if answer.opcode != BINARY {
            assert_eq!(answer.close_code(), Some(1013));
            let reason = String::from_utf8_lossy(&answer.payload[2..]).into_owned();
            assert!(reason.contains("limits.inbound_bytes"), "{reason}");
            closed += 1;
        }
    }
    assert_eq!(f64::from(closed), shed().await);
    // Those that hold little are none of it.
    small.send(&message[500..]).await;
    assert_eq!(small.frame().await.payload.len(), 1_000);
    node.until_metric("fanfare_connections", 1.0).await;
}

#[tokio::test]
async fn commands_that_wait_have_the_same_bound() {
    let redis = RedisServer::start();
    let config = config(&redis).replace("probe_timeout = '1s'", "probe_timeout = '30s'");
    let limits = "inflight_commands = 1\ninbound_bytes = 1000000";
    let node = Node::with(&format!("workers = 1\n[limits]\n{limits}\n{config}")).await;
    let mut clients = Vec::new();
    for room in 0..40 {
        clients.push(Client::join(&node, &room.to_string()).await);
    }
    redis.pause();
    let long = "x".repeat(30_000);
    for (room, client) in clients.iter_mut().enumerate() {
        let publish =
            |id: u64| json!({"type": "publish", "room": room.to_string(), "data": long, "id": id});
        let commands: Vec<u8> = (1..=3).flat_map(|id| client.encode(&publish(id))).collect();
        client.socket.try_send(&commands).await;
    }
    let shed = r#"fanfare_unfinished_input_total{action="shed"}"#;
    let shed = async || node.metrics().await.value(shed).expect("a series");
    until("the bound to hold", async || {
        (shed().await >= 15.0).then_some(())
    })
    .await;
    redis.resume();
    // All the others are served.
    let mut served = 0;
    for mut client in clients {
        let mut answers = 0;
        while let Ok(frame) = client.socket.try_frame().await {
            match frame.opcode {
                TEXT if frame.payload.starts_with(b"{\"type\":\"published\"") => answers += 1,
                PING => {
                    let pong = crate::socket::frame(FIN | PONG, b"");
                    client.socket.send(&pong).await;
                }
                TEXT => {}
                _ => {
                    assert_eq!(frame.close_code(), Some(1013));
                    break;
                }
            }
            if answers == 3 {
                served += 1;
                break;
            }
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "forty at most")]
    let all = f64::from(served) + shed().await;
    assert!(served > 0);
    assert_eq!(all, 40.0);
}
