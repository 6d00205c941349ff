//! The backend lost, or with it the log.

use super::*;

#[test]
fn a_room_that_was_lost_delivers_nothing_until_it_has_caught_up() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    assert!(room.room.is_lost());
    assert_eq!(room.deliver("a7"), "");
    assert_eq!(room.sync(), "sync 2: after a5");
    assert_eq!(room.deliver("a8"), "");
    assert_eq!(room.synced(2, Ok(snapshot("a8", "a6 a7 a8", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8"]);
}

#[test]
fn whoever_waits_is_refused_when_the_backend_is_lost() {
    let mut room = Fixture::live("a5", 0);
    room.join(1, since("a3"));
    room.lose();
    assert_eq!(room.posts(1), ["refused"]);
    assert_eq!(room.extended("a3", Ok(snapshot("a5", "a4 a5", true))), "");
    assert_eq!(room.posts(1), [""; 0]);
}

#[test]
fn whoever_joins_a_lost_room_has_the_log_read() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    assert_eq!(room.join(1, since("a4")).unwrap(), "sync 2: after a5");
    assert_eq!(room.synced(2, DOWN), "");
    assert_eq!(room.posts(1), ["refused"]);
    assert_eq!(room.join(1, since("a5")).unwrap(), "sync 3: after a5");
    assert_eq!(room.synced(3, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.posts(1), ["joined a6 true a6"]);
    assert_eq!(room.posts(0), ["a6"]);
}

#[test]
fn a_room_whose_subscription_is_not_confirmed_reads_nothing() {
    let mut room = Fixture::opening(SIZE, 5);
    room.join(0, Replay::None);
    room.lose();
    assert!(!room.room.is_lost());
    assert_eq!(room.join(0, Replay::None), None);
    assert_eq!(room.sync(), "sync 1: position");
    assert_eq!(room.synced(1, DOWN), "");
    assert_eq!(room.posts(0), ["refused", "refused"]);
}

#[test]
fn members_are_told_that_the_log_was_lost() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    room.sync();
    assert_eq!(room.join(1, since("a5")), None);
    let lost = snapshot("b2", "", false);
    assert_eq!(room.synced(2, Ok(lost)), "extend: after a5");
    assert_eq!(room.extended("a5", Ok(snapshot("b2", "", false))), "");
    room.deliver("b3");
    assert_eq!(room.posts(0), ["reset b2", "b3"]);
    assert_eq!(room.posts(1), ["joined b2 false", "b3"]);
    assert_eq!(room.metrics.gaps_unhealed.get(), 1);
}

#[test]
fn the_publication_that_reveals_a_lost_log_is_delivered() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("b1"), "sync 2: after a5");
    room.deliver("b2");
    assert_eq!(room.synced(2, Ok(snapshot("b2", "b1 b2", false))), "");
    room.deliver("b3");
    assert_eq!(room.posts(0), ["reset b0", "b1", "b2", "b3"]);
    assert_eq!(room.join(1, since("b1")), None);
    assert_eq!(room.posts(1), ["joined b3 true b2 b3"]);
}

#[test]
fn a_log_that_lost_its_older_part_is_delivered_from_where_it_begins() {
    let mut room = Fixture::live("a5", 5);
    room.lose();
    room.sync();
    room.synced(2, Ok(snapshot("a99", "a98 a99", false)));
    room.deliver("a100");
    assert_eq!(room.posts(0), ["reset a97", "a98", "a99", "a100"]);
}

#[test]
fn nothing_of_a_lost_log_is_replayed() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a6 a7");
    room.lose();
    room.sync();
    room.synced(2, Ok(snapshot("b9", "", false)));
    assert_eq!(room.join(1, since("b8")).unwrap(), "extend: after b8");
}

#[test]
fn a_log_that_was_set_back_is_followed_from_where_it_stands() {
    let mut room = Fixture::live("a8", 5);
    room.lose();
    room.sync();
    assert_eq!(room.synced(2, Ok(snapshot("a6", "", false))), "");
    assert_eq!(room.deliver("b7"), "sync 3: after a6");
    assert_eq!(room.synced(3, Ok(snapshot("b7", "b7", true))), "");
    assert_eq!(room.posts(0), ["reset a6", "b7!"]);
}

#[test]
fn members_are_told_an_epoch_once() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("b6"), "sync 2: after a5");
    room.synced(2, Ok(snapshot("b7", "b6 b7", true)));
    room.deliver("b8");
    assert_eq!(room.posts(0), ["b6!", "b7", "b8"]);
    // Nothing of it could be read: told with the next.
    room.deliver("c9");
    room.synced(3, Ok(snapshot("c9", "", true)));
    room.deliver("c10 c11");
    assert_eq!(room.posts(0), ["c10!", "c11"]);
}
