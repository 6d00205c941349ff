//! The server gone, back with all, some or none of its data, or hanging.

use fanfare_broker::backend::redis::Options;
use fanfare_broker::backend::{Backend, BackendError, Read};

use crate::node::{attached, linked, options, publish, subscribe, until_linked};
use crate::publications::{LOG, named, text};
use crate::redis_server::RedisServer;
use crate::{IMPATIENT, after, is_unavailable, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_that_comes_back_without_data_is_a_new_log() {
    let mut server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    let before = publish(&node, "room", "a").await;
    sink.until("the first", |sink| sink.texts("room") == ["a"])
        .await;
    assert_eq!((sink.lost(), sink.restored()), (0, 0));

    server.kill();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    assert!(!node.ready());
    let down = node.publish(text("room", LOG, "b")).await;
    assert!(is_unavailable(&down));
    assert!(is_unavailable(&node.subscribe(&named("other"), 0).await));
    let read = node.read(&named("room"), LOG, Read::Begin).await;
    assert!(is_unavailable(&read));

    server.restart();
    until_linked(&node).await;
    assert_eq!((sink.lost(), sink.restored()), (1, 1));
    let position = publish(&node, "room", "c").await;
    assert_ne!(position.epoch, before.epoch);
    assert_eq!(position.offset, 1);
    sink.until("the room's publication", |sink| {
        sink.texts("room") == ["a", "c"]
    })
    .await;
    assert!(!after(&node, "room", before).await.follows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_restarted_from_older_data_never_gives_an_offset_a_second_meaning() {
    let mut server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    subscribe(&node, "quiet").await;
    publish(&node, "room", "a").await;
    let saved = publish(&node, "room", "b").await;
    let quiet = publish(&node, "quiet", "x").await;
    server.tell(&["SAVE"]).await;
    let unsaved = publish(&node, "room", "gone").await;
    publish(&node, "room", "gone, too").await;

    server.kill();
    server.restart();
    sink.until("the return", |sink| sink.restored() == 1).await;

    // Nothing was published since: the log stands where it was saved, and says so to whoever has
    // seen more of it.
    let gap = after(&node, "room", unsaved).await;
    assert_eq!(gap.position, Some(saved));
    assert!(!gap.follows);
    assert!(after(&node, "room", saved).await.follows);

    let next = publish(&node, "room", "c").await;
    assert_eq!(next.offset, unsaved.offset, "offsets go on");
    assert_ne!(next.epoch, unsaved.epoch, "and mean something else");
    publish(&node, "room", "d").await;
    let gap = after(&node, "room", unsaved).await;
    assert!(!gap.follows && gap.publications.is_empty());
    // Whoever had seen no more than was saved has missed nothing that is not there.
    let missed = after(&node, "room", saved).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["c", "d"]);
    let newest = node
        .read(&named("room"), LOG, Read::Newest { limit: 9 })
        .await;
    assert_eq!(texts(&newest.expect("read")), ["a", "b", "c", "d"]);
    // A room in which nothing was published is as it was.
    let still = after(&node, "quiet", quiet).await;
    assert!(still.follows);
    assert_eq!(still.position, Some(quiet));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rooms_that_are_wanted_still_are_subscribed_again() {
    let mut server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    for room in ["kept", "dropped while down", "dropped before"] {
        subscribe(&node, room).await;
    }
    node.unsubscribe(&named("dropped before"));
    server.kill();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    node.unsubscribe(&named("dropped while down"));
    let refused = node.subscribe(&named("asked for while down"), 0).await;
    assert!(is_unavailable(&refused));
    server.restart();
    until_linked(&node).await;

    let mut channels: Vec<String> = server.ask(&["PUBSUB", "CHANNELS"]).await;
    channels.sort();
    assert_eq!(channels, ["fanfare:probe:{n1}", "fanfare:{kept}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_not_there_yet_is_waited_for() {
    let mut server = RedisServer::start();
    server.kill();
    let (node, sink) = attached(options(server.url()));
    assert!(is_unavailable(&node.publish(text("room", LOG, "a")).await));
    assert!(!node.ready());
    server.restart();
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    assert_eq!((sink.lost(), sink.restored()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_redis_is_found_by_the_probe_and_fails_what_is_under_way() {
    let server = RedisServer::start();
    let (node, sink) = linked(Options {
        probe_timeout: IMPATIENT,
        connect_timeout: IMPATIENT,
        pipeline: 2,
        queue: 8,
        ..options(server.url())
    })
    .await;
    subscribe(&node, "room").await;
    publish(&node, "room", "a").await;

    server.pause();
    let pending: Vec<_> = (0..20)
        .map(|number| node.publish(text("room", LOG, &number.to_string())))
        .collect();
    let mut outcomes = Vec::new();
    for answer in pending {
        outcomes.push(answer.await);
    }
    let overloaded = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(BackendError::Overloaded)))
        .count();
    let unavailable = outcomes.iter().filter(|outcome| is_unavailable(outcome));
    assert!(overloaded >= 20 - 8 - 2, "beyond the queue: {outcomes:?}");
    assert_eq!(unavailable.count(), 20 - overloaded, "{outcomes:?}");
    sink.until("the loss", |sink| sink.lost() == 1).await;
    assert!(is_unavailable(&node.publish(text("room", LOG, "x")).await));

    server.resume();
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;
    publish(&node, "room", "z").await;
    sink.until("the publication", |sink| {
        sink.texts("room").last().is_some_and(|text| text == "z")
    })
    .await;
    assert_eq!(sink.lost(), 1);
    // What was under way was executed before, or never will be.
    let clients: String = server.ask(&["CLIENT", "LIST"]).await;
    let own = clients.matches("name=fanfare:n1 ").count();
    assert_eq!(own, 3, "the lost link is gone: {clients}");
    let newest = node.read(&named("room"), LOG, Read::Newest { limit: 1 });
    assert_eq!(texts(&newest.await.expect("read")), ["z"]);
}
