//! TLS in the node itself: real certificates, made here, and a real client.

mod authority;
mod bounds;
mod bytewise;
mod commands;
mod internal;
mod reload;
mod renegotiation;
mod wss;

use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use self::authority::Authority;
use self::bytewise::Bytewise;
use self::wss::Wss;
use crate::client::Client;
use crate::deadline::within;
use crate::http::get;
use crate::node::Node;

/// The configuration of a node whose public port has a certificate of `authority`.
fn public(authority: &Authority) -> String {
    let (cert, key) = authority.issue("node");
    section("tls", &cert, &key)
}

fn section(name: &str, cert: &std::path::Path, key: &std::path::Path) -> String {
    let (cert, key) = (cert.display(), key.display());
    format!("[{name}]\ncert = '{cert}'\nkey = '{key}'\n")
}

/// Publishes into a room that the client is in, and sees it.
async fn publish_and_see<S>(client: &mut Wss<S>, room: &str, data: &str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let command = json!({"type": "publish", "id": 1, "room": room, "data": data});
    client.send(&command).await;
    // Before its reply or after it.
    let message = client.event_of("message").await;
    assert_eq!(message["data"], data);
}

#[tokio::test]
async fn both_versions_of_tls_carry_a_websocket() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    for version in [&TLS12, &TLS13] {
        let mut client = Wss::speaking(&node, &authority, &[version], "/ws?room=r").await;
        assert_eq!(client.protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(client.event().await["type"], "welcome");
        assert_eq!(client.event().await["type"], "joined");
        publish_and_see(&mut client, "r", "hi").await;
        client.write(&crate::socket::close(1000)).await;
        client.expect_closed(1000).await;
    }
}

#[tokio::test]
async fn an_application_protocol_that_is_not_spoken_is_refused() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let mut config = authority.client(&[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refused = Wss::try_connect(node.public, config).await;
    let refused = refused.err().expect("no agreement").to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn what_takes_several_records_arrives_whole_both_ways() {
    let authority = Authority::new();
    let limits = "[limits]\nmax_message = 1000000\noutbox_bytes = 4000000\n";
    let node = Node::with(&format!("{}{limits}", public(&authority))).await;
    let mut sender = Wss::open(&node, &authority, "/ws?room=r").await;
    let mut receiver = Wss::open(&node, &authority, "/ws?room=r").await;
    receiver.event_of("joined").await;
    for size in [1, 16_000, 16_384, 16_385, 100_000, 900_000] {
        let data = "x".repeat(size);
        publish_and_see(&mut sender, "r", &data).await;
        assert_eq!(receiver.event_of("message").await["data"], data);
    }
}

#[tokio::test]
async fn a_client_whose_bytes_come_one_by_one_is_served() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    for version in [&TLS12, &TLS13] {
        let stream = within("a connection", TcpStream::connect(node.public)).await;
        let stream = Bytewise(stream.expect("a connection"));
        let shaken = Wss::over(stream, authority.client(&[version])).await;
        let mut client = shaken.expect("a handshake");
        client.upgrade("/ws?room=r").await;
        client.event_of("joined").await;
        publish_and_see(&mut client, "r", "slowly").await;
    }
}

#[tokio::test]
async fn the_page_is_there_and_a_websocket_may_begin_on_its_connection() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let mut client = Wss::connect(node.public, authority.client(&[&TLS13])).await;
    for path in ["/", "/page.js", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.write(request.as_bytes()).await;
        let head = String::from_utf8(client.head().await).expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.to_ascii_lowercase();
        let length = length.split_once("content-length: ").expect("a length").1;
        let length = length.split("\r\n").next().expect("a line");
        client.bytes(length.parse().expect("a number")).await;
    }
    client.upgrade("/ws?room=r").await;
    client.event_of("joined").await;
    publish_and_see(&mut client, "r", "hi").await;
}

#[tokio::test]
async fn clients_that_resume_their_session_are_served() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut client = Wss::connect(node.public, config.clone()).await;
            client.upgrade("/ws?room=r").await;
            client.event_of("joined").await;
            kinds.push(client.stream.get_ref().1.handshake_kind());
        }
        let resumed = Some(rustls::HandshakeKind::Resumed);
        assert_eq!(kinds[1..], [resumed, resumed], "{kinds:?}");
    }
}

#[tokio::test]
async fn keys_may_change_on_the_way() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let mut client = Wss::speaking(&node, &authority, &[&TLS13], "/ws?room=r").await;
    client.event_of("joined").await;
    for data in ["before", "between", "after"] {
        publish_and_see(&mut client, "r", data).await;
        let (_, tls) = client.stream.get_mut();
        // Asks the node to change its own, too (RFC 8446, section 4.6.3).
        tls.refresh_traffic_keys().expect("to change keys");
    }
    publish_and_see(&mut client, "r", "still here").await;
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_what_is_spoken_here() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let response = get(node.public, "/").await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("wss://"), "{}", response.body);
}

#[tokio::test]
async fn who_breaks_tls_is_told_by_an_alert_and_let_go() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let mut client = Wss::open(&node, &authority, "/ws?room=r").await;
    client.event_of("joined").await;
    // A record that was encrypted with no key.
    let forged = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    let (tcp, _) = client.stream.get_mut();
    tcp.write_all(&forged).await.expect("to send");
    let ended = client.try_fill().await.expect_err("an alert").to_string();
    assert!(ended.contains("BadRecordMac"), "{ended}");
    node.until_metric("fanfare_connections", 0.0).await;
}

#[tokio::test]
async fn a_node_that_stops_says_goodbye() {
    let authority = Authority::new();
    let mut node = Node::with(&public(&authority)).await;
    let mut clients = Vec::new();
    for version in [&TLS12, &TLS13] {
        let mut client = Wss::speaking(&node, &authority, &[version], "/ws?room=r").await;
        client.event_of("joined").await;
        clients.push(client);
    }
    node.signal(Signal::TERM);
    for client in &mut clients {
        client.expect_closed(1001).await;
    }
    assert!(node.exit().await.success());
}

#[tokio::test]
async fn a_member_in_plain_and_one_in_tls_share_a_room() {
    // Of two nodes: a port speaks one or the other.
    let redis = crate::redis_server::RedisServer::start();
    let authority = Authority::new();
    let arguments = ["--redis", &redis.url()];
    let tls = Node::with_arguments(&public(&authority), &arguments).await;
    let plain = Node::with_arguments("", &arguments).await;
    let mut one = Wss::open(&tls, &authority, "/ws?room=r").await;
    one.event_of("joined").await;
    let mut other = Client::join(&plain, "r").await;
    other.publish("r", json!("to all")).await;
    assert_eq!(one.event_of("message").await["data"], "to all");
    publish_and_see(&mut one, "r", "back").await;
    assert_eq!(other.data(2).await, ["to all", "back"]);
}
