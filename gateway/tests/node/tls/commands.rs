//! The program as a client of a node that speaks TLS.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::authority::Authority;
use super::public;
use crate::command::{command, done, refused};
use crate::deadline::within;
use crate::node::Node;

/// The address of a node, by the name of its certificate.
fn url(node: &Node, scheme: &str) -> String {
    format!("{scheme}://{}/ws", node.public)
}

#[tokio::test]
async fn sub_and_pub_speak_wss() {
    let authority = Authority::new();
    let node = Node::with(&public(&authority)).await;
    let (url, ca) = (url(&node, "wss"), authority.file());
    let ca = ca.to_str().expect("a path");
    let mut sub = command(&["sub", "r", "--count", "1", "--url", &url, "--ca", ca])
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(sub.stdout.take().expect("its output")).lines();
    node.until_metric("fanfare_memberships", 1.0).await;
    done(&["pub", "r", "over TLS", "--url", &url, "--ca", ca]).await;
    let line = within("a message", lines.next_line()).await;
    assert_eq!(line.expect("a line").as_deref(), Some("over TLS"));
    let ended = within("the end", sub.wait()).await;
    assert!(ended.expect("its status").success());
}

#[tokio::test]
async fn what_keeps_a_client_from_a_node_is_one_line_with_a_remedy() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let tls = Node::with(&public(&authority)).await;
    let plain = Node::start().await;
    let ca = stranger.file();
    let ca = ca.to_str().expect("a path");
    for (url, more, said) in [
        (
            url(&tls, "wss"),
            &[][..],
            "give the certificate of that authority with --ca FILE",
        ),
        (
            url(&tls, "wss"),
            &["--ca", ca],
            "an authority that is not trusted here",
        ),
        (
            url(&tls, "ws"),
            &[],
            "this port speaks TLS: connect with wss://",
        ),
        (
            url(&plain, "wss"),
            &["--ca", ca],
            "it does not speak TLS; connect with ws://",
        ),
        (url(&tls, "wss"), &["--ca", "/nowhere"], "--ca: /nowhere: "),
    ] {
        for command in [&["pub", "r", "x"][..], &["sub", "r"]] {
            let arguments = [command, &["--url", &url], more].concat();
            let stderr = refused(&arguments).await;
            assert!(stderr.contains(said), "{arguments:?}: {stderr}");
            assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
        }
    }
}
