//! The internal listener: health and metrics.

use serde_json::json;

use crate::client::Client;
use crate::http::get;
use crate::node::Node;

#[tokio::test]
async fn a_node_that_serves_is_alive_and_ready() {
    let node = Node::start().await;
    for (path, body) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = node.internal(path).await;
        assert_eq!((answer.status, &*answer.body), (200, body), "{path}");
    }
    assert_eq!(node.internal("/nowhere").await.status, 404);
}

#[tokio::test]
async fn the_public_listener_shows_nothing_internal() {
    let node = Node::start().await;
    for path in ["/metrics", "/livez", "/readyz", "/v1/rooms"] {
        assert_eq!(get(node.public, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_well_formed_and_count_what_happens() {
    let node = Node::start().await;
    let mut ann = Client::join(&node, "unmistakable").await;
    let mut bo = Client::join(&node, "unmistakable").await;
    for n in 0..10 {
        ann.publish("unmistakable", json!(n)).await;
    }
    bo.data(10).await;
    for (series, value) in [
        ("fanfare_connections", 2.0),
        ("fanfare_memberships", 2.0),
        ("fanfare_rooms", 1.0),
        ("fanfare_connections_opened_total", 2.0),
        (r#"fanfare_handshakes_total{result="ok"}"#, 2.0),
        (r#"fanfare_publishes_total{origin="client"}"#, 10.0),
        ("fanfare_deliveries_total", 20.0),
        (r#"fanfare_connections_closed_total{reason="normal"}"#, 0.0),
    ] {
        node.until_metric(series, value).await;
    }
    bo.close().await;
    node.until_metric(r#"fanfare_connections_closed_total{reason="normal"}"#, 1.0)
        .await;
    let metrics = node.metrics().await;
    for series in metrics.series() {
        assert!(
            !series.contains("unmistakable"),
            "a room's name in {series}"
        );
        assert!(!series.contains(ann.id()), "a client's id in {series}");
    }
    let kind = node.internal("/metrics").await;
    let kind = kind.header("content-type").expect("a content type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
}
