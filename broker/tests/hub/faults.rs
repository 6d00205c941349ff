//! The backend away, silent or slow: what members miss meanwhile they get, and no room is left
//! behind.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use fanfare_broker::backend::{Read, Sink};
use fanfare_broker::{Hub, Options, Replay};

use crate::obedient::Obedient;
use crate::publications::{LOG, NO_LOG, named};
use crate::{Told, join, options, publish};

#[tokio::test]
async fn a_join_is_refused_while_the_backend_is_away_and_the_room_not_kept() {
    let (backend, hub, metrics) = Obedient::with_hub(options(LOG));
    backend.set_down(true);
    hub.join(&named("a"), join(0, Replay::None));
    let told = Told::until(&hub, 0, |told| !told.refused.is_empty()).await;
    assert!(told.joined.is_empty());
    assert_eq!(metrics.rooms.get(), 0);
    backend.set_down(false);
    hub.join(&named("a"), join(0, Replay::None));
    Told::until(&hub, 0, |told| told.joined.len() == 1).await;
    assert_eq!(metrics.rooms.get(), 1);
}

#[tokio::test]
async fn members_get_what_was_published_while_the_link_was_lost_once_it_is_restored() {
    let (backend, hub, metrics) = Obedient::with_hub(options(LOG));
    for room in ["a", "b", "c"] {
        hub.join(&named(room), join(0, Replay::None));
    }
    backend.set_silent(true);
    hub.lost(&|_| true);
    for room in ["a", "c", "a"] {
        publish(&hub, room, "missed").await;
    }
    backend.set_silent(false);
    publish(&hub, "a", "not yet").await;
    let mut told = Told::default();
    told.take(&hub, 0).await;
    assert!(told.publications.is_empty());
    hub.restored(&|_| true).await;
    publish(&hub, "b", "live").await;
    publish(&hub, "a", "live").await;
    let told = Told::until(&hub, 0, |told| told.publications.len() == 6).await;
    let of = |room: &str| {
        let of_room = told.publications.iter();
        let of_room = of_room.filter(|publication| publication.room.as_str() == room);
        let positions = of_room.map(|publication| publication.position.expect("one").offset);
        positions.collect::<Vec<_>>()
    };
    assert_eq!(
        (of("a"), of("b"), of("c")),
        (vec![1, 2, 3, 4], vec![1], vec![1])
    );
    assert_eq!(metrics.gaps_healed.get(), 2);
}

#[tokio::test]
async fn a_gap_heals_by_itself() {
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    publish(&hub, "a", "1").await;
    backend.set_silent(true);
    publish(&hub, "a", "2").await;
    backend.set_silent(false);
    publish(&hub, "a", "3").await;
    let told = Told::until(&hub, 0, |told| told.publications.len() == 3).await;
    assert_eq!(told.offsets(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_at_the_end_of_a_burst_is_found_by_comparing_positions() {
    let (backend, hub, metrics) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    backend.set_silent(true);
    publish(&hub, "a", "1").await;
    let compared = Arc::clone(&hub);
    tokio::spawn(async move { compared.compare_positions().await });
    let told = Told::until(&hub, 0, |told| !told.publications.is_empty()).await;
    assert_eq!(told.offsets(), [1]);
    assert_eq!((metrics.gaps_seen.get(), metrics.gaps_healed.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn positions_are_compared_at_their_interval_and_only_where_there_are_any() {
    let (backend, hub, _) = Obedient::with_hub(Options {
        log_of: Box::new(|room| if room == "plain" { NO_LOG } else { LOG }),
        ..options(LOG)
    });
    hub.join(&named("a"), join(0, Replay::None));
    hub.join(&named("plain"), join(0, Replay::None));
    let opened = backend.reads();
    let compared = Arc::clone(&hub);
    tokio::spawn(async move { compared.compare_positions().await });
    tokio::time::sleep(Duration::from_secs(95)).await;
    let reads = backend.reads.lock().expect("no panic")[opened..].to_vec();
    assert_eq!(reads, vec![(named("a"), Read::Begin); 3]);
}

#[tokio::test]
async fn a_room_that_could_not_catch_up_is_read_again_by_the_sweep() {
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    hub.lost(&|_| true);
    backend.set_down(true);
    hub.restored(&|_| true).await;
    publish(&hub, "a", "1").await;
    let before = backend.reads();
    hub.sweep();
    assert_eq!(backend.reads(), before, "nothing is read while it is away");
    backend.set_down(false);
    hub.sweep();
    let told = Told::until(&hub, 0, |told| !told.publications.is_empty()).await;
    assert_eq!(told.offsets(), [1]);
}

#[tokio::test]
async fn a_lingering_room_that_could_not_catch_up_can_be_joined_again() {
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    hub.join(&named("a"), join(0, Replay::None));
    hub.leave(&named("a"), 0);
    hub.lost(&|_| true);
    backend.set_down(true);
    hub.restored(&|_| true).await;
    backend.set_down(false);
    hub.sweep();
    hub.join(&named("a"), join(0, Replay::None));
    let told = Told::until(&hub, 0, |told| told.joined.len() == 2).await;
    assert!(told.refused.is_empty());
}

#[tokio::test]
async fn a_room_joined_while_another_of_its_name_is_closed_stays_subscribed() {
    let options = Options {
        linger: Duration::ZERO,
        ..options(LOG)
    };
    let (backend, hub, _) = Obedient::with_hub(options);
    let room = named("a");
    hub.join(&room, join(0, Replay::None));
    hub.leave(&room, 0);
    let (closing, closes) = mpsc::channel();
    let (joined, joins) = mpsc::channel();
    *backend.closing.lock().expect("no panic") = Some((closing, joins));
    thread::scope(|scope| {
        let (hub, room) = (&hub, &room);
        scope.spawn(move || {
            closes.recv().expect("the room is closed");
            hub.join(room, join(0, Replay::None));
            // Nobody waits any more, unless the join did not wait for the close.
            let _ = joined.send(());
        });
        hub.sweep();
    });
    assert!(backend.subscribed.lock().expect("no panic").contains(&room));
}

/// A hub with so many rooms that have a member each, named by the letter and a number.
fn crowded(backend: &Obedient, hub: &Hub, letters: &[char], rooms: usize) {
    backend.parted.store(letters.len() > 1, Ordering::SeqCst);
    for letter in letters {
        for room in 0..rooms {
            hub.join(&named(&format!("{letter} {room}")), join(0, Replay::None));
        }
    }
}

/// Sweeps as a node does, and answers how many reads that made.
async fn sweep(backend: &Obedient, hub: &Hub, seconds: u64) -> usize {
    let before = backend.reads();
    for _ in 0..seconds {
        hub.sweep();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    backend.reads() - before
}

#[tokio::test(start_paused = true)]
async fn rooms_that_cannot_be_read_are_tried_ever_more_seldom_and_each_once_when_they_can() {
    const ROOMS: usize = 3_000;
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    crowded(&backend, &hub, &['a'], ROOMS);
    backend.set_unreadable(1);
    hub.lost(&|_| true);
    hub.restored(&|_| true).await;
    // The first time none is known to fail.
    let reads = sweep(&backend, &hub, 60).await;
    assert!((2..=600).contains(&reads), "{reads} reads in a minute");

    backend.set_unreadable(0);
    let reads = sweep(&backend, &hub, 10).await;
    assert_eq!(reads, ROOMS, "each once");
}

#[tokio::test(start_paused = true)]
async fn rooms_of_a_part_that_can_be_read_do_not_wait_for_those_of_another() {
    const ROOMS: usize = 1_000;
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    crowded(&backend, &hub, &['a', 'b'], ROOMS);
    backend.set_down(true);
    hub.lost(&|_| true);
    hub.restored(&|_| true).await;
    backend.set_down(false);
    backend.set_unreadable(u64::from(b'a'));
    sweep(&backend, &hub, 60).await;
    let before = backend.reads.lock().expect("no panic").len();
    sweep(&backend, &hub, 60).await;
    let reads = backend.reads.lock().expect("no panic");
    let of_others = reads[before..]
        .iter()
        .filter(|(room, _)| room.as_str().starts_with('b'));
    assert_eq!(of_others.count(), 0, "they were read at once");
    let of_b = reads.iter().filter(|(room, read)| {
        room.as_str().starts_with('b') && matches!(read, Read::Resume { .. })
    });
    // Once in vain, while all was down.
    assert_eq!(of_b.count(), 2 * ROOMS);
}

#[tokio::test(start_paused = true)]
async fn positions_that_cannot_be_read_are_not_asked_for_one_by_one() {
    const ROOMS: usize = 3_000;
    let (backend, hub, _) = Obedient::with_hub(options(LOG));
    crowded(&backend, &hub, &['a', 'b'], ROOMS);
    backend.set_unreadable(u64::from(b'a'));
    let before = backend.reads();
    let compared = Arc::clone(&hub);
    tokio::spawn(async move { compared.compare_positions().await });
    // Three rounds at least.
    tokio::time::sleep(Duration::from_secs(95)).await;
    let reads = backend.reads.lock().expect("no panic");
    let of = |letter| {
        let of_it = reads[before..]
            .iter()
            .filter(|(room, _)| room.as_str().starts_with(letter));
        of_it.count()
    };
    assert!((1..=1_000).contains(&of('a')), "{} refused", of('a'));
    assert!(of('b') >= 3 * ROOMS, "{} read", of('b'));
}
