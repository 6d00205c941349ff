//! Tokens: how they arrive, what they grant, and when they end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{Client, Format, open, request};
use crate::deadline::until;
use crate::http::{Response, exchange};
use crate::node::{Backend, Node};
use crate::socket::{CLOSE, FIN, PING, PONG, frame};
use crate::token::{KEYED, bearer, now, sign, token};

/// Connects with these header lines.
async fn connect(node: &Node, path: &str, extra: &str) -> Client {
    Client::welcomed(open(node, path, extra).await, Format::Json).await
}

/// Connects as a user with these grants.
async fn user(node: &Node, name: &str, rooms: Value) -> Client {
    connect(node, "/ws", &bearer(&token(name, &rooms))).await
}

fn pong(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PONG, payload)
}

async fn refused(node: &Node, path: &str, extra: &str) -> Response {
    exchange(node.public, &request(path, extra)).await
}

/// A reply that has to be an error, as its code and message.
fn error(reply: &Value) -> (&str, &str) {
    assert_eq!(reply["type"], "error", "{reply}");
    let text = |field: &str| reply[field].as_str().expect("a text");
    (text("code"), text("message"))
}

#[tokio::test]
async fn a_token_may_arrive_in_four_ways() {
    let node = Node::with(&format!("{KEYED}query = true\ncookie = 'session'\n")).await;
    let exp = now() + 600;
    let token = sign(&json!({"sub": "ann", "exp": exp}));
    let same_page = format!("Origin: http://fanfare.test\r\nCookie: a=b; session={token}\r\n");
    for (path, extra) in [
        ("/ws", bearer(&token)),
        (
            "/ws",
            format!("Sec-WebSocket-Protocol: fanfare.v1.json, fanfare.token.{token}\r\n"),
        ),
        ("/ws", same_page),
        (&format!("/ws?token={token}"), String::new()),
    ] {
        let client = connect(&node, path, &extra).await;
        assert_eq!(client.welcome["user"], "ann", "{extra}");
        assert_eq!(client.welcome["auth"], "token");
        assert_eq!(client.welcome["expires"], exp);
        client.close().await;
    }
    assert!(!node.log().contains(&token), "a token is in the log");
}

#[tokio::test]
async fn a_token_counts_only_where_it_may_stand() {
    let node = Node::with(KEYED).await;
    let token = token("ann", &json!({}));
    for (path, extra) in [
        (format!("/ws?token={token}"), String::new()),
        ("/ws".to_owned(), format!("Cookie: session={token}\r\n")),
    ] {
        let response = refused(&node, &path, &extra).await;
        assert_eq!(response.status, 401);
        assert!(
            response.body.contains("token: none is here"),
            "{response:?}"
        );
    }
}

#[tokio::test]
async fn a_handshake_without_a_good_token_is_refused_with_the_reason() {
    let node = Node::with(KEYED).await;
    let good = token("ann", &json!({}));
    let expired = sign(&json!({"exp": now() - 3600}));
    for (extra, why) in [
        (
            String::new(),
            "token: none is here; send `Authorization: Bearer TOKEN`",
        ),
        (bearer("abc"), "token: it is no JWT"),
        (bearer(&expired), "token: it ran out; get a new one"),
        (
            bearer(&format!("{good}x")),
            "token: its signature fits no key here",
        ),
        (
            format!("{}{}", bearer(&good), bearer(&expired)),
            "token: two are here, and not the same; send one",
        ),
    ] {
        let response = refused(&node, "/ws", &extra).await;
        assert_eq!(response.status, 401, "{response:?}");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        assert!(response.body.contains(why), "{response:?}");
    }
    assert_eq!(refused(&node, "/plain/a", "").await.status, 401);
}

/// A script in a browser sees no status, but it sees a close frame.
#[tokio::test]
async fn a_browser_is_told_by_the_close_code() {
    let node = Node::with(KEYED).await;
    let expired = sign(&json!({"exp": now() - 3600}));
    let page = "Origin: http://fanfare.test\r\n";
    for (extra, code, why) in [
        (page.to_owned(), 4001, "token: none is here"),
        (
            format!("Sec-WebSocket-Protocol: fanfare.v1.json, fanfare.token.{expired}\r\n"),
            4010,
            "token: it ran out",
        ),
        (
            format!("{page}{}", bearer("abc")),
            4001,
            "token: it is no JWT",
        ),
    ] {
        let mut socket = open(&node, "/ws?room=a", &extra).await;
        let reason = socket.expect_closed(code).await;
        assert!(reason.starts_with(why), "{reason}");
    }
    node.until_metric("fanfare_connections", 0.0).await;
}

#[tokio::test]
async fn pages_of_other_origins_may_not_connect() {
    let node = Node::with(KEYED).await;
    let token = bearer(&token("ann", &json!({})));
    let evil = format!("Origin: https://evil.example\r\n{token}");
    let response = refused(&node, "/ws", &evil).await;
    assert_eq!(response.status, 403);
    assert!(
        response.body.contains("https://evil.example"),
        "{response:?}"
    );
    let listed = Node::with("[auth]\norigins = ['https://*.good.example']").await;
    for (origin, status) in [
        ("https://a.good.example", 101),
        ("http://fanfare.test", 403),
    ] {
        let origin = format!("Origin: {origin}\r\n");
        if status == 101 {
            open(&listed, "/ws", &origin).await;
        } else {
            assert_eq!(refused(&listed, "/ws", &origin).await.status, status);
        }
    }
}

#[tokio::test]
async fn a_token_allows_what_it_grants_and_a_refusal_says_what_is_missing() {
    let node = Node::with(KEYED).await;
    let rooms = json!({"chat:*": ["join"], "news": ["join", "publish", "history", "presence"]});
    let mut ann = user(&node, "ann", rooms).await;
    for (command, verb) in [
        (json!({"type": "join", "room": "other"}), "join"),
        (
            json!({"type": "publish", "room": "other", "data": 1}),
            "publish",
        ),
        (json!({"type": "history", "room": "chat:1"}), "history"),
        (json!({"type": "presence", "room": "chat:1"}), "presence"),
        (
            json!({"type": "join", "room": "chat:1", "history": 3}),
            "history",
        ),
    ] {
        let room = command["room"].clone();
        let reply = ann.call(command).await;
        let expected = format!(
            "room: the token does not grant `{verb}` in `{}`",
            room.as_str().unwrap()
        );
        assert_eq!(error(&reply), ("forbidden", &expected[..]));
    }
    let joined = ann.call(json!({"type": "join", "room": "chat:1"})).await;
    assert_eq!(joined["type"], "joined");
    let reply = ann
        .call(json!({"type": "publish", "room": "chat:1", "data": 1}))
        .await;
    assert_eq!(
        error(&reply).0,
        "forbidden",
        "a member needs the grant, too"
    );
    for command in [
        json!({"type": "join", "room": "news", "history": 1}),
        json!({"type": "publish", "room": "news", "data": 1}),
        json!({"type": "history", "room": "news"}),
        json!({"type": "presence", "room": "news"}),
    ] {
        let reply = ann.call(command).await;
        assert_ne!(reply["type"], "error", "{reply}");
    }
}

#[tokio::test]
async fn rules_open_rooms_to_clients_without_a_token() {
    let rules = "anonymous = true\n[[rooms]]\nmatch = 'open'\njoin = 'anyone'\npublish = 'users'\n\
                 presence = 'members'\n";
    let node = Node::with(&format!("{KEYED}{rules}")).await;
    let mut nobody = Client::connect(&node, "/ws").await;
    assert_eq!(nobody.welcome["auth"], "anonymous");
    let joined = nobody.call(json!({"type": "join", "room": "open"})).await;
    assert_eq!(joined["type"], "joined");
    let reply = nobody
        .call(json!({"type": "publish", "room": "open", "data": 1}))
        .await;
    assert_eq!(error(&reply).0, "unauthorized");
    let reply = nobody.call(json!({"type": "join", "room": "a"})).await;
    assert_eq!(
        error(&reply),
        (
            "unauthorized",
            "room: `join` in `a` needs a token that grants it"
        )
    );
    let mut ann = user(&node, "ann", json!({})).await;
    ann.publish("open", json!("hi")).await;
    let message = nobody.message().await;
    assert_eq!(message["from"]["user"], "ann");
    // The rule is for members, and she is none.
    let reply = ann.call(json!({"type": "presence", "room": "open"})).await;
    assert_eq!(error(&reply).0, "not_joined");
    assert_eq!(
        nobody
            .call(json!({"type": "presence", "room": "open"}))
            .await["count"],
        1
    );
}

#[tokio::test]
async fn rooms_of_the_token_are_joined_with_the_handshake() {
    let node = Node::with(KEYED).await;
    let token = sign(&json!({
        "sub": "ann", "exp": now() + 60,
        "rooms": {"user:{sub}": ["join"]}, "auto": ["user:{sub}", "secret"],
    }));
    let mut ann = connect(&node, "/ws?room=user:ann", &bearer(&token)).await;
    // Each once, though both the address and the token name one; what is not granted is refused.
    let mut events = [ann.event().await, ann.event().await];
    events.sort_by_key(|event| event["type"].to_string());
    assert_eq!(error(&events[0]).0, "forbidden");
    assert_eq!(events[1]["type"], "joined");
    assert_eq!(events[1]["room"], "user:ann");
    assert_eq!(ann.call(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn a_renewed_token_decides_from_then_on() {
    for backend in [Backend::Memory, Backend::Redis] {
        let node = Node::on(backend, KEYED).await;
        let both = json!({"a": ["join", "publish"], "b": ["join", "publish"]});
        let mut ann = user(&node, "ann", both.clone()).await;
        let mut ben = user(&node, "ben", both).await;
        for client in [&mut ann, &mut ben] {
            for room in ["a", "b"] {
                client.call(json!({"type": "join", "room": room})).await;
            }
        }
        let exp = now() + 1800;
        let less = sign(&json!({"sub": "ann", "exp": exp, "rooms": {"a": ["join"]}}));
        let reply = ann.call(json!({"type": "auth", "token": less})).await;
        assert_eq!(reply["type"], "auth", "{reply}");
        assert_eq!(
            (&reply["user"], &reply["expires"]),
            (&json!("ann"), &json!(exp))
        );
        let left = ann.event().await;
        assert_eq!(
            left,
            json!({"type": "left", "room": "b", "reason": "forbidden"})
        );
        ben.publish("b", json!(1)).await;
        ben.publish("a", json!(2)).await;
        assert_eq!(ann.message().await["data"], 2);
        let reply = ann.call(json!({"type": "join", "room": "b"})).await;
        assert_eq!(error(&reply).0, "forbidden");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_leaves_the_old_one_in_force() {
    let node = Node::with(KEYED).await;
    let rooms = json!({"a": ["join", "publish"]});
    let mut ann = user(&node, "ann", rooms.clone()).await;
    ann.call(json!({"type": "join", "room": "a"})).await;
    let other = token("ben", &rooms);
    let expired = sign(&json!({"sub": "ann", "exp": now() - 60}));
    for (token, code, why) in [
        ("abc", "unauthorized", "token: it is no JWT"),
        (&expired, "unauthorized", "token: it ran out"),
        (&other, "forbidden", "token: it is not of the user `ann`"),
    ] {
        let reply = ann.call(json!({"type": "auth", "token": token})).await;
        let (found, message) = error(&reply);
        assert!(found == code && message.starts_with(why), "{reply}");
    }
    ann.publish("a", json!(1)).await;
    let open = Node::start().await;
    let mut nobody = Client::connect(&open, "/ws").await;
    assert_eq!(nobody.welcome["auth"], "none");
    let reply = nobody.call(json!({"type": "auth", "token": other})).await;
    assert_eq!(error(&reply).0, "bad_request");
}

#[tokio::test]
async fn a_connection_ends_a_while_after_its_token() {
    let node = Node::with(&format!("heartbeat = '1s'\n{KEYED}grace = '1s'\n")).await;
    let brief = |user: &str| sign(&json!({"sub": user, "exp": now() + 1, "rooms": {}}));
    let mut ann = connect(&node, "/ws", &bearer(&brief("ann"))).await;
    let mut ben = connect(&node, "/ws", &bearer(&brief("ben"))).await;
    let reply = ann
        .call(json!({"type": "auth", "token": token("ann", &json!({}))}))
        .await;
    assert_eq!(reply["type"], "auth");
    // Both answer pings all the while.
    let ended = async {
        loop {
            let frame = ben.socket.frame().await;
            match frame.opcode {
                PING => ben.socket.send(&pong(&frame.payload)).await,
                CLOSE => return frame.payload,
                other => panic!("opcode {other}"),
            }
        }
    };
    let goes_on = async {
        loop {
            let reply = ann.call(json!({"type": "ping"})).await;
            assert_eq!(reply["type"], "pong");
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        close = ended => assert_eq!(close, [&4010u16.to_be_bytes()[..], b"the token ran out"].concat()),
        () = goes_on => {}
    }
    assert_eq!(ann.call(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn presence_shows_users_and_counts_each_once() {
    for backend in [Backend::Memory, Backend::Redis] {
        let node = Node::on(backend, KEYED).await;
        let claims = |user: &str| {
            sign(&json!({
                "sub": user, "exp": now() + 60, "info": {"name": user},
                "rooms": {"a": ["join", "presence"]},
            }))
        };
        let mut clients = Vec::new();
        for user in ["ann", "ann", "ben"] {
            let mut client = connect(&node, "/ws", &bearer(&claims(user))).await;
            client.call(json!({"type": "join", "room": "a"})).await;
            clients.push(client);
        }
        let presence = until("all to be seen", async || {
            let reply = clients[0]
                .call(json!({"type": "presence", "room": "a"}))
                .await;
            (reply["count"] == 3).then_some(reply)
        })
        .await;
        assert_eq!(presence["users"], 2, "{presence}");
        for member in presence["members"].as_array().unwrap() {
            assert_eq!(member["info"]["name"], member["user"]);
        }
    }
}

#[tokio::test]
async fn a_new_key_in_the_file_is_used_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let set =
        |secret: &str| format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","k":"{secret}"}}]}}"#);
    std::fs::write(&path, set("AAAA")).unwrap();
    let node = Node::with(&format!("[auth]\nkey_file = '{}'\n", path.display())).await;
    let mine = bearer(&token("ann", &json!({})));
    assert_eq!(refused(&node, "/ws", &mine).await.status, 401);
    // The secret of the other tests, in base64url.
    std::fs::write(&path, set("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")).unwrap();
    until("the new key to be in use", async || {
        let response = exchange(node.public, &request("/nowhere", "")).await;
        assert_eq!(response.status, 404);
        node.log()
            .contains("the file of keys changed")
            .then_some(())
    })
    .await;
    connect(&node, "/ws", &mine).await;
}

#[tokio::test]
async fn a_node_with_a_broken_key_does_not_start() {
    let (status, log) = Node::fail("[auth]\nkey_file = '/nowhere/keys'\n", &[]).await;
    assert!(!status.success());
    assert!(
        log.contains("auth.key_file = \"/nowhere/keys\": cannot be read"),
        "{log}"
    );
    let node = Node::with("[auth]\nsecret = 'short'\n").await;
    node.logged("auth.secret has 5 bytes and may be guessed; take 32 random ones")
        .await;
}
