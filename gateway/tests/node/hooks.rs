//! The application's backend, asked whether a client may do something.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, Format, open, request};
use crate::deadline::until;
use crate::http::exchange;
use crate::node::{BACKENDS, Node};
use crate::token::{KEYED, bearer, hide, now, token};

const SECRET: &str = "a-secret-of-the-hooks-that-no-log-shows";

type Answer = Arc<dyn Fn(&Value) -> Response + Send + Sync>;

/// A backend that answers as it is told.
struct Backend {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Inside {
    asked: Arc<Mutex<Vec<Value>>>,
    answer: Answer,
    /// Whether it answers at all.
    awake: watch::Receiver<bool>,
}

async fn hear(State(inside): State<Inside>, headers: HeaderMap, body: Bytes) -> Response {
    check_signature(&headers, &body);
    let question: Value = serde_json::from_slice(&body).expect("JSON");
    inside
        .asked
        .lock()
        .expect("no panic")
        .push(question.clone());
    let mut awake = inside.awake.clone();
    // The test may be over.
    let _ = awake.wait_for(|awake| *awake).await;
    (inside.answer)(&question)
}

/// As Standard Webhooks has it.
fn check_signature(headers: &HeaderMap, body: &[u8]) {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let sent: u64 = timestamp.parse().expect("seconds");
    assert!(now().abs_diff(sent) < 60, "{sent}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let code = BASE64.encode(hmac::sign(&key, &signed));
    assert_eq!(header("webhook-signature"), format!("v1,{code}"));
}

impl Backend {
    async fn answering(
        answer: impl Fn(&Value) -> Response + Send + Sync + 'static,
    ) -> (Self, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (wake, awake) = watch::channel(true);
        let asked = Arc::default();
        let inside = Inside {
            asked: Arc::clone(&asked),
            answer: Arc::new(answer),
            awake,
        };
        let router = Router::new().fallback(hear).with_state(inside);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let backend = Self {
            address,
            asked,
            serving,
        };
        (backend, wake)
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The section of a node that asks it.
    fn config(&self, hooks: &[&str], more: &str) -> String {
        hide(SECRET);
        let addresses = hooks
            .iter()
            .map(|hook| format!("{hook} = 'http://{}/{hook}'\n", self.address));
        let addresses: String = addresses.collect();
        format!("[hooks]\nsecret = '{SECRET}'\n{addresses}{more}")
    }
}

fn say(answer: &Value) -> Response {
    answer.to_string().into_response()
}

async fn connect(node: &Node, extra: &str) -> Client {
    Client::welcomed(open(node, "/ws", extra).await, Format::Json).await
}

async fn join(client: &mut Client, room: &str) -> Value {
    client.call(json!({"type": "join", "room": room})).await
}

fn code(reply: &Value) -> &str {
    reply["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_application_decides_who_joins_and_publishes() {
    for of in BACKENDS {
        let (backend, _wake) = Backend::answering(|question| {
            let allow = question["room"] != "closed" && question["data"] != json!("bad word");
            say(&json!({"allow": allow, "reason": "not for you"}))
        })
        .await;
        let rules = "[[rooms]]\nmatch = 'free'\nhooks = false\n";
        let hooks = backend.config(&["join", "publish"], "");
        let node = Node::on(of, &format!("{KEYED}{hooks}{rules}")).await;
        let grants = json!({"*": ["join", "publish"]});
        let mut ann = connect(&node, &bearer(&token("ann", &grants))).await;
        assert_eq!(join(&mut ann, "open").await["type"], "joined");
        let refused = join(&mut ann, "closed").await;
        assert_eq!(code(&refused), "forbidden");
        assert_eq!(refused["message"], "join: `closed`: not for you");
        let publish = |data: &Value| json!({"type": "publish", "room": "open", "event": "chat", "data": data});
        assert_eq!(
            ann.call(publish(&json!("bad word"))).await["code"],
            "forbidden"
        );
        let published = ann.call(publish(&json!("hello"))).await;
        assert_eq!(published["offset"], 1, "{published}");
        assert_eq!(ann.message().await["data"], "hello");
        // In a room whose rule says so nobody is asked.
        assert_eq!(join(&mut ann, "free").await["type"], "joined");
        let expected = [
            json!({"hook": "join", "user": "ann", "room": "open"}),
            json!({"hook": "join", "user": "ann", "room": "closed"}),
            json!({"hook": "publish", "user": "ann", "room": "open", "event": "chat", "data": "bad word"}),
            json!({"hook": "publish", "user": "ann", "room": "open", "event": "chat", "data": "hello"}),
        ];
        assert_eq!(backend.asked(), expected);
    }
}

#[tokio::test]
async fn commands_behind_a_question_keep_their_order() {
    let (backend, _wake) = Backend::answering(|_| say(&json!({"allow": true}))).await;
    let node = Node::with(&backend.config(&["join", "publish"], "")).await;
    let mut ann = connect(&node, "").await;
    let mut commands = vec![json!({"type": "join", "id": 1, "room": "a"})];
    commands
        .extend((2..20).map(|id| json!({"type": "publish", "id": id, "room": "a", "data": id})));
    commands.push(json!({"type": "leave", "id": 20, "room": "a"}));
    ann.send_all(&commands).await;
    let (mut replies, mut data) = (Vec::new(), Vec::new());
    while replies.len() < 20 {
        let event = ann.event().await;
        match event["id"].as_u64() {
            Some(id) => replies.push(id),
            None => data.push(event["data"].as_u64().expect("a number")),
        }
    }
    assert_eq!(replies, (1..=20).collect::<Vec<_>>());
    assert_eq!(data, (2..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_application_decides_who_connects_and_as_whom() {
    let (backend, _wake) =
        Backend::answering(|question| match question["headers"]["cookie"].as_str() {
            Some("session=ann") => say(&json!({
                "allow": true,
                "claims": {"sub": "ann", "rooms": {"of:{sub}": ["join"]}, "auto": ["of:{sub}"]},
            })),
            Some("session=banned") => say(&json!({"allow": false, "reason": "banned"})),
            _ => say(&json!({"allow": true})),
        })
        .await;
    let hooks = backend.config(&["connect"], "headers = ['cookie']\n");
    let origins = "origins = ['https://app.example']\n";
    let node = Node::with(&format!("{KEYED}{origins}{hooks}")).await;
    // Its answer stands in for a token.
    let socket = open(&node, "/ws", "Cookie: session=ann\r\n").await;
    let mut ann = Client::welcomed(socket, Format::Json).await;
    assert_eq!(ann.event().await["room"], "of:ann");
    assert_eq!(code(&join(&mut ann, "another").await), "forbidden");
    let refused = exchange(node.public, &request("/ws", "Cookie: session=banned\r\n")).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("banned"), "{}", refused.body);
    // A script in a browser sees no status, and is told by a close frame.
    let headers = "Cookie: session=banned\r\nOrigin: https://app.example\r\n";
    let mut browser = open(&node, "/ws", headers).await;
    assert_eq!(browser.expect_closed(4003).await, "banned");
    // A yes makes nobody known: without a token, nobody is let in here.
    let refused = exchange(node.public, &request("/ws", "")).await;
    assert_eq!(refused.status, 401);
    let mut bo = connect(&node, &bearer(&token("bo", &json!({"a": ["join"]})))).await;
    assert_eq!(join(&mut bo, "a").await["type"], "joined");
    let asked = backend.asked();
    let address = asked[0]["address"].as_str().expect("an address");
    assert!(address.starts_with("127."), "{asked:?}");
    assert_eq!(asked.last().expect("a question")["user"], "bo");
}

#[tokio::test]
async fn an_answer_holds_for_as_long_as_it_says() {
    let (backend, _wake) = Backend::answering(|question| {
        let cache = if question["room"] == "kept" { 3600 } else { 0 };
        say(&json!({"allow": true, "cache": cache}))
    })
    .await;
    let node = Node::with(&format!("{KEYED}{}", backend.config(&["join"], ""))).await;
    let grants = json!({"*": ["join"]});
    for _ in 0..3 {
        let mut ann = connect(&node, &bearer(&token("ann", &grants))).await;
        join(&mut ann, "kept").await;
        join(&mut ann, "asked").await;
    }
    let mut bo = connect(&node, &bearer(&token("bo", &grants))).await;
    join(&mut bo, "kept").await;
    let of = |room: &str| {
        backend
            .asked()
            .iter()
            .filter(|asked| asked["room"] == room)
            .count()
    };
    assert_eq!((of("kept"), of("asked")), (2, 3), "{:?}", backend.asked());
}

#[tokio::test]
async fn who_asks_the_same_waits_for_one_answer() {
    let (backend, wake) = Backend::answering(|_| say(&json!({"allow": true}))).await;
    let hooks = backend.config(&["join"], "timeout = '30s'\n");
    let node = Node::with(&format!("{KEYED}{hooks}")).await;
    wake.send(false).expect("it listens");
    let token = bearer(&token("ann", &json!({"*": ["join"]})));
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&node, &token).await;
        client
            .send(&json!({"type": "join", "id": 1, "room": "a"}))
            .await;
        clients.push(client);
    }
    until("the question", async || {
        (!backend.asked().is_empty()).then_some(())
    })
    .await;
    wake.send(true).expect("it listens");
    for client in &mut clients {
        assert_eq!(client.reply(1).await["type"], "joined");
    }
    // Those that came when it was answered asked once more at most.
    assert!(backend.asked().len() <= 2, "{:?}", backend.asked().len());
}

#[tokio::test]
async fn a_backend_that_does_not_answer_holds_up_nobody_else() {
    let (backend, wake) = Backend::answering(|_| say(&json!({"allow": true}))).await;
    let rules = "[[rooms]]\nmatch = 'free'\nhooks = false\n";
    let bounds = "timeout = '500ms'\nconcurrency = 2\nqueue = 2\n";
    let hooks = backend.config(&["join", "publish"], bounds);
    let node = Node::with(&format!("{hooks}{rules}")).await;
    let mut free = connect(&node, "").await;
    join(&mut free, "free").await;
    wake.send(false).expect("it listens");
    let mut held = Vec::new();
    for number in 0..12 {
        let mut client = connect(&node, "").await;
        let room = format!("r{number}");
        client
            .send(&json!({"type": "join", "id": 1, "room": room}))
            .await;
        held.push(client);
    }
    // Meanwhile others go on, and pings are answered.
    for number in 0..50 {
        free.publish("free", json!(number)).await;
        assert_eq!(free.message().await["data"], number);
    }
    for client in &mut held {
        let reply = client.reply(1).await;
        assert_eq!(code(&reply), "unavailable", "{reply}");
        assert_eq!(client.call(json!({"type": "ping"})).await["type"], "pong");
    }
    let metrics = node.metrics().await;
    let ended = |outcome: &str| {
        let series = format!(r#"fanfare_hook_questions_total{{hook="join",outcome="{outcome}"}}"#);
        metrics.value(&series).expect("the series")
    };
    // Two are asked, two wait, and no place is left for the others.
    assert!(
        ended("late") >= 2.0 && ended("crowded") >= 6.0,
        "{metrics:?}"
    );
    assert!((ended("late") + ended("crowded") - 12.0).abs() < f64::EPSILON);
    node.logged("hooks.join: ").await;
    wake.send(true).expect("it listens");
    assert_eq!(join(&mut held[0], "again").await["type"], "joined");
}

#[tokio::test]
async fn without_an_answer_the_configuration_decides() {
    for (fail, type_of) in [("closed", "error"), ("open", "joined")] {
        let (backend, _wake) = Backend::answering(|_| say(&json!({"allow": true}))).await;
        backend.serving.abort();
        let more = format!("fail = '{fail}'\n");
        let node = Node::with(&backend.config(&["join"], &more)).await;
        until("the backend to be gone", async || {
            tokio::net::TcpStream::connect(backend.address).await.err()
        })
        .await;
        let mut ann = connect(&node, "").await;
        assert_eq!(join(&mut ann, "a").await["type"], type_of);
        node.logged("hooks.join: ").await;
    }
}

#[tokio::test]
async fn what_is_no_answer_is_none() {
    let (backend, _wake) =
        Backend::answering(
            |question| match question["room"].as_str().expect("a room") {
                "status" => (
                    axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                    "{\"allow\":true}",
                )
                    .into_response(),
                "redirect" => axum::response::Redirect::temporary("/elsewhere").into_response(),
                "html" => "<html>".into_response(),
                "empty" => "{}".into_response(),
                "large" => {
                    format!("{{\"allow\":true,\"x\":\"{}\"}}", "x".repeat(70_000)).into_response()
                }
                _ => say(&json!({"allow": true})),
            },
        )
        .await;
    let node = Node::with(&backend.config(&["join"], "")).await;
    let mut ann = connect(&node, "").await;
    for room in ["status", "redirect", "html", "empty", "large"] {
        let reply = join(&mut ann, room).await;
        assert_eq!(code(&reply), "unavailable", "{room}: {reply}");
    }
    assert_eq!(join(&mut ann, "good").await["type"], "joined");
}

#[tokio::test]
async fn hooks_that_cannot_be_used_stop_the_start() {
    for (config, said) in [
        (
            "[hooks]\njoin = 'http://h/'\n",
            "given without hooks.secret",
        ),
        ("[hooks]\njoin = 'h'\nsecret = 's'\n", "not a web address"),
        (
            "[hooks]\njoin = 'http://h/'\nsecret = 'whsec_?'\n",
            "not base64 behind whsec_",
        ),
        ("[hooks]\nfail = 'maybe'\n", "give closed or open"),
    ] {
        let (status, log) = Node::fail(config, &[]).await;
        assert!(!status.success());
        assert!(log.contains(said), "{log}");
    }
}
