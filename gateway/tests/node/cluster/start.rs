//! At the start: Redis not there yet, or an address that is none.

use serde_json::json;

use super::{config, until_ready};
use crate::client::Client;
use crate::deadline::until;
use crate::http::get;
use crate::node::{Node, own_address};
use crate::redis_server::RedisServer;

#[tokio::test]
async fn a_redis_that_is_not_there_fails_the_start_in_one_line() {
    let mut redis = RedisServer::start();
    redis.kill();
    let (status, said) = Node::fail(&config(&redis), &["--log-format", "human"]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    let errors: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    let [error] = errors[..] else {
        panic!("not one line: {said}");
    };
    assert_eq!(said.lines().last(), Some(error));
    assert!(
        error.contains(&redis.port().to_string()) && error.contains("redis.url"),
        "{error}"
    );
}

#[tokio::test]
async fn a_redis_address_that_is_none_fails_the_start_as_bad_configuration() {
    let (status, said) = Node::fail("[redis]\nurl = 'http://localhost'", &[]).await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(
        said.starts_with("error: ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(
        said.contains("redis.url") && said.contains("redis://"),
        "{said}"
    );
}

#[tokio::test]
async fn with_wait_a_node_waits_for_redis_and_is_seen_to_live() {
    let mut redis = RedisServer::start();
    redis.kill();
    let config = config(&redis);
    let internal = std::net::SocketAddr::from((own_address(), 8081));
    let arguments = ["--wait", "--internal-listen", &internal.to_string()];
    let arrives = async {
        until("the internal listener", async || {
            tokio::net::TcpStream::connect(internal).await.ok()
        })
        .await;
        assert_eq!(get(internal, "/livez").await.status, 200);
        let ready = get(internal, "/readyz").await;
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("starting"), "{ready:?}");
        redis.restart();
    };
    let (node, ()) = tokio::join!(Node::with_arguments(&config, &arguments), arrives);
    until_ready(&node, true).await;
    let mut ann = Client::join(&node, "a").await;
    ann.publish("a", json!("at last")).await;
    assert_eq!(ann.data(1).await, ["at last"]);
}
