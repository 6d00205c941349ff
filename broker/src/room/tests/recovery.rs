//! What of the past a join is given, and whether it is told that it recovered.

use super::*;

#[test]
fn a_client_that_missed_nothing_recovers_without_a_read() {
    let mut room = Fixture::live("a5", 0);
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.posts(1), ["joined a5 true"]);
}

#[test]
fn a_client_that_missed_more_than_the_log_keeps_is_told_so_without_a_read() {
    let mut room = Fixture::live("a50", 5);
    assert_eq!(room.join(1, since("a39")), None);
    assert_eq!(room.join(1, since("a40")).unwrap(), "extend: after a40");
    assert_eq!(room.posts(1), ["joined a50 false"]);
}

#[test]
fn what_was_trimmed_or_has_expired_is_not_recovered() {
    for kept in ["a4 a5", ""] {
        let mut room = Fixture::live("a5", 5);
        assert_eq!(room.join(1, since("a2")).unwrap(), "extend: after a2");
        assert_eq!(room.extended("a2", Ok(snapshot("a5", kept, false))), "");
        assert_eq!(room.posts(1), ["joined a5 false"]);
    }
}

#[test]
fn a_hole_in_the_log_is_not_recovered_across() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("a1")).unwrap(), "extend: after a1");
    // `follows` allows for entries that this node cannot read.
    assert_eq!(
        room.extended("a1", Ok(snapshot("a5", "a2 a4 a5", true))),
        ""
    );
    assert_eq!(room.posts(1), ["joined a5 false"]);
    assert_eq!(room.join(1, since("a3")), None);
    assert_eq!(room.posts(1), ["joined a5 true a4 a5"]);
}

#[test]
fn a_position_of_another_log_is_not_recovered() {
    let mut room = Fixture::live("b5", 5);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    assert_eq!(room.extended("a3", Ok(snapshot("b5", "", false))), "");
    assert_eq!(room.posts(1), ["joined b5 false"]);
}

#[test]
fn an_earlier_epoch_that_the_log_goes_on_from_is_recovered() {
    let mut room = Fixture::live("b5", 0);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    room.deliver("b6");
    assert_eq!(room.extended("a3", Ok(snapshot("b5", "b4 b5", true))), "");
    assert_eq!(room.posts(1), ["joined b6 true b4 b5 b6"]);
}

#[test]
fn a_client_ahead_of_the_node_has_the_log_read_and_recovers() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("a7")).unwrap(), "sync 2: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("a8", "a6 a7 a8", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8"]);
    assert_eq!(room.posts(1), ["joined a8 true a8"]);
}

#[test]
fn a_client_ahead_of_the_log_has_seen_another() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("a7")).unwrap(), "sync 2: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.posts(1), ["joined a6 false"]);
}

#[test]
fn a_client_may_have_seen_more_than_a_read_that_began_before_it_came() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a7"), "sync 2: after a5");
    assert_eq!(room.join(1, since("a9")), None);
    let early = snapshot("a8", "a6 a7 a8", true);
    assert_eq!(room.synced(2, Ok(early)), "sync 3: after a8");
    assert_eq!(room.posts(1), [""; 0]);
    assert_eq!(room.synced(3, Ok(snapshot("a9", "a9", true))), "");
    assert_eq!(room.posts(1), ["joined a9 true"]);
}

#[test]
fn a_log_in_its_next_epoch_is_caught_up_with_before_anyone_is_admitted() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.join(1, since("b6")).unwrap(), "extend: after b6");
    let read = snapshot("b7", "b7", true);
    assert_eq!(room.extended("b6", Ok(read)), "sync 2: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("b7", "b6 b7", true))), "");
    assert_eq!(room.posts(0), ["b6!", "b7"]);
    assert_eq!(room.posts(1), ["joined b7 true b7"]);
}

#[test]
fn the_newest_are_replayed_as_far_as_they_are_kept() {
    let mut room = Fixture::live("a5", 2);
    room.deliver("a6 a7");
    assert_eq!(room.join(1, Replay::Newest(2)), None);
    assert_eq!(room.join(1, Replay::Newest(4)).unwrap(), "extend: after a3");
    assert_eq!(
        room.extended("a3", Ok(snapshot("a7", "a5 a6 a7", false))),
        ""
    );
    assert_eq!(room.posts(1), ["joined a7 a6 a7", "joined a7 a5 a6 a7"]);
}

#[test]
fn a_room_without_history_delivers_what_comes() {
    let mut room = Fixture::opening(0, 5);
    room.join(0, Replay::None);
    assert_eq!(room.sync(), "sync 1: position");
    let nothing = || publication(None);
    let (inboxes, metrics) = (room.inboxes.clone(), room.metrics.clone());
    room.room.deliver(nothing(), &inboxes, &metrics);
    room.synced(1, Ok(Snapshot::default()));
    room.room.deliver(nothing(), &inboxes, &metrics);
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.join(1, Replay::Newest(5)), None);
    assert_eq!(room.posts(0), ["joined -", "-"]);
    assert_eq!(room.posts(1), ["joined - false", "joined -"]);
    room.lose();
    assert_eq!(room.sync(), "sync 2: position");
    room.synced(2, Ok(Snapshot::default()));
    room.room.deliver(nothing(), &inboxes, &metrics);
    assert_eq!(room.posts(0), ["-"], "and no reset");
}
