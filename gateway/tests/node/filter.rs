//! The command line as a filter: between pipes, on a full disk, with readers that leave.

use std::fs::File;
use std::process::{Output, Stdio};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::client::Client;
use crate::deadline::within;
use crate::node::Node;
use crate::token::{KEYED, SECRET};

fn fanfare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn url(node: &Node) -> String {
    format!("ws://{}/ws", node.public)
}

async fn output(command: &mut Command) -> Output {
    within("the command's end", command.output())
        .await
        .expect("the program starts")
}

#[tokio::test]
async fn sub_ends_when_nobody_reads_it_though_the_room_is_quiet() {
    let node = Node::start().await;
    let mut client = Client::join(&node, "out").await;
    client.publish("out", json!("one")).await;
    let mut sub = fanfare(&["sub", "out", "--history", "1", "--url", &url(&node)]);
    let mut sub = sub.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(sub.stdout.take().expect("it is piped")).lines();
    let line = within("the message", lines.next_line()).await;
    assert_eq!(line.expect("a line").as_deref(), Some("one"));
    drop(lines);
    let status = within("its end", sub.wait()).await.expect("a status");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn output_that_cannot_be_written_is_a_failure() {
    let node = Node::start().await;
    Client::join(&node, "out")
        .await
        .publish("out", json!(1))
        .await;
    let url = url(&node);
    for arguments in [
        &["--help"][..],
        &["sub", "--help"],
        &["--version"],
        &["check-config"],
        &[
            "sub",
            "out",
            "--history",
            "1",
            "--count",
            "1",
            "--url",
            &url,
        ],
        &["pub", "out", "x", "--json", "--url", &url],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("it");
        let mut process = fanfare(arguments);
        process.stdout(full).stderr(Stdio::piped());
        let process = process.spawn().expect("the program starts");
        let output = within("its end", process.wait_with_output()).await;
        let output = output.expect("its status");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("error: cannot write to standard output: "),
            "{arguments:?}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn each_message_is_one_line_whatever_is_in_it() {
    let node = Node::start().await;
    let mut client = Client::join(&node, "out").await;
    let texts = [
        "two\nlines\r",
        "a\u{85}b\u{2028}c\u{b}",
        "\u{1b}[2J\u{9b}m",
        "",
        "a\tb",
    ];
    for text in texts {
        client.publish("out", json!(text)).await;
    }
    let url = url(&node);
    let arguments = [
        "sub",
        "out",
        "--history",
        "5",
        "--count",
        "5",
        "--url",
        &url,
    ];
    let data = output(&mut fanfare(&arguments)).await;
    assert_eq!(
        String::from_utf8_lossy(&data.stdout),
        "two\\nlines\\r\na\\u0085b\\u2028c\\u000b\n\\u001b[2J\\u009bm\n\na\tb\n"
    );
    let whole = output(fanfare(&arguments).arg("--json")).await;
    let whole = String::from_utf8_lossy(&whole.stdout).into_owned();
    let data: Vec<_> = whole
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"].clone())
        .collect();
    assert_eq!(data, texts);
    assert!(
        !whole.contains(['\u{85}', '\u{2028}', '\u{9b}']),
        "{whole:?}"
    );
}

#[tokio::test]
async fn a_wrong_argument_is_not_repeated_with_its_control_characters() {
    let output = output(&mut fanfare(&["nonsense\u{1b}[31m\u{7}\u{202e}"])).await;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    // The parser itself takes the sequence out.
    assert!(said.contains("'nonsense\\u202e'"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said}");
}

#[tokio::test]
async fn a_token_is_signed_checked_and_shown() {
    let node = Node::with(KEYED).await;
    let url = url(&node);
    let with_secret = |arguments: &[&str]| {
        let mut command = fanfare(arguments);
        command.env("FANFARE_AUTH__SECRET", SECRET);
        command
    };
    let signed = output(&mut with_secret(&[
        "token",
        "--user",
        "ann",
        "--allow",
        "chat:*=join,publish",
    ]))
    .await;
    assert!(signed.status.success(), "{signed:?}");
    let token = String::from_utf8(signed.stdout).expect("a token");
    let told = String::from_utf8(signed.stderr).expect("a text");
    assert!(told.contains("user ann, until "), "{told}");
    assert!(told.contains("chat:*  join, publish"), "{told}");
    let checked = output(&mut with_secret(&["token", "--check", &token, "--json"])).await;
    let said: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!(said["rooms"], json!({"chat:*": ["join", "publish"]}));

    let mut publish = fanfare(&["pub", "chat:1", "hi", "--url", &url]);
    let published = output(publish.env("FANFARE_TOKEN", token.trim())).await;
    assert!(published.status.success(), "{published:?}");
    let refused = output(&mut fanfare(&["pub", "chat:1", "hi", "--url", &url])).await;
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8(refused.stderr).expect("a text");
    assert!(
        why.contains("401") && why.contains("token: none is here"),
        "{why}"
    );

    for (arguments, why) in [
        (
            &["token", "--check", "abc"][..],
            "error: token: it is no JWT",
        ),
        (
            &["token", "--allow", "a=jion"],
            "error: a node would refuse it: token: its `rooms`",
        ),
        (
            &["token", "--expires", "soon"],
            "error: --expires soon: give a time",
        ),
        (&["token", "--info", "{"], "error: --info is no JSON"),
    ] {
        let refused = output(&mut with_secret(arguments)).await;
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let told = String::from_utf8(refused.stderr).expect("a text");
        assert!(told.starts_with(why), "{told}");
        assert!(!told.contains(SECRET));
    }
    let without = output(&mut fanfare(&["token"])).await;
    let told = String::from_utf8(without.stderr).expect("a text");
    assert!(
        told.starts_with("error: no key is configured; set auth.secret"),
        "{told}"
    );
}
