//! The server's HTTP API: what a backend asks of the broker, and what becomes of it.

use serde_json::{Value, json};

use crate::client::Client;
use crate::http::{Response, exchange};
use crate::node::{BACKENDS, Node};
use crate::token::KEYED;

const KEY: &str = "[api]\nkey = 'backend-key-6b1e0f9d'\n";

/// Calls the API with a key.
pub(crate) async fn call(
    node: &Node,
    key: &str,
    method: &str,
    path: &str,
    extra: &str,
    body: &str,
) -> Response {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {key}\r\nContent-Length: {length}\r\n{extra}\r\n{body}"
    );
    exchange(node.internal, &request).await
}

async fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let response = call(
        node,
        "backend-key-6b1e0f9d",
        "POST",
        path,
        "",
        &body.to_string(),
    )
    .await;
    (
        response.status,
        serde_json::from_str(&response.body).expect("JSON"),
    )
}

pub(crate) async fn get(node: &Node, path: &str) -> (u16, Value) {
    let response = call(node, "backend-key-6b1e0f9d", "GET", path, "", "").await;
    (
        response.status,
        serde_json::from_str(&response.body).expect("JSON"),
    )
}

#[tokio::test]
async fn what_a_backend_publishes_every_member_gets() {
    for backend in BACKENDS {
        let rules = "[[rooms]]\nmatch = 'news'\npublish = 'server'\n";
        let node = Node::on(backend, &format!("{KEY}{rules}")).await;
        let mut ann = Client::join(&node, "news").await;
        let refused = ann
            .call(json!({"type": "publish", "room": "news", "data": 1}))
            .await;
        assert_eq!(refused["code"], "forbidden");
        let body = json!({"event": "extra", "data": {"text": "hi"}});
        let (status, published) = post(&node, "/v1/rooms/news/messages", &body).await;
        assert_eq!((status, &published["offset"]), (200, &json!(1)));
        let message = ann.message().await;
        assert_eq!(message["event"], "extra");
        assert_eq!(message["data"], json!({"text": "hi"}));
        assert_eq!(message.get("from"), None, "it is the server's own");
        node.until_metric(r#"fanfare_publishes_total{origin="api"}"#, 1.0)
            .await;
        let (_, history) = get(&node, "/v1/rooms/news/messages?limit=1").await;
        assert_eq!(history["epoch"], published["epoch"]);
        assert_eq!(history["messages"][0]["data"], json!({"text": "hi"}));
    }
}

#[tokio::test]
async fn a_payload_is_passed_on_as_it_came() {
    let node = Node::with(KEY).await;
    let path = "/v1/rooms/a/messages";
    let body = r#"{"data": {"b" : 1.50, "a":[ 12345678901234567890 ]} }"#;
    let response = call(&node, "backend-key-6b1e0f9d", "POST", path, "", body).await;
    assert_eq!(response.status, 200, "{response:?}");
    let history = call(&node, "backend-key-6b1e0f9d", "GET", path, "", "").await;
    let kept = r#""data":{"b" : 1.50, "a":[ 12345678901234567890 ]}"#;
    assert!(history.body.contains(kept), "{}", history.body);
    let binary = "Content-Type: application/octet-stream\r\n";
    let path = "/v1/rooms/bytes/messages";
    let query = format!("{path}?event=raw");
    let response = call(&node, "backend-key-6b1e0f9d", "POST", &query, binary, "abc").await;
    assert_eq!(response.status, 200, "{response:?}");
    let (_, base64) = post(&node, path, &json!({"data": "YWJj", "binary": true})).await;
    assert_eq!(base64["offset"], 2);
    let (_, history) = get(&node, path).await;
    for message in history["messages"].as_array().expect("messages") {
        assert_eq!(
            (&message["data"], &message["binary"]),
            (&json!("YWJj"), &json!(true))
        );
    }
    assert_eq!(history["messages"][0]["event"], "raw");
}

#[tokio::test]
async fn a_call_that_is_repeated_with_its_key_is_done_once() {
    for backend in BACKENDS {
        let node = Node::on(backend, KEY).await;
        let path = "/v1/rooms/a/messages";
        let header = "Idempotency-Key: k1\r\n";
        for _ in 0..2 {
            let response = call(
                &node,
                "backend-key-6b1e0f9d",
                "POST",
                path,
                header,
                r#"{"data":1}"#,
            )
            .await;
            let published: Value = serde_json::from_str(&response.body).expect("JSON");
            assert_eq!(published["offset"], 1);
        }
        let (_, published) = post(&node, path, &json!({"data": 1, "key": "k1"})).await;
        assert_eq!(published["offset"], 1);
    }
}

#[tokio::test]
async fn rooms_and_members_are_told() {
    for backend in BACKENDS {
        let node = Node::on(backend, KEY).await;
        let mut ann = Client::join(&node, "a/b c").await;
        ann.publish("a/b c", json!(1)).await;
        let (status, room) = get(&node, "/v1/rooms/a%2Fb%20c").await;
        assert_eq!(status, 200);
        assert_eq!(
            (&room["room"], &room["offset"]),
            (&json!("a/b c"), &json!(1))
        );
        crate::deadline::until("the member to be seen", async || {
            let (_, members) = get(&node, "/v1/rooms/a%2Fb%20c/members?limit=10").await;
            (members["count"] == 1).then(|| assert_eq!(members["members"][0]["client"], ann.id()))
        })
        .await;
    }
}

#[tokio::test]
async fn several_rooms_and_several_messages_take_one_call() {
    let node = Node::with(KEY).await;
    let mut ann = Client::join(&node, "a").await;
    let (_, answer) = post(
        &node,
        "/v1/messages",
        &json!({"rooms": ["a", "b"], "data": 1}),
    )
    .await;
    let offsets: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["offset"])
        .collect();
    assert_eq!(offsets, [&json!(1), &json!(1)]);
    let operations: Vec<_> = (0..100)
        .map(|number| json!({"publish": {"room": "a", "data": number}}))
        .chain([json!({"publish": {"room": "", "data": 1}})])
        .collect();
    let (status, answer) = post(&node, "/v1/batch", &json!({"operations": operations})).await;
    assert_eq!(status, 200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[99]["offset"], 101);
    assert_eq!(results[100]["error"]["code"], "bad_request");
    let expected: Vec<_> = std::iter::once(1).chain(0..100).map(Value::from).collect();
    assert_eq!(ann.data(101).await, expected, "in order");
}

#[tokio::test]
async fn the_connection_that_is_named_is_left_out() {
    let node = Node::with(KEY).await;
    let mut ann = Client::join(&node, "a").await;
    let mut ben = Client::join(&node, "a").await;
    let body = json!({"data": 1, "except": ann.id()});
    post(&node, "/v1/rooms/a/messages", &body).await;
    post(&node, "/v1/rooms/a/messages", &json!({"data": 2})).await;
    assert_eq!(ben.data(2).await, [json!(1), json!(2)]);
    assert_eq!(ann.message().await["data"], 2);
}

#[tokio::test]
async fn each_fault_has_its_status_and_says_what_would_be_right() {
    let limited = "[[api.keys]]\nname = 'reader'\nsecret = 'r'\nallow = ['history']\n";
    let node = Node::with(&format!("limits.max_message = 1000\n{KEY}{limited}")).await;
    let good = r#"{"data":1}"#;
    let large = format!(r#"{{"data":"{}"}}"#, "a".repeat(1000));
    let huge = "a".repeat(100_000);
    let path = "/v1/rooms/a/messages";
    for (key, method, path, body, status, why) in [
        (
            "wrong",
            "POST",
            path,
            good,
            401,
            "the key is not known here",
        ),
        (
            "r",
            "POST",
            path,
            good,
            403,
            "the key `reader` does not allow `publish`",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            path,
            "",
            400,
            "not a message: ",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            path,
            "{}",
            400,
            "data: missing",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            path,
            r#"{"dat":1}"#,
            400,
            "unknown field `dat`",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            path,
            &large,
            413,
            "data: 1002 bytes long; at most 1000",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            path,
            &huge,
            413,
            "the body is larger",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            "/v1/rooms/%0a/messages",
            good,
            400,
            "room: must not contain control characters",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            path,
            r#"{"data":1,"event":""}"#,
            400,
            "event: 0 bytes long",
        ),
        (
            "backend-key-6b1e0f9d",
            "GET",
            "/v1/rooms/a/messages?since=1",
            "",
            400,
            "since: not a position",
        ),
        (
            "backend-key-6b1e0f9d",
            "GET",
            "/v1/rooms/a/messages?lim=1",
            "",
            400,
            "query: ",
        ),
        (
            "backend-key-6b1e0f9d",
            "PUT",
            path,
            "",
            405,
            "the method is not allowed",
        ),
        (
            "backend-key-6b1e0f9d",
            "GET",
            "/v1/nowhere",
            "",
            404,
            "there is nothing here",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            "/v1/messages",
            good,
            400,
            "rooms: give 1 to 1000",
        ),
        (
            "backend-key-6b1e0f9d",
            "POST",
            "/v1/batch",
            "{}",
            400,
            "not a batch",
        ),
    ] {
        let response = call(&node, key, method, path, "", body).await;
        assert_eq!(response.status, status, "{path} {response:?}");
        let error: Value = serde_json::from_str(&response.body).expect("JSON");
        let message = error["error"]["message"].as_str().expect("a message");
        assert!(message.contains(why), "{message}");
        assert_eq!(error["error"]["retry"], false);
    }
    let without = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(node.internal, &without).await.status, 401);
    assert!(
        !node.log().contains("backend-key-6b1e0f9d"),
        "a key is in the log"
    );
    let closed = Node::with(KEYED).await;
    let response = call(&closed, "any", "GET", path, "", "").await;
    assert_eq!(response.status, 401);
    assert!(response.body.contains("api.key"), "{response:?}");
    assert_eq!(
        crate::http::get(node.public, "/v1/rooms/a").await.status,
        404
    );
}

#[tokio::test]
async fn what_is_not_in_the_log_is_not_answered_with_200() {
    let redis = crate::redis_server::RedisServer::start();
    let config = format!(
        "{KEY}[redis]\nurl = '{}'\nprobe_interval = '100ms'\nprobe_timeout = '300ms'\n",
        redis.url()
    );
    let node = Node::with(&config).await;
    let (status, _) = post(&node, "/v1/rooms/a/messages", &json!({"data": 1})).await;
    assert_eq!(status, 200);
    drop(redis);
    let body = json!({"data": 2});
    let path = "/v1/rooms/a/messages";
    let response = call(
        &node,
        "backend-key-6b1e0f9d",
        "POST",
        path,
        "",
        &body.to_string(),
    )
    .await;
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.header("retry-after"), Some("1"));
    assert!(response.body.contains(r#""retry":true"#), "{response:?}");
}
