//! Subscribing, and what is delivered then: whatever the room's name and whatever the payload.

use fanfare_shared::envelope::Draft;
use fanfare_shared::{Data, Encoding, RoomName};

use crate::ALL;
use crate::fixture::Fixture;
use crate::publications::{LOG, NO_LOG, bytes, named};

conformance! {
    a_room_without_history_delivers_without_positions
    rooms_of_odd_names_are_rooms_like_others
    nothing_is_missed_after_subscribe_has_answered
    binary_and_large_payloads_arrive_as_they_were
    subscribing_and_unsubscribing_in_quick_succession_ends_as_last_asked
    what_a_user_is_told_reaches_the_nodes_that_have_the_user
}

async fn what_a_user_is_told_reaches_the_nodes_that_have_the_user(f: Fixture) {
    let draft = |bytes| Draft {
        time: 1,
        from: None,
        event: Some("note"),
        echo: true,
        data: Data {
            encoding: Encoding::Binary,
            bytes,
        },
    };
    // Whatever the user's name: another's shows no room.
    let longest = "ж".repeat(127) + "x";
    for user in ["ann", "a}b{c", "}", "a\nb", "\u{1}", &longest] {
        let room = RoomName::of_user(user);
        f.backend.subscribe(&room, 0).await.expect("subscribed");
        let told = f.backend.tell(&room, draft(user.as_bytes())).await;
        assert_eq!(told.expect("told"), Some(1), "{user}");
        f.sink
            .until("the message", |sink| {
                sink.delivered(room.as_str()).len() == 1
            })
            .await;
        let message = &f.sink.delivered(room.as_str())[0];
        assert_eq!(message.data.bytes, user.as_bytes());
        assert_eq!(
            (message.position, message.event.as_deref()),
            (None, Some("note"))
        );
    }
}

async fn a_room_without_history_delivers_without_positions(f: Fixture) {
    f.subscribe("fleeting").await;
    assert_eq!(f.publish("fleeting", NO_LOG, "a").await, None);
    f.sink
        .until("the publication", |sink| sink.texts("fleeting") == ["a"])
        .await;
    assert_eq!(f.sink.delivered("fleeting")[0].position, None);
    let snapshot = f.read("fleeting", NO_LOG, ALL).await;
    assert_eq!(snapshot.position, None);
    assert!(snapshot.publications.is_empty());
}

async fn rooms_of_odd_names_are_rooms_like_others(f: Fixture) {
    let longest = "ж".repeat(127) + "x";
    let odd = [
        "a}b{c",
        "}",
        "}}",
        "{}",
        "{",
        "чат 🎺",
        " ",
        "a b",
        "*",
        "a:log",
        "a}:log",
        "%7D",
        "\"'\\",
        &longest,
    ];
    for room in odd {
        f.subscribe(room).await;
    }
    for room in odd {
        let position = f.publish(room, LOG, room).await;
        assert_eq!(position.map(|position| position.offset), Some(1));
        assert_eq!(f.texts(room, LOG, ALL).await, [room]);
        f.sink.until(room, |sink| sink.texts(room) == [room]).await;
    }
}

async fn nothing_is_missed_after_subscribe_has_answered(f: Fixture) {
    for number in 0..200 {
        let room = format!("room {number}");
        f.subscribe(&room).await;
        f.publish(&room, LOG, "first").await;
        f.sink
            .until(&room, |sink| sink.texts(&room) == ["first"])
            .await;
    }
}

async fn binary_and_large_payloads_arrive_as_they_were(f: Fixture) {
    f.subscribe("payloads").await;
    let payloads: [Vec<u8>; 4] = [
        vec![],
        (0..=255).collect(),
        b"\r\n$5\r\n *3 \0\0".to_vec(),
        (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect(),
    ];
    for payload in &payloads {
        let published = f.backend.publish(bytes("payloads", LOG, payload)).await;
        published.expect("published");
    }
    f.sink
        .until("all payloads", |sink| {
            sink.delivered("payloads").len() == payloads.len()
        })
        .await;
    let log = f.read("payloads", LOG, ALL).await.publications;
    for (found, payload) in f.sink.delivered("payloads").iter().zip(&payloads) {
        assert!(found.data.bytes == payload, "{} bytes", payload.len());
    }
    for (found, payload) in log.iter().zip(&payloads) {
        assert!(found.data.bytes == payload, "{} bytes", payload.len());
    }
}

async fn subscribing_and_unsubscribing_in_quick_succession_ends_as_last_asked(f: Fixture) {
    let room = named("flicker");
    for worker in 0..50 {
        drop(f.backend.subscribe(&room, worker));
        f.backend.unsubscribe(&room);
    }
    let last = f.backend.subscribe(&room, 1);
    last.await.expect("subscribed");
    f.publish("flicker", LOG, "a").await;
    f.publish("flicker", LOG, "b").await;
    f.sink
        .until("both publications, once", |sink| {
            sink.texts("flicker") == ["a", "b"]
        })
        .await;
}
