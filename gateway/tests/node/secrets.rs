//! Secrets are nowhere that somebody else may look: not in a log however much it says, not in a
//! metric, an answer, or what `check-config` prints.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::client::{Client, Format, open, request};
use crate::http::{exchange, get};
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::socket::Socket;
use crate::token::{SECRET, bearer, hide, now, shown, sign, token};

/// What must not show, each for one key of the configuration.
const OTHER_KEY: &str = "second-key-7f3a9c1e5b2d4086";
const API_KEY: &str = "api-key-4d2b8e6f0a1c3957";
const NAMED_KEY: &str = "named-key-91c7e5a3b8d2f640";
const PASSWORD: &str = "redis-password-5e8a1f7c";
const WRONG_PASSWORD: &str = "wrong-password-3b9d6e2a";
const WRONG_KEY: &str = "wrong-key-a17e4c9b2f8d5063";

fn config() -> String {
    format!(
        "[auth]\nsecret = '{SECRET}'\nquery = true\ncookie = 'session'\n\
         [[auth.keys]]\nkid = 'other'\nsecret = '{OTHER_KEY}'\n\
         [api]\nkey = '{API_KEY}'\n\
         [[api.keys]]\nname = 'billing'\nsecret = '{NAMED_KEY}'\nallow = ['publish']\n\
         [log]\nlevel = 'trace'\n"
    )
}

fn hide_all() {
    for secret in [
        OTHER_KEY,
        API_KEY,
        NAMED_KEY,
        PASSWORD,
        WRONG_PASSWORD,
        WRONG_KEY,
    ] {
        hide(secret);
    }
}

/// Says which secrets show in a text. What is told to their owner is for the caller to leave out.
fn check(place: &str, text: &str) {
    let shown = shown(text);
    assert!(shown.is_empty(), "{place} shows {shown:?}:\n{text}");
}

async fn call(node: &Node, key: &str, method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Authorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    exchange(node.internal, &request).await.body
}

#[tokio::test]
async fn secrets_show_nowhere() {
    hide_all();
    let redis = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port());
    let node = Node::with_arguments(&config(), &["--redis", &url]).await;

    // Tokens, good and bad, wherever one may stand and where none may.
    let good = token("ann", &json!({"*": ["join", "publish"]}));
    let expired = sign(&json!({"sub": "ann", "exp": now() - 3600}));
    let forged = format!("{}x", token("eve", &json!({"*": ["join"]})));
    hide(&forged);
    for token in [&good, &expired, &forged] {
        for (path, extra) in [
            ("/ws".to_owned(), bearer(token)),
            (
                "/ws".to_owned(),
                format!("Sec-WebSocket-Protocol: fanfare.v1.json, fanfare.token.{token}\r\n"),
            ),
            (
                "/ws".to_owned(),
                format!("Origin: http://fanfare.test\r\nCookie: session={token}\r\n"),
            ),
            (format!("/ws?token={token}"), String::new()),
            (format!("/nowhere?token={token}"), bearer(token)),
            (
                format!("/ws?token={token}&room={}", "a".repeat(300)),
                String::new(),
            ),
        ] {
            let mut socket = Socket::connect(node.public).await;
            socket.send(request(&path, &extra).as_bytes()).await;
            // Whatever it is: its owner may see the token that it sent.
            socket.response(false).await;
        }
        let long = format!("{}X-Padding: {}\r\n", bearer(token), "x".repeat(32_768));
        let _ = exchange(node.public, &request("/ws", &long)).await;
    }

    // On an open connection.
    let mut client = Client::welcomed(open(&node, "/ws", &bearer(&good)).await, Format::Json).await;
    for token in [&*good, &*expired, &*forged, "no token"] {
        let reply = client.call(json!({"type": "auth", "token": token})).await;
        check("a reply", &reply.to_string());
    }
    let joined = client.call(json!({"type": "join", "room": "a"})).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    check("the welcome", &client.welcome.to_string());

    // The API, with each key and with a wrong one.
    for key in [API_KEY, NAMED_KEY, WRONG_KEY, &good] {
        let message = json!({"data": 1}).to_string();
        for (method, path, body) in [
            ("POST", "/v1/rooms/a/messages", &*message),
            ("POST", "/v1/rooms/a/messages", "{"),
            ("GET", "/v1/rooms/a/messages", ""),
            ("GET", "/v1/nowhere", ""),
        ] {
            let answer = call(&node, key, method, path, body).await;
            check("an answer of the API", &answer);
        }
    }

    for path in ["/metrics", "/livez", "/readyz"] {
        check(path, &node.internal(path).await.body);
    }
    check("the page", &get(node.public, "/").await.body);
    check("the log", &node.log());
}

#[tokio::test]
async fn secrets_that_are_refused_do_not_show_either() {
    hide_all();
    let redis = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let port = redis.port();
    for (config, url) in [
        (
            config(),
            format!("redis://:{WRONG_PASSWORD}@127.0.0.1:{port}"),
        ),
        (
            config(),
            format!("redis://user:{WRONG_PASSWORD}@127.0.0.1:{port}/0"),
        ),
        (
            config(),
            format!("redis://:{WRONG_PASSWORD}@127.0.0.1:{port}/nonsense"),
        ),
        (
            config(),
            format!("radish://:{WRONG_PASSWORD}@127.0.0.1:{port}"),
        ),
        (
            format!("{}unknown = '{OTHER_KEY}'\n", config()),
            format!("redis://:{PASSWORD}@127.0.0.1:{port}"),
        ),
    ] {
        let (status, said) = Node::fail(&config, &["--redis", &url]).await;
        assert!(!status.success(), "{said}");
        check("what a node says that does not start", &said);
    }
}

#[tokio::test]
async fn check_config_masks_secrets() {
    hide_all();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fanfare.toml");
    std::fs::write(&file, config()).expect("the configuration");
    let url = format!("redis://:{PASSWORD}@127.0.0.1:1");
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .arg("check-config")
        .env("FANFARE_CONFIG", &file)
        .env("FANFARE_REDIS__URL", &url)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the program");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    assert!(said.contains("secret = \"***\""), "{said}");
    check("check-config", &said);
}
