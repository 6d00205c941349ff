//! The link lost while the server stays: killed, given up, or dropped with the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_broker::backend::redis::Options;
use fanfare_broker::backend::{Backend, Sink};

use tokio::runtime::Handle;

use crate::node::{linked, options, publish, subscribe, until_linked};
use crate::publications::{LOG, NO_LOG, named, text};
use crate::recording::Event;
use crate::redis_server::RedisServer;
use crate::{IMPATIENT, after, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_subscriber_connection_is_a_loss_and_is_healed_from_the_log() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let subscribed: Vec<_> = (0..2_500)
        .map(|number| node.subscribe(&named(&format!("r{number}")), number))
        .collect();
    for answer in subscribed {
        answer.await.expect("subscribed");
    }
    subscribe(&node, "room").await;
    let position = publish(&node, "room", "a").await;
    sink.until("the first", |sink| sink.texts("room") == ["a"])
        .await;

    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 1);
    until_linked(&node).await;

    let channels: Vec<String> = server.ask(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(channels.len(), 2_502, "2,501 rooms and the probe");
    publish(&node, "room", "b").await;
    sink.until("the second", |sink| sink.texts("room") == ["a", "b"])
        .await;
    let missed = after(&node, "room", position).await;
    assert!(missed.follows);
    assert_eq!(texts(&missed), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_killed_subscriber_of_several_is_a_loss_of_the_link() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    for worker in 0..2 {
        let room = named(&format!("of worker {worker}"));
        node.subscribe(&room, worker).await.expect("subscribed");
    }
    let clients: String = server.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    let last = clients.lines().last().expect("two subscribers");
    let id = last.split([' ', '=']).nth(1).expect("an id");
    server.tell(&["CLIENT", "KILL", "ID", id]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 1);
    until_linked(&node).await;
    for room in ["of worker 0", "of worker 1"] {
        publish(&node, room, "a").await;
        sink.until("the publication", |sink| sink.texts(room) == ["a"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_is_found_by_the_probe_and_healed_when_it_goes_on() {
    let server = RedisServer::start();
    let worker = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (node, sink) = linked(Options {
        threads: vec![Handle::current(), worker.handle().clone()],
        probe_timeout: IMPATIENT,
        connect_timeout: IMPATIENT,
        ..options(server.url())
    })
    .await;
    node.subscribe(&named("room"), 1).await.expect("subscribed");
    let (go_on, hang) = std::sync::mpsc::channel::<()>();
    worker.spawn(async move { hang.recv() });
    sink.until("the loss", |sink| sink.lost() == 1).await;
    assert!(!node.ready());
    drop(go_on);
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
    worker.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_command_connection_is_a_loss_too() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    server
        .tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 1);
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_gap_in_what_is_delivered_was_told_of() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let (other, _) = linked(Options {
        node: "n2".to_owned(),
        ..options(server.url())
    })
    .await;
    subscribe(&node, "room").await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            while !stop.load(Ordering::SeqCst) {
                // One that is under way when the connections are killed may fail.
                let _ = other.publish(text("room", LOG, "x")).await;
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 1..=5 {
        server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        sink.until("the return", |sink| sink.restored() >= round)
            .await;
        until_linked(&node).await;
        let seen = sink.delivered("room").len();
        sink.until("more", |sink| sink.delivered("room").len() > seen)
            .await;
    }
    stop.store(true, Ordering::SeqCst);
    publishing.await.expect("no panic");

    let (mut up, mut told, mut last) = (true, true, 0);
    for event in sink.events() {
        match event {
            Event::Lost(_) => {
                assert!(up, "lost twice");
                (up, told) = (false, true);
            }
            Event::Restored(_) => {
                assert!(!up, "restored without a loss");
                up = true;
            }
            Event::Delivered(publication) => {
                let offset = publication.position.expect("a position").offset;
                assert!(
                    offset == last + 1 || told && offset > last,
                    "{last} {offset}"
                );
                (told, last) = (false, offset);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_panics_costs_a_link_and_not_the_node() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    sink.panic_once();
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    assert_eq!(sink.lost(), 2, "the killed link and the one of the panic");
    until_linked(&node).await;
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_congested_node_gives_up_the_link_rather_than_memory() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    sink.set_congested(true);
    let answers: Vec<_> = (0..40_000)
        .map(|_| node.publish(text("room", NO_LOG, "x")))
        .collect();
    sink.until("the loss", |sink| sink.lost() == 1).await;
    for answer in answers {
        // Answered, or lost with the link.
        let _ = answer.await;
    }
    let delivered = sink.delivered("room").len();
    assert!(delivered <= 16_384, "{delivered} delivered");
    assert!(!node.ready());
    assert!(sink.congested());

    sink.set_congested(false);
    until_linked(&node).await;
    assert_eq!((sink.lost(), sink.restored()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_say_what_happened() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    let registry = prometheus::Registry::new();
    for collector in node.collectors() {
        registry.register(collector).expect("registered");
    }
    subscribe(&node, "room").await;
    for garbage in ["no header", " \u{92}\u{2}"] {
        server.tell(&["PUBLISH", "fanfare:{room}", garbage]).await;
    }
    publish(&node, "room", "a").await;
    sink.until("the publication", |sink| sink.texts("room") == ["a"])
        .await;
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    sink.until("the return", |sink| sink.restored() == 1).await;
    until_linked(&node).await;

    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("metrics");
    let at = format!("server=\"127.0.0.1:{}\"", server.port());
    for line in [
        format!("fanfare_backend_connected{{{at}}} 1"),
        format!("fanfare_backend_publish_seconds_count{{{at}}} 1"),
        format!("fanfare_backend_reconnects_total{{reason=\"closed\",{at}}} 1"),
        format!("fanfare_backend_reconnects_total{{reason=\"congested\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"demoted\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"internal\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"probe\",{at}}} 0"),
        format!("fanfare_backend_reconnects_total{{reason=\"renewed\",{at}}} 0"),
        "fanfare_backend_skipped_total{reason=\"malformed\"} 2".to_owned(),
        "fanfare_backend_skipped_total{reason=\"newer\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("fanfare_backend_lag_seconds_count"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_backend_leaves_redis() {
    let server = RedisServer::start();
    let (node, sink) = linked(options(server.url())).await;
    subscribe(&node, "room").await;
    drop(node);
    sink.until("the end", |sink| sink.lost() == 1).await;
    let none = |channels: &Vec<String>| channels.is_empty();
    server.until(&["PUBSUB", "CHANNELS"], none).await;
}
