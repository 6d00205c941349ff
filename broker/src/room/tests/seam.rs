//! Where the replay ends and what is live begins: nothing missing, nothing twice.

use super::*;

#[test]
fn what_arrives_before_the_log_was_first_read_is_in_it() {
    let mut room = Fixture::opening(SIZE, 5);
    room.join(0, Replay::None);
    assert_eq!(room.deliver("a3 a4"), "");
    assert_eq!(room.sync(), "sync 1: position");
    assert_eq!(room.deliver("a4 a5 a6"), "");
    assert_eq!(room.synced(1, Ok(snapshot("a5", "", false))), "");
    assert_eq!(room.deliver("a7"), "");
    assert_eq!(room.posts(0), ["joined a6", "a7"]);
}

#[test]
fn a_member_gets_nothing_before_its_joined_and_everything_after() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a6");
    assert_eq!(room.join(1, since("a5")), None);
    room.deliver("a7");
    assert_eq!(room.posts(1), ["joined a6 true a6", "a7"]);
    assert_eq!(room.posts(0), ["a6", "a7"]);
}

#[test]
fn a_replay_from_the_log_and_what_came_meanwhile_meet_exactly() {
    let mut room = Fixture::live("a5", 1);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    room.deliver("a6 a7");
    let read = snapshot("a6", "a4 a5 a6", true);
    assert_eq!(room.extended("a3", Ok(read)), "");
    room.deliver("a8");
    assert_eq!(room.posts(1), ["joined a7 true a4 a5 a6 a7", "a8"]);
}

#[test]
fn a_read_that_was_overtaken_by_many_publications_still_recovers() {
    let mut room = Fixture::live("a5", 1);
    assert_eq!(room.join(1, since("a3")).unwrap(), "extend: after a3");
    room.deliver("a6 a7 a8 a9");
    room.room.shrink();
    assert_eq!(room.extended("a3", Ok(snapshot("a5", "a4 a5", true))), "");
    assert_eq!(room.posts(1), ["joined a9 true a4 a5 a6 a7 a8 a9"]);
}

#[test]
fn joins_while_the_log_is_read_see_what_was_missed() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a7"), "sync 2: after a5");
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.synced(2, Ok(snapshot("a7", "a6 a7", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
    assert_eq!(room.posts(1), ["joined a7 true a6 a7"]);
}
