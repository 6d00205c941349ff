//! Publications that are missing: noticed by what follows or by the log's position, and read from
//! the log.

use super::*;

#[test]
fn a_long_log_is_caught_up_with_page_by_page() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a9");
    let page = |top, positions, cut: &str| Snapshot {
        cut_at: Some(at(cut)),
        ..snapshot(top, positions, true)
    };
    assert_eq!(room.join(1, since("a5")), None);
    let more = room.synced(2, Ok(page("a9", "a6 a7", "a7")));
    assert_eq!(more, "more, sync 3: after a7");
    room.deliver("a10");
    assert_eq!(room.posts(0), ["a6", "a7"]);
    assert_eq!(room.posts(1), [""; 0], "who joined waits for all of it");
    // The end of the page could not be read.
    assert_eq!(
        room.synced(3, Ok(page("a10", "", "a8"))),
        "more, sync 4: after a8"
    );
    assert_eq!(
        room.synced(4, Ok(snapshot("a10", "a9 a10", true))),
        "extend: after a5"
    );
    assert_eq!(room.posts(0), ["a9", "a10"]);
    // One that is cut is not all: what came after it may be gone by the next page.
    room.lose();
    room.sync();
    room.synced(5, Ok(page("a20", "a11", "a11")));
    room.synced(6, Ok(snapshot("b2", "b1 b2", false)));
    assert_eq!(room.posts(0), ["a11", "reset b0", "b1", "b2"]);
}

#[test]
fn a_gap_is_read_from_the_log_and_delivered_in_order() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a6 a8"), "sync 2: after a6");
    assert_eq!(room.deliver("a9 a10"), "");
    assert_eq!(room.synced(2, Ok(snapshot("a9", "a7 a8 a9", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8", "a9", "a10"]);
    assert_eq!(room.metrics.gaps_seen.get(), 1);
    assert_eq!(room.metrics.gaps_healed.get(), 1);
}

#[test]
fn duplicates_and_latecomers_are_dropped() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a6 a6 a5 a7 a6"), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
}

#[test]
fn a_gap_in_what_arrived_during_a_read_is_read_as_well() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a7 a8 a10 a11");
    let read = snapshot("a8", "a6 a7 a8", true);
    assert_eq!(room.synced(2, Ok(read)), "sync 3: after a8");
    let read = snapshot("a11", "a9 a10 a11", true);
    assert_eq!(room.synced(3, Ok(read)), "");
    assert_eq!(room.posts(0), ["a6", "a7", "a8", "a9", "a10", "a11"]);
}

#[test]
fn what_does_not_fit_into_the_buffer_is_read_from_the_log() {
    let mut room = Fixture::live("a0", 5);
    room.deliver("a2");
    for offset in 3..=MAX_BUFFERED + 3 {
        room.deliver(&format!("a{offset}"));
    }
    let last = MAX_BUFFERED + 3;
    let read = snapshot("a2", "a1 a2", true);
    let again = format!("sync 3: after a{}", last - 1);
    assert_eq!(room.synced(2, Ok(read)), again);
    let (position, offsets) = (format!("a{last}"), 1..=last);
    assert_eq!(room.synced(3, Ok(snapshot(&position, &position, true))), "");
    let expected: Vec<_> = offsets.map(|offset| format!("a{offset}")).collect();
    assert_eq!(room.posts(0), expected);
}

#[test]
fn an_answer_to_an_older_read_is_ignored() {
    let mut room = Fixture::live("a5", 5);
    assert_eq!(room.deliver("a7"), "sync 2: after a5");
    room.lose();
    assert_eq!(room.synced(2, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.sync(), "sync 3: after a5");
    assert_eq!(room.synced(2, Ok(snapshot("a6", "a6", true))), "");
    assert_eq!(room.synced(2, DOWN), "");
    assert_eq!(room.posts(0), [""; 0]);
    assert_eq!(room.synced(3, Ok(snapshot("a7", "a6 a7", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
}

#[test]
fn an_answer_from_further_back_does_not_disturb_a_read_of_the_log() {
    let mut room = Fixture::live("a9", 0);
    room.join(1, since("a3"));
    room.lose();
    room.sync();
    assert_eq!(room.join(1, since("a5")), None);
    assert_eq!(room.extended("a3", DOWN), "");
    assert_eq!(room.posts(1), ["refused"], "by the loss; the other waits");
    let read = snapshot("a9", "", true);
    assert_eq!(room.synced(2, Ok(read)), "extend: after a5");
}

#[test]
fn what_cannot_be_read_is_passed_over_and_never_replayed_across() {
    let mut room = Fixture::live("a5", 5);
    room.deliver("a7");
    assert_eq!(room.synced(2, Ok(snapshot("a7", "a7", true))), "");
    assert_eq!(room.posts(0), ["a7"]);
    assert_eq!(room.join(1, since("a5")).unwrap(), "extend: after a5");
    assert_eq!(room.extended("a5", Ok(snapshot("a7", "a7", true))), "");
    assert_eq!(room.posts(1), ["joined a7 false"]);
    room.deliver("a9");
    assert_eq!(room.synced(3, Ok(snapshot("a9", "a8", true))), "");
    assert_eq!(room.posts(0), ["a8"]);
    assert_eq!(room.join(1, since("a8")).unwrap(), "extend: after a8");
}

#[test]
fn a_difference_that_stays_is_a_loss_at_the_end_of_a_burst() {
    let mut room = Fixture::live("a5", 5);
    let compare = |room: &mut Fixture, top: &str| {
        let request = room.room.compare(Some(at(top)), &room.metrics);
        written(request)
    };
    assert_eq!(compare(&mut room, "a5"), "");
    assert!(!room.room.is_suspect());
    assert_eq!(compare(&mut room, "a7"), "");
    assert!(room.room.is_suspect());
    room.deliver("a6");
    assert_eq!(compare(&mut room, "a7"), "", "on its way, as one has seen");
    assert_eq!(compare(&mut room, "a7"), "sync 2: after a6");
    assert_eq!(compare(&mut room, "a7"), "", "is being read");
    assert_eq!(room.synced(2, Ok(snapshot("a7", "a7", true))), "");
    assert_eq!(room.posts(0), ["a6", "a7"]);
    assert_eq!(
        compare(&mut room, "a6"),
        "",
        "an answer that was on its way"
    );
    assert_eq!(compare(&mut room, "a8"), "", "a publication that is");
    assert_eq!(compare(&mut room, "a9"), "sync 3: after a7");
}

#[test]
fn a_log_that_was_set_back_unnoticed_is_found_by_its_position() {
    let mut room = Fixture::live("a5", 5);
    for top in ["a4", "b1"] {
        let request = room.room.compare(Some(at(top)), &room.metrics);
        assert_eq!(written(request), "");
        room.room.compare(Some(at("a5")), &room.metrics);
        assert!(!room.room.is_suspect());
    }
    room.room.compare(Some(at("a4")), &room.metrics);
    let request = room.room.compare(Some(at("a4")), &room.metrics);
    assert_eq!(written(request), "sync 2: after a5");
}
