//! When a node goes away.

use rustix::process::Signal;
use serde_json::json;

use super::{Seen, nodes, publish_all, read_until, see};
use crate::client::Client;
use crate::redis_server::RedisServer;

#[tokio::test]
async fn a_killed_node_costs_the_members_of_the_others_nothing() {
    const EACH: usize = 1_500;
    let redis = RedisServer::start();
    let [mut doomed, birch, cedar] = nodes(&redis).await;
    let mut victim = Client::join(&doomed, "a").await;
    let history = json!({"type": "history", "room": "a", "limit": 0});
    let epoch = victim.call(history.clone()).await["epoch"].clone();
    let mut clients = Vec::new();
    for node in [&birch, &cedar] {
        clients.push(Client::join(node, "a").await);
    }
    let mut tasks = Vec::new();
    for (who, mut client) in clients.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut seen = Seen::new();
            publish_all(&mut client, who, EACH, &mut seen).await;
            (client, seen)
        }));
    }
    // It publishes as well, until it dies in the middle of all this.
    let mut seen_by_victim = Seen::new();
    let acknowledged = publish_all(&mut victim, 2, 200, &mut seen_by_victim).await;
    let unanswered: Vec<_> = (0..100)
        .map(|n| json!({"type": "publish", "room": "a", "data": [3, n]}))
        .collect();
    victim.send_all(&unanswered).await;
    doomed.kill().await;

    let mut members = Vec::new();
    for task in tasks {
        members.push(task.await.expect("the member lost nothing"));
    }
    let (first, _) = &mut members[0];
    first.publish("a", json!("the end")).await;
    let end = first.call(history).await["offset"]
        .as_u64()
        .expect("an offset");
    for (client, seen) in &mut members {
        read_until(client, usize::try_from(end).expect("few"), seen).await;
    }
    let [(_, birch_saw), (_, cedar_saw)] = &members[..] else {
        unreachable!("two members");
    };
    assert_eq!(birch_saw, cedar_saw);
    for (n, offset) in acknowledged.iter().enumerate() {
        assert_eq!(birch_saw[offset], json!([2, n]), "acknowledged and lost");
    }
    for who in 0..4 {
        // In their order; of the unanswered ones, as many as got out.
        let published = birch_saw.values().filter(|data| data[0] == who);
        assert!(published.enumerate().all(|(n, data)| data[1] == n), "{who}");
    }

    // The victim's client misses nothing either, wherever it comes back.
    for node in [doomed.restart().await, birch] {
        let mut back = Client::connect(&node, "/ws").await;
        let since = json!({"epoch": epoch, "offset": seen_by_victim.len()});
        let joined = back
            .call(json!({"type": "join", "room": "a", "since": since}))
            .await;
        assert_eq!(joined["recovered"], true);
        let mut seen = seen_by_victim.clone();
        for message in joined["messages"].as_array().expect("a list") {
            see(&mut seen, message);
        }
        assert_eq!(seen, *cedar_saw);
    }
}

#[tokio::test]
async fn a_frozen_node_catches_up_when_it_thaws_and_holds_nobody_up() {
    let redis = RedisServer::start();
    let [frozen, birch] = nodes(&redis).await;
    let mut ann = Client::join(&frozen, "a").await;
    let mut bo = Client::join(&birch, "a").await;
    frozen.signal(Signal::STOP);
    let mut seen = Seen::new();
    publish_all(&mut bo, 0, 1_000, &mut seen).await;
    read_until(&mut bo, 1_000, &mut seen).await;
    frozen.signal(Signal::CONT);
    let mut seen_late = Seen::new();
    read_until(&mut ann, 1_000, &mut seen_late).await;
    assert_eq!(seen, seen_late);
}
