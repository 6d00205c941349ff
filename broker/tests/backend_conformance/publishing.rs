//! Publishing: one order per room, an answer that holds, and each key accepted once.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backend::{Log, Read};
use fanfare_shared::Position;

use crate::fixture::Fixture;
use crate::publications::{LOG, NO_LOG, keyed, text};
use crate::{ALL, eventually, offsets, texts};

conformance! {
    offsets_are_contiguous_and_delivered_in_order_under_concurrent_publishers
    publishes_take_effect_in_the_order_of_the_calls_without_being_awaited
    an_answered_publication_is_in_the_log
    a_key_is_accepted_once_per_room_and_window
    a_key_is_accepted_again_after_its_window
}

async fn offsets_are_contiguous_and_delivered_in_order_under_concurrent_publishers(f: Fixture) {
    const PUBLISHERS: u64 = 8;
    const EACH: u64 = 200;
    f.subscribe("busy").await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let backend = Arc::clone(&f.backend);
        publishers.spawn(async move {
            for number in 0..EACH {
                let publish = text("busy", LOG, &format!("{publisher}-{number}"));
                backend.publish(publish).await.expect("published");
            }
        });
    }
    publishers.join_all().await;
    f.sink
        .until("all publications", |sink| {
            sink.delivered("busy").len() as u64 == PUBLISHERS * EACH
        })
        .await;

    let delivered = f.sink.delivered("busy");
    let first = delivered[0].position.expect("a position");
    assert_eq!(first.offset, 1);
    for (publication, offset) in delivered.iter().zip(1..) {
        let position = publication.position.expect("a position");
        assert_eq!((position.epoch, position.offset), (first.epoch, offset));
    }
    let log = f.read("busy", LOG, ALL).await;
    assert_eq!(texts(&log), f.sink.texts("busy"));
    assert_eq!(offsets(&log), (1..=PUBLISHERS * EACH).collect::<Vec<_>>());
}

async fn publishes_take_effect_in_the_order_of_the_calls_without_being_awaited(f: Fixture) {
    f.subscribe("ordered").await;
    f.subscribe("ordered without log").await;
    let expected: Vec<_> = (0..2_000).map(|number| number.to_string()).collect();
    let mut answers = Vec::new();
    for content in &expected {
        answers.push(f.backend.publish(text("ordered", LOG, content)));
        answers.push(
            f.backend
                .publish(text("ordered without log", NO_LOG, content)),
        );
    }
    let mut offset = 0;
    for answer in answers {
        if let Some(position) = answer.await.expect("published") {
            offset += 1;
            assert_eq!(position.offset, offset);
        }
    }
    for room in ["ordered", "ordered without log"] {
        f.sink
            .until("all publications", |sink| {
                sink.delivered(room).len() == expected.len()
            })
            .await;
        assert_eq!(f.sink.texts(room), expected);
    }
}

async fn an_answered_publication_is_in_the_log(f: Fixture) {
    for number in 1..=20 {
        let position = f.publish("log", LOG, "x").await.expect("a position");
        assert_eq!(position.offset, number);
        let log = f.read("log", LOG, Read::Newest { limit: 1 }).await;
        assert_eq!(log.position, Some(position));
        assert_eq!(log.publications[0].position, Some(position));
        assert_eq!(log.publications[0].time, 1_767_225_600_123);
    }
}

async fn a_key_is_accepted_once_per_room_and_window(f: Fixture) {
    // Both in one go, then later.
    let first = f.backend.publish(keyed("keys", LOG, "one", "k}:log%"));
    let second = f.backend.publish(keyed("keys", LOG, "two", "k}:log%"));
    let position = first.await.expect("published");
    assert_eq!(second.await.expect("accepted before"), position);
    let other = f.backend.publish(keyed("keys", LOG, "three", "k}:log"));
    assert_eq!(
        other.await.expect("published"),
        position.map(Position::next)
    );
    let again = f.backend.publish(keyed("keys", LOG, "four", "k}:log%"));
    assert_eq!(again.await.expect("accepted before"), position);
    assert_eq!(f.texts("keys", LOG, ALL).await, ["one", "three"]);

    // Another room has keys of its own.
    let elsewhere = f.backend.publish(keyed("other", LOG, "five", "k}:log%"));
    assert_eq!(
        elsewhere
            .await
            .expect("published")
            .map(|position| position.offset),
        Some(1)
    );
    assert_eq!(f.texts("other", LOG, ALL).await, ["five"]);
}

async fn a_key_is_accepted_again_after_its_window(f: Fixture) {
    let log = Log {
        ttl: Duration::from_millis(40),
        ..LOG
    };
    let publish = || async {
        let publish = keyed("window", log, "x", "k");
        f.backend.publish(publish).await.expect("published")
    };
    let first = publish().await;
    let later = eventually("the window's end", publish, |position| *position != first).await;
    assert_eq!(later, first.map(Position::next));
}
