//! Where rooms are, and what becomes of them when links and slots come and go.

use super::*;

fn named(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

#[test]
fn what_ends_in_the_round_trip_that_began_it_is_unsettled() {
    let interest = Interest::new(10);
    let (ended, stays) = (named("ended"), named("stays"));
    interest.ask([&ended, &stays].into_iter());
    assert!(interest.unsettle(&ended), "it was asked for");
    assert!(!interest.unsettle(&named("other")), "nobody wants it");
    interest.confirm(&ended);
    interest.confirm(&stays);
    assert!(interest.is_unsettled(&ended));
    assert!(!interest.is_unsettled(&stays));
    // Once more, and nothing ends it.
    interest.ask([&ended].into_iter());
    interest.confirm(&ended);
    assert!(!interest.is_unsettled(&ended));
}

#[tokio::test]
async fn a_room_is_at_one_subscriber_until_nothing_of_it_is_left_there() {
    let interest = Interest::new(10);
    interest.open();
    let room = named("room");
    drop(interest.subscribe(&room, 1));
    assert_eq!(interest.noted(2)[1].wanted.len(), 1);
    interest.confirm(&room);
    interest.unsubscribe(&room);
    drop(interest.subscribe(&room, 0));
    assert_eq!(interest.noted(2)[1].wanted.len(), 1, "not told yet");
    interest.confirm(&room);
    interest.unsubscribe(&room);
    assert_eq!(interest.noted(2)[1].unwanted.len(), 1);
    drop(interest.subscribe(&room, 0));
    interest.lock().forget(&room);
    assert_eq!(interest.noted(2)[1].wanted.len(), 1, "told meanwhile");
    interest.confirm(&room);
    interest.unsubscribe(&room);
    interest.noted(2);
    interest.lock().forget(&room);
    drop(interest.subscribe(&room, 0));
    assert_eq!(interest.noted(2)[0].wanted.len(), 1, "gone from there");
    // A new link begins with the rooms that are wanted, where they were.
    interest.confirm(&room);
    interest.unsubscribe(&named("never confirmed"));
    assert_eq!(interest.wanted(2), [vec![room.clone()], vec![]]);
    assert_eq!(interest.lock().assignments.len(), 1);
}

#[tokio::test]
async fn rooms_go_with_their_slots_and_whoever_waits_is_refused() {
    let (from, to) = (Interest::new(10), Interest::new(10));
    from.open();
    let (goes, stays, asked) = (named("goes"), named("stays"), named("goes, too"));
    drop(from.subscribe(&goes, 1));
    from.noted(2);
    from.confirm(&goes);
    from.confirm(&stays);
    let waiting = from.subscribe(&asked, 0);
    let given = from.give(|room| room.as_str().starts_with("goes"));
    assert_eq!(given, [(goes.clone(), 1)]);
    assert!(matches!(waiting.await, Err(BackendError::Unavailable)));

    to.take_over(&goes, 1);
    assert!(to.is_unsettled(&goes));
    assert_eq!(to.retry(), HashSet::from([goes.clone()]));
    let rooms = HashSet::from([goes.clone()]);
    let settled = to.settled(&rooms);
    to.confirm(&goes);
    to.settled.send_replace(());
    settled.await;
    assert!(!to.is_unsettled(&goes));
    // A room that is wanted no more is nobody's wait.
    assert!(from.unsettle(&stays));
    from.unsubscribe(&stays);
    from.settled(&HashSet::from([stays])).await;
}
