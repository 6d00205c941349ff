//! A Redis that answers and refuses writes when a node starts.

use serde_json::json;

use super::{config, until_ready};
use crate::client::Client;
use crate::deadline::until;
use crate::node::Node;
use crate::redis_server::RedisServer;

#[tokio::test]
async fn a_node_starts_on_a_redis_that_refuses_and_is_ready_when_it_does_not() {
    for (setting, why) in [
        ("maxmemory", "it is full"),
        ("min-replicas-to-write", "it lacks replicas"),
    ] {
        let redis = RedisServer::start();
        redis.tell(&["CONFIG", "SET", setting, "1"]).await;
        let node = Node::with(&config(&redis)).await;
        until_ready(&node, false).await;
        let obstacle = node.internal("/readyz").await.body;
        assert!(obstacle.contains(why), "{obstacle}");
        assert_eq!(node.internal("/livez").await.status, 200);
        node.logged("serving, and not ready yet").await;
        let log = node.log();
        let said: Vec<_> = log
            .lines()
            .filter(|line| line.contains("Redis refuses"))
            .collect();
        let [said] = said[..] else {
            panic!("not one line: {log}");
        };
        assert!(
            said.contains(&redis.port().to_string()) && said.contains("remedy"),
            "{said}"
        );
        let mut ann = Client::connect(&node, "/ws").await;
        let refused = ann.call(json!({"type": "join", "room": "a"})).await;
        assert_eq!(refused["code"], "unavailable", "{refused}");

        redis.tell(&["CONFIG", "SET", setting, "0"]).await;
        until_ready(&node, true).await;
        ann.call(json!({"type": "join", "room": "a"})).await;
        ann.publish("a", json!("at last")).await;
        assert_eq!(ann.data(1).await, ["at last"]);
        // Who came meanwhile is present, once there is a lease.
        until("the member", async || {
            let presence = ann.call(json!({"type": "presence", "room": "a"})).await;
            (presence["count"] == 1).then_some(())
        })
        .await;
    }
}
