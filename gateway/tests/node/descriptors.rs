//! Few open files, or none left: who serves still answers those who ask whether it does.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::Command;

use crate::client::{Client, request};
use crate::deadline::{until, within};
use crate::http::get;
use crate::node::Node;
use crate::redis_server::RedisServer;
use crate::socket::Socket;

/// Connects until the node has refused a few, and answers those it took and those it did not.
async fn fill(node: &Node) -> (Vec<Socket>, Vec<Socket>) {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    while refused.len() < 40 {
        let mut socket = Socket::connect(node.public).await;
        socket.send(request("/ws", "").as_bytes()).await;
        let response = socket.response(true).await;
        match response.status {
            101 => taken.push(socket),
            503 => {
                assert_eq!(response.header("retry-after"), Some("1"), "{response:?}");
                refused.push(socket);
            }
            _ => panic!("{response:?}"),
        }
    }
    (taken, refused)
}

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
async fn a_node_full_of_clients_answers_probes_and_takes_others_once_they_left() {
    let node = Node::with_open_files(120, "workers = 2", &[]).await;
    let (taken, refused) = fill(&node).await;
    let limit = node.metrics().await.value("fanfare_connections_limit");
    assert_eq!(limit, Some(taken.len() as f64));
    assert!(taken.len() >= 30, "{}", taken.len());
    // Some are silent besides.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Socket::connect(node.public).await);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(node.internal(path).await.status, 200, "{path}");
    }
    assert!(is_healthy(&node).await);
    node.logged("limits.connections is lowered from").await;
    assert_eq!(
        node.metrics()
            .await
            .value(r#"fanfare_accept_failures_total{port="public"}"#),
        Some(0.0)
    );
    drop((taken, refused, silent));
    node.until_metric("fanfare_connections", 0.0).await;
    Client::connect(&node, "/ws").await;
}

#[tokio::test]
async fn links_to_redis_come_back_to_a_node_full_of_clients() {
    let mut redis = RedisServer::start();
    // Nobody is closed meanwhile for being silent.
    let config = "workers = 2\nheartbeat = '1h'";
    let node = Node::with_open_files(160, config, &["--redis", &redis.url()]).await;
    let (_taken, _refused) = fill(&node).await;
    redis.kill();
    until_status(&node, 503).await;
    // These would take what the lost links gave back.
    let mut more = Vec::new();
    for _ in 0..40 {
        let mut socket = Socket::connect(node.public).await;
        socket.send(request("/ws", "").as_bytes()).await;
        more.push(socket);
    }
    let status = more[39].response(true).await.status;
    assert_eq!(status, 503);
    redis.restart();
    until_status(&node, 200).await;
}

async fn until_status(node: &Node, status: u16) {
    until("the node's readiness", async || {
        (node.internal("/readyz").await.status == status).then_some(())
    })
    .await;
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

    node.logged("cannot accept").await;
    let said = node.log().matches("cannot accept").count();
    assert!((1..=2).contains(&said), "{said} times, for two ports");
    drop(held);
    until("another client to be taken", async || {
        let answer = get(node.public, "/").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
