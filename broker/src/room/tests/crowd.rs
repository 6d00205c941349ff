//! One read of the log for many who come back.

use super::*;

#[test]
fn a_crowd_costs_one_read_for_the_first_and_one_for_all_others() {
    let mut room = Fixture::live("a9", 0);
    assert_eq!(room.join(1, since("a7")).unwrap(), "extend: after a7");
    for offset in [8, 6, 2, 5, 7] {
        assert_eq!(room.join(1, since(&format!("a{offset}"))), None);
    }
    let first = snapshot("a9", "a8 a9", true);
    assert_eq!(room.extended("a7", Ok(first)), "extend: after a2");
    assert_eq!(room.posts(1).len(), 3, "those after a7");
    let second = snapshot("a9", "a3 a4 a5 a6 a7 a8 a9", true);
    assert_eq!(room.extended("a2", Ok(second)), "");
    assert_eq!(room.posts(1).len(), 3, "all others");
    assert_eq!(room.join(1, since("a2")), None, "served from memory");
}

#[test]
fn positions_of_earlier_epochs_are_asked_for_one_by_one() {
    let mut room = Fixture::live("b9", 0);
    assert_eq!(room.join(1, since("a7")).unwrap(), "extend: after a7");
    for position in ["a6", "b4", "b3", "a7"] {
        assert_eq!(room.join(1, since(position)), None);
    }
    let read = snapshot("b9", "b8 b9", true);
    assert_eq!(room.extended("a7", Ok(read)), "extend: after b3");
    assert_eq!(room.posts(1), ["joined b9 true b8 b9"; 2]);
    let read = snapshot("b9", "b4 b5 b6 b7 b8 b9", true);
    assert_eq!(room.extended("b3", Ok(read)), "extend: after a6");
    assert_eq!(room.posts(1).len(), 2);
    assert_eq!(room.extended("a6", Ok(snapshot("b9", "", false))), "");
    assert_eq!(room.posts(1), ["joined b9 false"]);
}

#[test]
fn what_was_read_for_a_crowd_is_let_go_of_when_it_has_passed() {
    let mut room = Fixture::live("a9", 1);
    room.join(1, since("a7"));
    room.extended("a7", Ok(snapshot("a9", "a8 a9", true)));
    assert_eq!(room.join(1, since("a7")), None);
    room.room.shrink();
    assert_eq!(room.join(1, since("a7")).unwrap(), "extend: after a7");
}
