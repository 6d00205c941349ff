//! Few open files, or none left: who serves still answers those who ask whether it does.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::Command;

use crate::client::{Client, request};
use crate::deadline::{until, within};
use crate::http::get;
use crate::node::Node;
use crate::socket::Socket;

/// Asks as `fanfare healthcheck` does.
async fn is_healthy(node: &Node) -> bool {
    let url = format!("http://{}/readyz", node.internal);
    let mut check = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    let output = check.args(["healthcheck", "--url", &url]).output();
    let output = within("the health check", output).await;
    output.expect("the health check runs").status.success()
}

fn open_files(process: Pid) -> Vec<u64> {
    let directory = format!("/proc/{}/fd", process.as_raw_nonzero());
    fs::read_dir(directory)
        .expect("the node's open files")
        .filter_map(|file| file.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[tokio::test]
async fn a_node_whose_open_files_others_took_answers_still_and_says_so_once() {
    // Nobody is closed meanwhile for being silent.
    let node = Node::with("heartbeat = '1h'").await;
    let mut member = Client::join(&node, "a").await;
    let process = node.pid();
    // Numbers up to the highest that it has: clients take those that are free, and more wait.
    let open = open_files(process);
    let most = open.iter().max().expect("open files") + 1;
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    prlimit(Some(process), Resource::Nofile, limit).expect("a lower limit");
    let mut held = Vec::new();
    for _ in 0..most as usize - open.len() + 50 {
        let mut socket = Socket::connect(node.public).await;
        socket.send(request("/ws", "").as_bytes()).await;
        held.push(socket);
    }
    let failures = r#"fanfare_accept_failures_total{port="public"}"#;
    until("the descriptors to be used up", async || {
        (node.metrics().await.value(failures) >= Some(3.0)).then_some(())
    })
    .await;
    for path in ["/livez", "/readyz", "/metrics"].repeat(5) {
        assert_eq!(node.internal(path).await.status, 200, "{path}");
    }
    assert!(is_healthy(&node).await);
    member.publish("a", serde_json::json!(1)).await;
    assert_eq!(member.message().await["data"], 1);

    let said = node.log().matches("cannot accept").count();
    assert!((1..=2).contains(&said), "{said} times, for two ports");
    drop(held);
    until("another client to be taken", async || {
        let answer = get(node.public, "/").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
