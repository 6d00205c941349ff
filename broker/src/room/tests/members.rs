//! Who is counted as a member, and when the room is empty.

use super::*;

#[test]
fn only_workers_with_members_get_publications() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a6");
    assert_eq!(room.posts(1), [""; 0]);
    room.join(1, Replay::None);
    room.room.leave(0);
    room.deliver("a7");
    assert_eq!(room.posts(0), ["a6"]);
    assert_eq!(room.posts(1), ["joined a6", "a7"]);
}

#[test]
fn a_member_that_joined_twice_leaves_twice() {
    let mut room = Fixture::live("a5", 5);
    room.join(0, since("a5"));
    room.room.leave(0);
    assert_eq!(room.room.empty_since(), None);
    room.deliver("a6");
    room.room.leave(0);
    assert!(room.room.empty_since().is_some());
    room.room.leave(0);
    assert_eq!(room.room.member_count(), 0);
    assert_eq!(room.posts(0), ["joined a5 true", "a6"]);
}

#[test]
fn a_room_that_someone_waits_for_is_not_empty() {
    let mut room = Fixture::live("a5", 0);
    room.join(1, since("a3"));
    room.room.leave(0);
    assert_eq!(room.room.empty_since(), None);
    room.extended("a3", DOWN);
    assert_eq!(room.posts(1), ["refused"]);
    assert!(room.room.empty_since().is_some());
}

#[test]
fn a_refused_join_leaves_a_room_as_empty_as_it_was() {
    let mut room = Fixture::live("a5", 5);
    room.room.leave(0);
    room.lose();
    room.join(1, Replay::None);
    assert_eq!(room.room.empty_since(), None);
    room.synced(2, DOWN);
    assert_eq!(room.posts(1), ["refused"]);
    assert!(room.room.empty_since().is_some());
}
