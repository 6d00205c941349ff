//! What a peer can make a node hold and wait for where it speaks TLS.

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::authority::Authority;
use super::public;
use super::wss::Wss;
use crate::deadline::until;
use crate::node::Node;
use crate::socket::{BINARY, CLOSE, FIN, Socket, frame};

/// The hello of a client, as it goes over the wire.
pub(super) fn hello(authority: &Authority) -> Vec<u8> {
    let config = authority.client(&[&TLS13]).into();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a hello");
    hello
}

#[tokio::test]
async fn handshakes_that_go_no_further_keep_nobody_out() {
    // A time that the test does not wait for.
    let limits = "[limits]\nhandshakes = 16\nhandshake_timeout = '5m'\n";
    let authority = Authority::new();
    let node = Node::with(&format!("{}{limits}", public(&authority))).await;
    let hello = hello(&authority);
    let mut held = Vec::new();
    for begun in [&[][..], &hello[..1], &hello[..200], &hello] {
        for _ in 0..100 {
            let mut socket = Socket::connect(node.public).await;
            // One that gave way to those behind it may be gone.
            socket.try_send(begun).await;
            held.push(socket);
        }
        let mut client = Wss::open(&node, &authority, "/ws?room=r").await;
        client.event_of("joined").await;
    }
    let metrics = node.metrics().await;
    let count = |series: &str| metrics.value(series).expect("a series");
    let displaced = count(r#"fanfare_handshakes_total{result="displaced"}"#);
    assert!(displaced >= 380.0, "{displaced}");
    assert!(count(r#"fanfare_places{of="handshakes"}"#) <= 16.0);
}

#[tokio::test]
async fn a_handshake_has_the_time_of_a_head() {
    let limits = "[limits]\nhandshake_timeout = '500ms'\n";
    let authority = Authority::new();
    let node = Node::with(&format!("{}{limits}", public(&authority))).await;
    let hello = hello(&authority);
    let mut held = Vec::new();
    for begun in [&[][..], &hello[..1], &hello[..200], &hello] {
        let mut socket = Socket::connect(node.public).await;
        socket.send(begun).await;
        held.push(socket);
    }
    // One that shook hands, and sends no request.
    let silent = Wss::connect(node.public, authority.client(&[&TLS13])).await;
    let timed_out = r#"fanfare_handshakes_total{result="timeout"}"#;
    node.until_metric(timed_out, 5.0).await;
    node.until_metric(r#"fanfare_places{of="handshakes"}"#, 0.0)
        .await;
    drop((held, silent));
}

#[tokio::test]
async fn a_hello_without_end_is_refused() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let mut socket = Socket::connect(node.public).await;
    // A hello that says it has 60,000 bytes, in records of 1,000.
    let mut record = vec![22, 3, 1, 3, 232, 1, 0, 234, 96];
    record.resize(5 + 1_000, 0);
    socket.send(&record).await;
    let mut more = vec![22, 3, 1, 3, 232];
    more.resize(5 + 1_000, 0);
    for _ in 0..58 {
        if !socket.try_send(&more).await {
            break;
        }
    }
    until("the node to let go", async || {
        let metrics = node.metrics().await;
        let aborted = metrics.value(r#"fanfare_handshakes_total{result="aborted"}"#);
        (aborted == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_4008_and_keeps_nothing_from_others() {
    const MANY: u64 = 400;
    let limits = "workers = 1\n[limits]\nmax_message = 16384\noutbox_bytes = 65536\n\
        close_timeout = '30s'\n";
    let authority = Authority::new();
    let node = Node::with(&format!("{limits}{}", public(&authority))).await;
    let mut slow = Wss::with_little_room(&node, &authority, "/ws?room=a").await;
    slow.event_of("joined").await;
    let mut fast = Wss::open(&node, &authority, "/ws?room=a").await;
    fast.event_of("joined").await;
    let data = "x".repeat(8_000);
    for id in 1..=MANY {
        fast.send(&json!({"type": "publish", "id": id, "room": "a", "data": data}))
            .await;
        assert_eq!(fast.event_of("message").await["offset"], id);
    }
    let closed = r#"fanfare_slow_consumers_total{action="disconnect"}"#;
    node.until_metric(closed, 1.0).await;
    // What was on its way comes in order, then the close frame.
    let mut last = 0;
    loop {
        let frame = slow.frame().await.expect("a frame");
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_code(), Some(4008));
            break;
        }
        let event: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
        if event["type"] == "message" {
            last += 1;
            assert_eq!(event["offset"], last);
        }
    }
    assert!(last < MANY, "{last}");
}

#[tokio::test]
async fn a_record_has_to_be_whole_in_time() {
    let limits = "[limits]\nmessage_timeout = '1s'\nclose_timeout = '100ms'\n";
    let authority = Authority::new();
    let node = Node::with(&format!("{}{limits}", public(&authority))).await;
    let mut client = Wss::open(&node, &authority, "/ws?room=r").await;
    client.event_of("joined").await;
    // The start of a record of 16,000 bytes.
    let part = [&[23, 3, 3, 62, 128][..], &[7; 1_000]].concat();
    let (tcp, _) = client.stream.get_mut();
    tcp.write_all(&part).await.expect("to send");
    let frame = client.frame().await.expect("a close frame");
    assert_eq!(frame.close_code(), Some(1008));
    let late = r#"fanfare_unfinished_input_total{action="late"}"#;
    assert_eq!(node.metrics().await.value(late), Some(1.0));
    node.until_metric("fanfare_connections", 0.0).await;
    node.until_metric("fanfare_inbound_bytes", 0.0).await;
}

#[tokio::test]
async fn records_that_are_here_in_part_have_a_bound_together() {
    let limits = "workers = 1\n[limits]\ninbound_bytes = 1024\nmax_message = 1024\n";
    let authority = Authority::new();
    let node = Node::with(&format!("{limits}{}", public(&authority))).await;
    // One worker may hold room for a message, and a buffer: 67,584 bytes.
    let part = [&[23, 3, 3, 62, 128][..], &[7; 15_000]].concat();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Wss::open(&node, &authority, "/plain/r").await;
        let (tcp, _) = client.stream.get_mut();
        // One may be closed for those before it.
        let _ = tcp.write_all(&part).await;
        clients.push(client);
    }
    let shed = r#"fanfare_unfinished_input_total{action="shed"}"#;
    until("the bound to hold", async || {
        let shed = node.metrics().await.value(shed);
        shed.is_some_and(|shed| shed >= 16.0).then_some(())
    })
    .await;
    let mut good = Wss::open(&node, &authority, "/plain/good").await;
    good.write(&frame(FIN | BINARY, b"served")).await;
    assert_eq!(good.frame().await.expect("an echo").payload, b"served");
}
