//! What a person asks a node by the command line: `rooms`, `presence`, `history` and `kick`.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::client::{Client, Format, open};
use crate::cluster;
use crate::command::command;
use crate::deadline::{until, within};
use crate::node::{BACKENDS, Node};
use crate::redis_server::RedisServer;
use crate::token::{KEYED, bearer, hide, now, sign};

const KEY: &str = "operators-key-52c07d1be8f3";

fn config() -> String {
    hide(KEY);
    format!("[api]\nkey = '{KEY}'\n")
}

/// Runs a command with a key to a node's end.
async fn run_with(key: &str, node: &Node, arguments: &[&str]) -> Output {
    let url = format!("http://{}", node.internal);
    let mut command = command(arguments);
    command
        .args(["--api-url", &url])
        .env("FANFARE_API_KEY", key);
    let ended = within("the command to end", command.output()).await;
    ended.expect("the program starts")
}

/// What a command prints that succeeds.
async fn done(node: &Node, arguments: &[&str]) -> String {
    let output = run_with(KEY, node, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The one line that a command says which fails.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert!(
        said.starts_with("error: ") && said.lines().count() == 1,
        "{said}"
    );
    said
}

async fn refused(node: &Node, arguments: &[&str]) -> String {
    failure(&run_with(KEY, node, arguments).await)
}

fn objects(lines: &str) -> Vec<Value> {
    let objects = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    objects.collect()
}

#[tokio::test]
async fn rooms_members_and_messages_are_printed_a_line_each() {
    for backend in BACKENDS {
        let node = Node::on(backend, &config()).await;
        let mut ann = Client::join(&node, "a room").await;
        let bo = Client::join(&node, "a room").await;
        ann.call(json!({"type": "join", "room": "b"})).await;
        ann.publish("a room", json!("one\nline")).await;
        let second = json!({"type": "publish", "room": "a room", "data": {"n": 2}});
        let second = ann.call(second).await;

        assert_eq!(done(&node, &["rooms"]).await, "2\ta room\n1\tb\n");
        assert_eq!(
            done(&node, &["rooms", "--prefix", "a r"]).await,
            "2\ta room\n"
        );
        assert_eq!(
            objects(&done(&node, &["rooms", "--json"]).await),
            [
                json!({"room": "a room", "count": 2}),
                json!({"room": "b", "count": 1})
            ]
        );

        let mut lines = [format!("{}\t\t\n", ann.id()), format!("{}\t\t\n", bo.id())];
        lines.sort();
        assert_eq!(done(&node, &["presence", "a room"]).await, lines.concat());
        let count = ["presence", "a room", "--count"];
        assert_eq!(done(&node, &count).await, "connections 2, users 0\n");
        assert_eq!(done(&node, &["presence", "nobody's"]).await, "");

        assert_eq!(
            done(&node, &["history", "a room"]).await,
            "one\\nline\n{\"n\":2}\n"
        );
        let last = done(&node, &["history", "a room", "--limit", "1", "--json"]).await;
        assert_eq!(objects(&last)[0]["data"], json!({"n": 2}));
        let epoch = second["epoch"].as_str().expect("an epoch");
        let since = format!("{epoch}:1");
        let rest = run_with(KEY, &node, &["history", "a room", "--since", &since]).await;
        assert_eq!(
            (rest.stdout, rest.stderr),
            (b"{\"n\":2}\n".to_vec(), Vec::new())
        );
        let lost = run_with(KEY, &node, &["history", "a room", "--since", "x:1"]).await;
        let said = String::from_utf8(lost.stderr).expect("UTF-8");
        assert!(said.contains("may be missing"), "{said}");
    }
}

#[tokio::test]
async fn members_are_printed_with_what_their_tokens_say() {
    let node = Node::with(&format!("{KEYED}{}", config())).await;
    let token = sign(&json!({
        "sub": "ann\u{202e}lee", "exp": now() + 60, "info": {"name": "Ann\u{1b}"}, "rooms": {"a": ["join"]}, "auto": ["a"],
    }));
    let ann = open(&node, "/ws", &bearer(&token)).await;
    let ann = Client::welcomed(ann, Format::Json).await;
    let line = format!("{}\tann\\u202elee\t{{\"name\":\"Ann\\u001b\"}}\n", ann.id());
    until("ann to be there", async || {
        (done(&node, &["presence", "a"]).await == line).then_some(())
    })
    .await;
    let whole = objects(&done(&node, &["presence", "a", "--json"]).await);
    assert_eq!(whole[0]["user"], "ann\u{202e}lee");
    assert_eq!(whole[0]["info"], json!({"name": "Ann\u{1b}"}));
}

#[tokio::test]
async fn a_list_goes_on_over_all_its_pages() {
    let config = format!(
        "limits.rooms_per_connection = 1100\nlimits.new_rooms = 1100\n{}",
        config()
    );
    let node = Node::with(&config).await;
    let mut ann = Client::connect(&node, "/ws").await;
    for number in 0..1_050 {
        ann.call(json!({"type": "join", "room": format!("{number:04}")}))
            .await;
    }
    let listed = done(&node, &["rooms"]).await;
    let expected: String = (0..1_050)
        .map(|number| format!("1\t{number:04}\n"))
        .collect();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn who_is_kicked_is_closed_with_4009_on_any_node() {
    let redis = RedisServer::start();
    let config = format!("{KEYED}{}{}", cluster::config(&redis), config());
    let [alder, birch] = [Node::with(&config).await, Node::with(&config).await];
    let enter = async |user: &str| {
        let grants = json!({"a": ["join"]});
        let token = sign(&json!({"sub": user, "exp": now() + 60, "rooms": grants}));
        let socket = open(&birch, "/ws", &bearer(&token)).await;
        let mut client = Client::welcomed(socket, Format::Json).await;
        client.call(json!({"type": "join", "room": "a"})).await;
        client
    };
    let [ann, bo, cy] = [enter("ann").await, enter("bo").await, enter("cy").await];
    let kick = ["kick", "--user", "ann", "--reason", "good night"];
    assert_eq!(done(&alder, &kick).await, "2 nodes were told\n");
    assert_eq!(ann.expect_closed(4009).await, "good night");
    let id = bo.id().to_owned();
    let told = done(&alder, &["kick", "--client", &id, "--json"]).await;
    assert_eq!(objects(&told), [json!({"nodes": 2})]);
    bo.expect_closed(4009).await;
    done(&alder, &["kick", "--room", "a"]).await;
    cy.expect_closed(4009).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_told_in_one_line_with_a_remedy() {
    let redis = RedisServer::start();
    let config = format!(
        "{}{}[[api.keys]]\nname = 'poor'\nsecret = 'a-key-that-may-do-little'\nallow = ['publish']\n",
        cluster::config(&redis),
        config()
    );
    let node = Node::with(&config).await;
    let wrong = failure(&run_with("wrong", &node, &["rooms"]).await);
    assert!(
        wrong.contains("not known here; FANFARE_API_KEY has to be"),
        "{wrong}"
    );
    let poor = run_with("a-key-that-may-do-little", &node, &["kick", "--user", "a"]).await;
    assert!(failure(&poor).contains("the key `poor` does not allow `disconnect`"));
    let long = refused(
        &node,
        &["kick", "--user", "a", "--reason", &"x".repeat(124)],
    )
    .await;
    assert!(
        long.contains("reason: 124 bytes long; at most 123"),
        "{long}"
    );
    let client = refused(&node, &["kick", "--client", "x"]).await;
    assert!(
        client.contains("client: not the id of a client"),
        "{client}"
    );

    let ask = async |url: &str, key: &str| {
        let mut command = command(&["rooms", "--api-url", url]);
        command.env("FANFARE_API_KEY", key);
        failure(
            &within("its end", command.output())
                .await
                .expect("it starts"),
        )
    };
    let public = ask(&format!("http://{}", node.public), KEY).await;
    assert!(
        public.contains("is it the internal port of a node?"),
        "{public}"
    );
    let none = ask("http://127.0.0.1:1", KEY).await;
    assert!(
        none.contains("connection refused; is fanfare running"),
        "{none}"
    );
    let keyless = ask(&format!("http://{}", node.internal), "").await;
    assert!(keyless.ends_with("set FANFARE_API_KEY\n"), "{keyless}");

    redis.pause();
    until("Redis to be missed", async || {
        (node.internal("/readyz").await.status == 503).then_some(())
    })
    .await;
    let away = run_with(KEY, &node, &["rooms"]).await;
    redis.resume();
    assert!(failure(&away).ends_with("; try again in a moment\n"));
}

#[tokio::test]
async fn without_an_address_the_node_of_the_configuration_is_asked_with_its_key() {
    let node = Node::with(&config()).await;
    let _ann = Client::join(&node, "a").await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fanfare.toml");
    let text = format!("internal.listen = '{}'\n{}", node.internal, config());
    fs::write(&file, text).expect("a configuration");
    let file = file.to_str().expect("a path");
    let listed = command(&["rooms", "--config", file]).output();
    let listed = within("its end", listed).await.expect("it starts");
    assert_eq!(listed.stdout, b"1\ta\n", "{listed:?}");

    // Which goes to no other place.
    let url = format!("http://{}", node.internal);
    let elsewhere = command(&["rooms", "--config", file, "--api-url", &url]).output();
    let elsewhere = within("its end", elsewhere).await.expect("it starts");
    assert!(failure(&elsewhere).contains("no key of the API is given"));
}
