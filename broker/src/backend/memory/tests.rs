//! What the logs may take together.

use std::time::Duration;

use fanfare_shared::{Data, Encoding, Publication};

use super::*;

const KEPT: Log = Log {
    size: 1_000,
    ttl: Duration::from_secs(60),
};

const ALL: Read = Read::Newest { limit: 1_000 };

fn named(room: &str) -> RoomName {
    RoomName::new(room).unwrap()
}

fn publish(memory: &Memory, room: &str, bytes: usize) -> Position {
    let publication = Publication {
        room: named(room),
        position: None,
        time: 0,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding: Encoding::Binary,
            bytes: vec![0; bytes].into(),
        },
    };
    let published = memory.publish(Publish {
        publication,
        log: KEPT,
        key: Some("key".into()).filter(|_| bytes == 1),
    });
    let Pending::Ready(Some(Ok(Some(position)))) = published else {
        panic!("{published:?}");
    };
    position
}

fn read(memory: &Memory, room: &str, read: Read) -> Snapshot {
    match memory.read(&named(room), KEPT, read) {
        Pending::Ready(Some(Ok(snapshot))) => snapshot,
        other => panic!("{other:?}"),
    }
}

fn logs(memory: &Memory) -> usize {
    memory.stripes.iter().map(|logs| logs.lock().len()).sum()
}

/// Counts again what is kept as a sum.
fn check_sums(memory: &Memory) {
    assert_eq!(memory.rooms.load(Ordering::Relaxed), logs(memory));
    let weights = memory.stripes.iter().map(|stripe| {
        let logs = stripe.lock();
        logs.iter().map(|(_, log)| log.weight()).sum::<usize>()
    });
    assert_eq!(memory.bytes.load(Ordering::Relaxed), weights.sum::<usize>());
}

#[test]
fn a_hundred_thousand_rooms_that_are_only_read_leave_nothing() {
    let memory = Memory::default();
    for number in 0..100_000 {
        let room = format!("room {number}");
        let found = read(&memory, &room, ALL);
        assert_eq!((found.position, found.publications.len()), (None, 0));
    }
    assert_eq!(logs(&memory), 0);
    check_sums(&memory);
}

#[test]
fn the_log_used_least_recently_is_forgotten_at_the_bound() {
    let bounds = Bounds {
        rooms: 64,
        bytes: usize::MAX,
    };
    let memory = Memory::new(bounds, Metrics::default());
    let kept = publish(&memory, "kept", 1);
    let lost = publish(&memory, "lost", 1);
    for number in 0..10_000 {
        publish(&memory, &format!("room {number}"), 1);
        let position = kept;
        let found = read(&memory, "kept", Read::Resume { position, limit: 9 });
        assert!(found.follows, "it is in use");
        assert!(logs(&memory) <= bounds.rooms);
    }
    assert_eq!(read(&memory, "lost", ALL).position, None);
    assert_ne!(publish(&memory, "lost", 1).epoch, lost.epoch);
    assert!(memory.metrics.forgotten.get() >= 9_900);
    check_sums(&memory);
}

#[test]
fn the_bytes_of_all_logs_are_bounded() {
    let bounds = Bounds {
        rooms: usize::MAX,
        bytes: 1 << 20,
    };
    let memory = Memory::new(bounds, Metrics::default());
    for number in 0..3_000_u32 {
        publish(&memory, &format!("room {}", number % 300), 4_000);
        assert!(memory.is_within(bounds));
    }
    check_sums(&memory);
    // One that is large by itself loses its older part, and goes on.
    let mut last = publish(&memory, "large", 4_000);
    for _ in 0..600 {
        let next = publish(&memory, "large", 4_000);
        assert_eq!(next, last.next());
        assert!(memory.is_within(bounds));
        last = next;
    }
    assert!(read(&memory, "large", ALL).publications.len() > 50);
    check_sums(&memory);
}

#[test]
fn what_is_swept_weighs_nothing() {
    let memory = Memory::default();
    let brief = Log {
        ttl: Duration::ZERO,
        ..KEPT
    };
    publish(&memory, "a", 1);
    publish(&memory, "a", 100);
    drop(memory.read(&named("a"), brief, Read::Begin));
    memory.sweep();
    check_sums(&memory);
    assert_eq!(logs(&memory), 1, "its position is kept");
    assert_eq!(read(&memory, "a", ALL).publications.len(), 0);
}
