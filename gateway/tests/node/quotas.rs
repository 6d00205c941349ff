//! What one address, one user and one connection may have, each pushed against; and by whose word a
//! client is where.

use serde_json::{Value, json};

use crate::client::{Client, Format, open, open_on, request};
use crate::http::Response;
use crate::node::Node;
use crate::socket::Socket;
use crate::token::{KEYED, bearer, now, sign};

async fn limited(limits: &str) -> Node {
    Node::with(&format!("{KEYED}anonymous = true\n[limits]\n{limits}\n")).await
}

/// The answer to a handshake with more header lines, behind some first bytes.
async fn answer(node: &Node, first: &str, extra: &str) -> (Socket, Response) {
    let mut socket = Socket::connect(node.public).await;
    let request = format!("{first}{}", request("/ws", extra));
    socket.send(request.as_bytes()).await;
    let response = socket.response(false).await;
    (socket, response)
}

async fn counted(node: &Node, limit: &str, least: f64) {
    let series = format!("fanfare_rate_limited_total{{limit=\"{limit}\"}}");
    let count = node.metrics().await.value(&series).expect("the counter");
    assert!(count >= least, "{series} is {count}");
}

fn from(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let node = limited("connections_per_address = 2").await;
    let (_one, mut other) = (answer(&node, "", "").await, answer(&node, "", "").await);
    assert_eq!(other.1.status, 101);
    for _ in 0..50 {
        let (_, refused) = answer(&node, "", "").await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    counted(&node, "address", 50.0).await;
    // Who goes makes room. Nobody is trusted to say that they are somewhere else.
    let (_, refused) = answer(&node, "", &from("192.0.2.1")).await;
    assert_eq!(refused.status, 429);
    other.0.finish().await;
    other.0.end_of_stream().await;
    crate::deadline::until("room", async || {
        (answer(&node, "", "").await.1.status == 101).then_some(())
    })
    .await;
}

#[tokio::test]
async fn handshakes_of_an_address_come_so_fast_and_no_faster() {
    let node = limited("handshakes_per_address = 5").await;
    let mut refused = 0;
    for _ in 0..30 {
        refused += u32::from(answer(&node, "", "").await.1.status == 429);
    }
    assert!((1..=25).contains(&refused), "{refused}");
    counted(&node, "address", 1.0).await;
}

#[tokio::test]
async fn handshakes_of_a_node_come_so_fast_and_no_faster() {
    let node = limited("handshakes_per_second = 5").await;
    let mut refused = 0;
    for _ in 0..30 {
        refused += u32::from(answer(&node, "", "").await.1.status == 503);
    }
    assert!((1..=25).contains(&refused), "{refused}");
    counted(&node, "handshakes", 1.0).await;
}

#[tokio::test]
async fn a_node_with_all_its_memory_takes_nobody() {
    let node = limited("memory = 1").await;
    crate::deadline::until("the memory to be looked at", async || {
        (answer(&node, "", "").await.1.status == 503).then_some(())
    })
    .await;
    counted(&node, "memory", 1.0).await;
}

#[tokio::test]
async fn a_user_has_so_many_connections_however_they_come() {
    let node = limited("connections_per_user = 1").await;
    let token = |user: &str| sign(&json!({"sub": user, "exp": now() + 3600}));
    let ann = answer(&node, "", &bearer(&token("ann"))).await;
    assert_eq!(ann.1.status, 101);
    assert_eq!(
        answer(&node, "", &bearer(&token("ann"))).await.1.status,
        429
    );
    assert_eq!(
        answer(&node, "", &bearer(&token("bob"))).await.1.status,
        101
    );
    // By the first token of an open connection, too.
    let mut late = Client::welcomed(open(&node, "/ws", "").await, Format::Json).await;
    let reply = late
        .call(json!({"type": "auth", "token": token("ann")}))
        .await;
    assert_eq!(reply["code"], "rate_limited", "{reply}");
    let message = reply["message"].as_str().expect("a message");
    assert!(message.contains("limits.connections_per_user"), "{message}");
    counted(&node, "user", 2.0).await;
}

/// Publishes as fast as it goes, and answers how much arrives: all of it, if later.
async fn flood(node: &Node, count: usize, data: &Value) {
    let mut client = Client::join(node, "a").await;
    let command = json!({"type": "publish", "room": "a", "data": data});
    client.send_all(&vec![command; count]).await;
    let mut other = Client::join(node, "b").await;
    // Meanwhile everybody else goes on.
    let reply = other.call(json!({"type": "ping"})).await;
    assert_eq!(reply["type"], "pong", "{reply}");
    for _ in 0..count {
        assert_eq!(client.message().await["data"], *data);
    }
}

#[tokio::test]
async fn a_connection_that_sends_too_much_is_read_more_slowly() {
    let node = Node::with("[limits]\ncommands_per_second = 200\n").await;
    flood(&node, 300, &json!(1)).await;
    counted(&node, "commands", 1.0).await;
    let node = Node::with("[limits]\nbytes_per_second = 100000\n").await;
    flood(&node, 150, &json!("x".repeat(1_000))).await;
    counted(&node, "bytes", 1.0).await;
}

#[tokio::test]
async fn only_trusted_proxies_say_where_clients_are() {
    let node =
        Node::with("[limits]\nconnections_per_address = 1\n[proxy]\ntrusted = ['127.0.0.0/8']\n")
            .await;
    let one = answer(&node, "", &from("192.0.2.1")).await;
    assert_eq!(one.1.status, 101);
    for extra in [
        from("192.0.2.1"),
        from("203.0.113.7, 192.0.2.1"),
        "Forwarded: for=192.0.2.1\r\n".to_owned(),
    ] {
        assert_eq!(answer(&node, "", &extra).await.1.status, 429, "{extra}");
    }
    let other = answer(&node, "", "Forwarded: for=\"[2001:db8::1]\"\r\n").await;
    assert_eq!(other.1.status, 101);
    // The same /64.
    let extra = "Forwarded: for=\"[2001:db8::2]:4711\"\r\n";
    assert_eq!(answer(&node, "", extra).await.1.status, 429);
}

#[tokio::test]
async fn a_balancer_in_tcp_says_where_clients_are() {
    let node = Node::with(
        "[limits]\nconnections_per_address = 1\n\
         [proxy]\ntrusted = ['127.0.0.0/8']\nprotocol = true\n",
    )
    .await;
    let v1 = "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n";
    let one = answer(&node, v1, "").await;
    assert_eq!(one.1.status, 101);
    assert_eq!(answer(&node, v1, "").await.1.status, 429);
    // However it is cut.
    let mut socket = Socket::connect(node.public).await;
    socket
        .send_bytewise(b"PROXY TCP4 192.0.2.2 10.0.0.1 4711 443\r\n")
        .await;
    let socket = open_on(socket, "/ws", "").await;
    let _client = Client::welcomed(socket, Format::Json).await;
    let (_, refused) = answer(&node, "", "").await;
    assert_eq!(refused.status, 400);
    let (_, refused) = answer(&node, "PROXY TCP4 nonsense\r\n", "").await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn nobody_else_may_speak_the_proxy_protocol() {
    let node = Node::with("[proxy]\ntrusted = ['192.0.2.0/24']\nprotocol = true\n").await;
    let (_, refused) = answer(&node, "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", "").await;
    assert_eq!(refused.status, 400);
    let (_, accepted) = answer(&node, "", "").await;
    assert_eq!(accepted.status, 101);
}
