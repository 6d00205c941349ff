//! The opening handshake: what is served, what is refused, and that the refusal says why.

use serde_json::json;

use crate::client::{Client, Format, check_accepted, request};
use crate::deadline::until;
use crate::http::{self, exchange, get};
use crate::node::Node;
use crate::socket::{Socket, text};

/// Sends a handshake with something replaced.
async fn refused(node: &Node, from: &str, to: &str) -> http::Response {
    let request = request("/ws", "");
    assert!(request.contains(from), "{from:?} is not in the request");
    let response = exchange(node.public, &request.replacen(from, to, 1)).await;
    assert_eq!(response.header("connection"), Some("close"));
    response
}

#[tokio::test]
async fn every_fault_of_a_handshake_is_named() {
    let node = Node::start().await;
    for (from, to, status, why) in [
        ("HTTP/1.1", "HTTP/1.0", 400, "HTTP/1.1"),
        ("Host: fanfare.test\r\n", "", 400, "Host"),
        (
            "Host: fanfare.test\r\n",
            "Host: a\r\nHost: b\r\n",
            400,
            "Host",
        ),
        (
            "Connection: Upgrade",
            "Connection: keep-alive",
            400,
            "Connection",
        ),
        (
            "Sec-WebSocket-Version: 13\r\n",
            "",
            400,
            "Sec-WebSocket-Version: missing",
        ),
        (
            "Sec-WebSocket-Key",
            "X-Key",
            400,
            "Sec-WebSocket-Key: missing",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "not 16 bytes"),
        (
            "Upgrade\r\n",
            "Upgrade\r\nSec-WebSocket-Key: c2hvcnQ=\r\n",
            400,
            "more than once",
        ),
        (
            "Upgrade\r\n",
            "Upgrade\r\nContent-Length: 5\r\n",
            400,
            "body",
        ),
        (
            "Upgrade\r\n",
            "Upgrade\r\nTransfer-Encoding: chunked\r\n",
            400,
            "body",
        ),
        (
            "Upgrade\r\n",
            "Upgrade\r\nSec-WebSocket-Protocol: chat\r\n",
            400,
            "fanfare.v1.json",
        ),
        ("/ws", "/ws?room=", 400, "room: must not be empty"),
        (
            "/ws",
            "/ws?room=a%0ab",
            400,
            "room: must not contain control characters",
        ),
        ("/ws", "/plain/", 400, "room: must not be empty"),
        ("/ws", "/plain/%ff", 400, "UTF-8"),
        (
            "/ws",
            "/plain/r?echo=perhaps",
            400,
            "echo: give true or false",
        ),
        ("GET /ws", "GET", 400, "not an HTTP request"),
        ("/ws", "/nowhere", 404, "/ws"),
    ] {
        let response = refused(&node, from, to).await;
        assert_eq!(response.status, status, "{from:?} -> {to:?}: {response:?}");
        assert!(
            response.body.contains(why),
            "{from:?} -> {to:?}: {response:?}"
        );
    }
    node.until_metric(r#"fanfare_handshakes_total{result="refused"}"#, 18.0)
        .await;
}

#[tokio::test]
async fn a_room_name_longer_than_255_bytes_is_refused_and_one_of_255_is_not() {
    let node = Node::start().await;
    let longest = "x".repeat(255);
    Client::connect(&node, &format!("/ws?room={longest}")).await;
    let response = refused(&node, "/ws", &format!("/ws?room={longest}x")).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("at most 255"), "{response:?}");
}

#[tokio::test]
async fn another_version_and_no_upgrade_are_told_what_is_spoken() {
    let node = Node::start().await;
    for (from, to) in [
        ("Version: 13", "Version: 8"),
        ("Upgrade: websocket", "Upgrade: h2c"),
    ] {
        let response = refused(&node, from, to).await;
        assert_eq!(response.status, 426, "{response:?}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert!(!response.body.is_empty());
    }
}

#[tokio::test]
async fn another_method_is_told_which_is_allowed() {
    let node = Node::start().await;
    for (target, allowed) in [("/ws", "GET"), ("/plain/r", "GET"), ("/", "GET, HEAD")] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let response = refused(&node, "GET /ws", &format!("{method} {target}")).await;
            assert_eq!(response.status, 405, "{method} {target}: {response:?}");
            assert_eq!(response.header("allow"), Some(allowed), "{method} {target}");
        }
    }
}

#[tokio::test]
async fn the_page_and_the_client_are_served() {
    let node = Node::start().await;
    for (path, kind, words) in [
        ("/", "text/html; charset=utf-8", "<title>Fanfare</title>"),
        (
            "/client.js",
            "text/javascript; charset=utf-8",
            " as Fanfare,",
        ),
        ("/page.js", "text/javascript; charset=utf-8", "import"),
        ("/page.css", "text/css; charset=utf-8", "{"),
        ("/transcript.js", "text/javascript; charset=utf-8", "export"),
    ] {
        let page = get(node.public, path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some(kind)),
            "{path}"
        );
        assert!(page.body.contains(words), "{path}");
        let length = page.body.len().to_string();
        assert_eq!(page.header("content-length"), Some(&*length), "{path}");

        let request = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = exchange(node.public, &request).await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some(&*length)),
            "{path}"
        );
    }
    assert_eq!(get(node.public, "/favicon.ico").await.status, 404);
}

#[tokio::test]
async fn a_head_too_large_gets_431_and_says_which_limit() {
    let node = Node::with("[limits]\nhandshake_bytes = 2048").await;
    let long = format!("Upgrade\r\nCookie: {}\r\n", "x".repeat(2048));
    let response = refused(&node, "Upgrade\r\n", &long).await;
    assert_eq!(response.status, 431, "{response:?}");
    assert!(
        response.body.contains("limits.handshake_bytes"),
        "{response:?}"
    );

    let node = Node::start().await;
    let many = format!("Upgrade\r\n{}", "A: b\r\n".repeat(600));
    let response = refused(&node, "Upgrade\r\n", &many).await;
    assert_eq!(response.status, 431, "{response:?}");
    assert!(response.body.contains("512 headers"), "{response:?}");
}

#[tokio::test]
async fn a_full_node_answers_503_and_takes_the_next_once_one_has_left() {
    let node = Node::with("[limits]\nconnections = 2").await;
    let first = Client::connect(&node, "/ws").await;
    let _second = Client::connect(&node, "/ws").await;
    let response = refused(&node, "/ws", "/ws").await;
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.header("retry-after"), Some("1"));
    assert!(response.body.contains("limits.connections"), "{response:?}");
    // The page is no connection.
    assert_eq!(get(node.public, "/").await.status, 200);

    first.close().await;
    node.until_metric("fanfare_connections", 1.0).await;
    Client::connect(&node, "/ws").await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off_with_408() {
    let node = Node::with("[limits]\nhandshake_timeout = '200ms'").await;
    for begun in ["", "GET /ws HTTP/1.1\r\nHost: x\r\n"] {
        let response = exchange(node.public, begun).await;
        assert_eq!(response.status, 408, "{response:?}");
        assert!(!response.body.is_empty());
    }
    node.until_metric(r#"fanfare_handshakes_total{result="timeout"}"#, 2.0)
        .await;
}

#[tokio::test]
async fn half_open_handshakes_up_to_the_limit_keep_nobody_out() {
    let node = Node::with("[limits]\nhandshakes = 1\nhandshake_timeout = '500ms'").await;
    let mut half_open = Vec::new();
    for _ in 0..3 {
        let mut socket = Socket::connect(node.public).await;
        socket.send(b"GET /ws HTTP/1.1\r\n").await;
        half_open.push(socket);
    }
    Client::connect(&node, "/ws").await;
    for mut socket in half_open {
        assert_eq!(socket.response(true).await.status, 408);
    }
}

#[tokio::test]
async fn frames_in_the_same_packet_as_the_handshake_are_not_lost() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    let mut packet = request("/ws", "").into_bytes();
    packet.extend(text(r#"{"type":"join","id":1,"room":"a"}"#));
    packet.extend(text(
        r#"{"type":"publish","id":2,"room":"a","data":"early"}"#,
    ));
    let (whole, part) = packet.split_at(packet.len() - 3);
    socket.send(whole).await;
    check_accepted(&socket.response(true).await);
    let mut client = Client::welcomed(socket, Format::Json).await;
    assert_eq!(client.reply(1).await["type"], "joined");
    client.socket.send(part).await;
    assert_eq!(client.reply(2).await["type"], "published");
    assert_eq!(client.message().await["data"], "early");
}

#[tokio::test]
async fn a_handshake_may_come_byte_by_byte() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    let mut bytes = request("/ws?room=a", "").into_bytes();
    bytes.extend(text(r#"{"type":"ping","id":7}"#));
    socket.send_bytewise(&bytes).await;
    check_accepted(&socket.response(true).await);
    let mut client = Client::welcomed(socket, Format::Json).await;
    assert_eq!(client.reply(7).await["type"], "pong");
}

#[tokio::test]
async fn what_follows_a_refused_request_is_not_answered() {
    let node = Node::start().await;
    let twice = request("/nowhere", "").repeat(2);
    assert_eq!(exchange(node.public, &twice).await.status, 404);
    let garbage = format!("\u{16}\u{3}\u{1}{}", "\u{0}".repeat(500));
    assert_eq!(exchange(node.public, &garbage).await.status, 400);
}

#[tokio::test]
async fn garbage_behind_a_handshake_closes_with_1002() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    let twice = request("/ws", "").repeat(2);
    socket.send(twice.as_bytes()).await;
    check_accepted(&socket.response(true).await);
    // The welcome comes before it.
    socket.expect_closed(1002).await;
}

#[tokio::test]
async fn the_first_known_subprotocol_is_chosen() {
    let node = Node::start().await;
    for (offered, chosen) in [
        ("", None),
        (
            "Sec-WebSocket-Protocol: fanfare.v1.json\r\n",
            Some("fanfare.v1.json"),
        ),
        (
            "Sec-WebSocket-Protocol: fanfare.v1.msgpack\r\n",
            Some("fanfare.v1.msgpack"),
        ),
        (
            "Sec-WebSocket-Protocol: chat, fanfare.v1.msgpack, fanfare.v1.json\r\n",
            Some("fanfare.v1.msgpack"),
        ),
        (
            "Sec-WebSocket-Protocol: chat\r\nsec-websocket-protocol: fanfare.v1.json\r\n",
            Some("fanfare.v1.json"),
        ),
    ] {
        let mut socket = Socket::connect(node.public).await;
        socket.send(request("/ws", offered).as_bytes()).await;
        let response = socket.response(true).await;
        check_accepted(&response);
        assert_eq!(
            response.header("sec-websocket-protocol"),
            chosen,
            "{offered}"
        );
        let format = match chosen {
            Some("fanfare.v1.msgpack") => Format::MsgPack,
            _ => Format::Json,
        };
        Client::welcomed(socket, format).await;
    }
}

#[tokio::test]
async fn the_welcome_comes_first_and_says_what_a_client_needs_to_know() {
    let node = Node::with("node = 'ash'\nheartbeat = '30s'\n[limits]\nmax_message = 4096").await;
    let client = Client::connect(&node, "/ws?room=a").await;
    let id = client.id();
    assert_eq!(id.len(), 16, "{id}");
    let expected = json!({
        "type": "welcome", "client": id, "node": "ash", "heartbeat": 30, "max_message": 4096,
    });
    for (field, value) in expected.as_object().expect("a map") {
        assert_eq!(client.welcome[field], *value, "{field}");
    }
}

#[tokio::test]
async fn rooms_in_the_address_are_joined_at_once() {
    let node = Node::start().await;
    let mut client = Client::connect(&node, "/ws?room=a&room=b+c&room=%C3%BC").await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let joined = client.event().await;
        assert_eq!(joined["type"], "joined", "{joined}");
        assert!(joined.get("id").is_none(), "{joined}");
        rooms.push(joined["room"].as_str().expect("a name").to_owned());
    }
    rooms.sort();
    assert_eq!(rooms, ["a", "b c", "ü"]);
    client.publish("b c", json!(1)).await;
    assert_eq!(client.message().await["room"], "b c");
}

#[tokio::test]
async fn header_names_and_tokens_are_read_whatever_their_case() {
    let node = Node::start().await;
    let request = request("/ws", "")
        .replace("Upgrade: websocket", "UPGRADE:WebSocket")
        .replace("Connection: Upgrade", "connection: keep-alive, UPGRADE");
    let mut socket = Socket::connect(node.public).await;
    socket.send(request.as_bytes()).await;
    check_accepted(&socket.response(true).await);
}

#[tokio::test]
async fn a_port_scan_leaves_nothing_behind() {
    let node = Node::start().await;
    for _ in 0..20 {
        drop(Socket::connect(node.public).await);
        Socket::connect(node.public).await.reset();
        let mut socket = Socket::connect(node.public).await;
        socket.send(b"GET /ws HT").await;
        drop(socket);
    }
    // A socket reset before it was accepted is not even counted.
    until("the sockets to be let go", async || {
        let metrics = node.metrics().await;
        let aborted = metrics.value(r#"fanfare_handshakes_total{result="aborted"}"#);
        (aborted >= Some(40.0)).then_some(())
    })
    .await;
    node.until_metric("fanfare_connections", 0.0).await;
    Client::connect(&node, "/ws").await.close().await;
}
