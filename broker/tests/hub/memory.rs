//! Over memory: the seam between replay and live publications, and how long a room is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::{Backend, Log, Pending, READ_BYTES, Read, Sink};
use fanfare_broker::{Hub, Replay};
use fanfare_shared::Position;
use tokio::runtime::Handle;
use tokio::time::advance;

use crate::publications::{LOG, NO_LOG, named, text};
use crate::{LINGER, Told, join, metrics, options, over_memory, publish};

#[tokio::test]
async fn a_member_sees_the_replay_and_then_what_is_published_without_gap_or_repeat() {
    let (hub, _) = over_memory(LOG);
    let start = publish(&hub, "a", "0").await.expect("a position");
    let (publisher, published) = (Arc::clone(&hub), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&published);
    let publishing = thread::spawn(move || {
        for number in 1..=5_000 {
            let publish = text("a", LOG, &number.to_string());
            assert!(matches!(
                publisher.backend().publish(publish),
                Pending::Ready(Some(Ok(_)))
            ));
            count.store(number, Ordering::SeqCst);
        }
    });
    // Each joins somewhere in the middle, with the position of the very first.
    for (worker, after) in [(0, 1), (1, 50), (0, 1_000), (1, 2_500)] {
        while published.load(Ordering::SeqCst) < after {
            thread::yield_now();
        }
        hub.join(&named("a"), join(worker, Replay::Since(start)));
    }
    publishing.join().expect("no panic");
    for worker in 0..2 {
        let last = |told: &Told| told.offsets().last() == Some(&5_001);
        let told = Told::until(&hub, worker, |told| told.joined.len() == 2 && last(told)).await;
        assert!(told.joined.iter().all(|joined| joined.2 == Some(true)));
        // The second to join came with a replay of its own.
        let offsets = told.offsets();
        let seam = (1..offsets.len()).rfind(|&at| offsets[at] == 2);
        let (first, second) = offsets.split_at(seam.expect("two replays"));
        let whole: Vec<_> = (2..=5_001).collect();
        assert_eq!(second, whole);
        assert_eq!(first, &whole[..first.len()]);
    }
}

#[tokio::test]
async fn a_client_returns_to_another_hub_of_the_same_log() {
    let memory = Arc::new(Memory::default());
    let hub = || {
        let backend = Arc::clone(&memory) as Arc<dyn Backend>;
        Hub::new(options(LOG), backend, Handle::current(), metrics())
    };
    let (first, second) = (hub(), hub());
    memory.attach(Arc::clone(&first) as Arc<dyn Sink>);
    first.join(&named("a"), join(0, Replay::None));
    let seen = publish(&first, "a", "1").await.expect("a position");
    for number in ["2", "3", "4"] {
        publish(&first, "a", number).await;
    }
    second.join(&named("a"), join(1, Replay::Since(seen)));
    let told = Told::until(&second, 1, |told| !told.joined.is_empty()).await;
    assert_eq!(told.joined[0].2, Some(true));
    assert_eq!(told.offsets(), [2, 3, 4]);
}

#[tokio::test]
async fn what_is_kept_is_read_in_pages_and_answered_whole() {
    for size in [1_000, 50] {
        let log = Log { size, ..LOG };
        let mut options = options(log);
        options.recent = 5;
        let memory = Arc::new(Memory::default());
        let backend = Arc::clone(&memory) as Arc<dyn Backend>;
        let hub = Hub::new(options, backend, Handle::current(), metrics());
        memory.attach(Arc::clone(&hub) as Arc<dyn Sink>);
        let mut top = None;
        for number in 1..=95 {
            // Ten to a page.
            let content = number.to_string() + &"x".repeat(READ_BYTES / 10 - 1_000);
            let publish = text("a", log, &content);
            top = hub.backend().publish(publish).await.expect("published");
        }
        let start = 96 - (size as u64).min(95);
        let after = |offset| Position {
            offset,
            ..top.expect("a position")
        };
        let history = async |read| {
            let found = hub.history(&named("a"), read).await.expect("it is read");
            assert_eq!(found.position, top);
            let offsets = found.publications.iter().map(|one| one.position);
            offsets
                .map(|at| at.expect("one").offset)
                .collect::<Vec<_>>()
        };
        for limit in [0, 1, 9, 10, 11, 20, 45, 60, 95, 200] {
            let newest = history(Read::Newest { limit }).await;
            let from = start.max(96_u64.saturating_sub(limit as u64));
            assert_eq!(newest, (from..96).collect::<Vec<_>>(), "{size} {limit}");
            for offset in [0, 5, 50, 94, 95] {
                let position = after(offset);
                let found = history(Read::After { position, limit }).await;
                let expected = (start.max(offset + 1)..96).take(limit);
                assert_eq!(
                    found,
                    expected.collect::<Vec<_>>(),
                    "{size} {limit} {offset}"
                );
            }
        }
        hub.join(&named("a"), join(0, Replay::Newest(200)));
        let told = Told::until(&hub, 0, |told| told.joined.len() == 1).await;
        assert_eq!(told.offsets(), (start..96).collect::<Vec<_>>());
        hub.join(&named("a"), join(1, Replay::Since(after(60))));
        let told = Told::until(&hub, 1, |told| told.joined.len() == 1).await;
        assert_eq!(told.joined[0].2, Some(true));
        assert_eq!(told.offsets(), (61..96).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_room_without_history_has_no_positions_and_nothing_to_recover() {
    let (hub, _) = over_memory(NO_LOG);
    let since = Position {
        epoch: fanfare_shared::Epoch::from_bits(1),
        offset: 1,
    };
    hub.join(&named("a"), join(0, Replay::Since(since)));
    hub.backend()
        .publish(text("a", NO_LOG, "x"))
        .await
        .expect("published");
    let told = Told::until(&hub, 0, |told| !told.publications.is_empty()).await;
    assert_eq!((told.joined[0].1, told.joined[0].2), (None, Some(false)));
    assert_eq!(told.publications[0].position, None);
}

#[tokio::test(start_paused = true)]
async fn a_room_lingers_without_members_and_is_then_closed() {
    let (hub, metrics) = over_memory(LOG);
    let room = named("a");
    hub.join(&room, join(0, Replay::None));
    advance(LINGER * 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 1, "it has a member");
    hub.leave(&room, 0);
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 1, "it lingers");
    hub.join(&room, join(1, Replay::None));
    hub.leave(&room, 1);
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 1, "it lingers from the last leave on");
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(metrics.rooms.get(), 0);
    hub.join(&room, join(1, Replay::None));
    let told = Told::until(&hub, 1, |told| told.joined.len() == 2).await;
    assert_ne!(
        told.joined[0].0, told.joined[1].0,
        "a key is never used twice"
    );
}
