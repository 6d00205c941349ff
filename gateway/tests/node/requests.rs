//! Plain HTTP on the public port: several requests on one connection, in the coding that the client
//! takes, and a handshake behind them.

use std::io::Read as _;

use serde_json::json;

use crate::client::{Client, Format, check_accepted, request};
use crate::http::Response;
use crate::node::Node;
use crate::socket::{Socket, text};

fn ask(method: &str, path: &str, extra: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: fanfare.test\r\n{extra}\r\n")
}

/// Asks on a connection that is kept.
async fn answer(socket: &mut Socket, method: &str, path: &str, extra: &str) -> Response {
    socket.send(ask(method, path, extra).as_bytes()).await;
    socket.response(method != "HEAD").await
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    for (path, status) in [("/", 200), ("/nowhere", 404), ("/client.js", 200)] {
        let response = answer(&mut socket, "GET", path, "").await;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("connection"), None, "{path}");
        let head = answer(&mut socket, "HEAD", path, "").await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (status, response.header("content-length"))
        );
    }
    let last = answer(&mut socket, "GET", "/", "Connection: close\r\n").await;
    assert_eq!(last.status, 200);
    socket.expect_end().await;
    node.until_metric(r#"fanfare_handshakes_total{result="page"}"#, 5.0)
        .await;
}

#[tokio::test]
async fn requests_may_come_together_and_byte_by_byte() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    let together = [ask("GET", "/page.js", ""), ask("GET", "/page.css", "")].concat();
    socket.send(together.as_bytes()).await;
    let first = socket.response(true).await;
    let second = socket.response(true).await;
    assert!(first.body.contains("import") && second.body.contains('{'));
    let bytes = ask("GET", "/", "Connection: close\r\n");
    socket.send_bytewise(bytes.as_bytes()).await;
    assert!(socket.response(true).await.body.contains("<title>Fanfare"));
    socket.expect_end().await;
}

#[tokio::test]
async fn a_version_that_the_browser_has_is_not_sent_again() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    let first = answer(&mut socket, "GET", "/client.js", "").await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert_eq!(first.header("vary"), Some("Accept-Encoding"));
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".into(),
    ] {
        let extra = format!("If-None-Match: {known}\r\n");
        let response = answer(&mut socket, "GET", "/client.js", &extra).await;
        assert_eq!((response.status, response.body.len()), (304, 0), "{known}");
        assert_eq!(response.header("etag"), Some(&tag[..]));
    }
    let other = answer(&mut socket, "GET", "/client.js", "If-None-Match: \"x\"\r\n").await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn files_come_in_the_coding_that_is_taken() {
    let node = Node::start().await;
    let plain = crate::http::get(node.public, "/client.js").await.body;
    for (accepted, coding) in [("gzip, br", "br"), ("gzip;q=0.5", "gzip")] {
        let mut socket = Socket::connect(node.public).await;
        let extra = format!("Accept-Encoding: {accepted}\r\nConnection: close\r\n");
        socket
            .send(ask("GET", "/client.js", &extra).as_bytes())
            .await;
        let head = socket.response(false).await;
        assert_eq!(head.header("content-encoding"), Some(coding));
        let length: usize = head.header("content-length").unwrap().parse().unwrap();
        assert!(length < plain.len() / 2, "{length}");
        let body = socket.bytes(length).await;
        let mut text = String::new();
        if coding == "br" {
            let mut reader = brotli::Decompressor::new(&body[..], 4096);
            reader.read_to_string(&mut text).expect("brotli");
        } else {
            let mut reader = flate2::read::GzDecoder::new(&body[..]);
            reader.read_to_string(&mut text).expect("gzip");
        }
        assert_eq!(text, plain);
    }
}

#[tokio::test]
async fn what_http_does_not_allow_is_refused() {
    let node = Node::start().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            405,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\
             Content-Length: 2\r\n\r\nab",
            400,
        ),
        (
            "GET http://a/nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            404,
        ),
    ] {
        let mut socket = Socket::connect(node.public).await;
        socket.send(request.as_bytes()).await;
        let response = socket.response(true).await;
        assert_eq!(response.status, status, "{request}");
        socket.expect_end().await;
    }
}

/// As proxies do that keep connections to their servers.
#[tokio::test]
async fn a_handshake_may_follow_on_a_connection_that_was_kept() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    assert_eq!(answer(&mut socket, "GET", "/", "").await.status, 200);
    let mut packet = request("/ws?room=a", "").into_bytes();
    packet.extend(text(r#"{"type":"ping","id":7}"#));
    socket.send(&packet).await;
    check_accepted(&socket.response(true).await);
    let mut client = Client::welcomed(socket, Format::Json).await;
    assert_eq!(client.reply(7).await["type"], "pong");
    assert_eq!(client.event().await["type"], "joined");
    client.publish("a", json!("hi")).await;
    assert_eq!(client.message().await["data"], "hi");
    node.until_metric("fanfare_connections", 1.0).await;
    client.close().await;
    node.until_metric("fanfare_connections", 0.0).await;
}

#[tokio::test]
async fn a_refused_handshake_ends_a_connection_that_was_kept() {
    let node = Node::start().await;
    let mut socket = Socket::connect(node.public).await;
    assert_eq!(answer(&mut socket, "GET", "/", "").await.status, 200);
    let response = answer(&mut socket, "GET", "/ws", "").await;
    assert_eq!(response.status, 426);
    assert!(
        response.body.contains("send `Upgrade: websocket`"),
        "{response:?}"
    );
    socket.expect_end().await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_more_ends() {
    let node = Node::with("[limits]\nhandshake_timeout = '200ms'").await;
    let mut socket = Socket::connect(node.public).await;
    assert_eq!(answer(&mut socket, "GET", "/", "").await.status, 200);
    socket.expect_end().await;
    node.until_metric(r#"fanfare_places{of="handshakes"}"#, 0.0)
        .await;
}

#[tokio::test]
async fn connections_that_were_kept_give_way_and_end_with_the_drain() {
    let node = Node::with("[limits]\nhandshakes = 1").await;
    let mut first = Socket::connect(node.public).await;
    assert_eq!(answer(&mut first, "GET", "/", "").await.status, 200);
    // The one place is its own, until another wants it.
    let mut second = Socket::connect(node.public).await;
    assert_eq!(answer(&mut second, "GET", "/", "").await.status, 200);
    first.expect_end().await;
    // One that stays keeps the node from its end, so that the drain can be looked at.
    let mut client = Client::connect(&node, "/ws").await;
    let mut third = Socket::connect(node.public).await;
    assert_eq!(answer(&mut third, "GET", "/", "").await.status, 200);
    node.signal(rustix::process::Signal::TERM);
    third.expect_end().await;
    client.socket.expect_closed(1001).await;
}
