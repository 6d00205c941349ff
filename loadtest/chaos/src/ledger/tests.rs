//! The ledger against made-up histories: what is right passes, and each kind of wrong is named.

use fanfare_shared::{Epoch, Position};

use super::*;

const SIZE: u64 = 100;

fn ledger(may_lose: bool) -> Ledger {
    let room = Room {
        name: "room".to_owned(),
        size: SIZE,
    };
    let mut ledger = Ledger::new(&[room], 2);
    ledger.begin(may_lose);
    ledger
}

fn at(epoch: u64, offset: u64) -> Position {
    Position {
        epoch: Epoch::from_bits(epoch),
        offset,
    }
}

fn id(number: u64) -> Id {
    Id {
        publisher: 0,
        number,
    }
}

/// The publication of one number at an offset, and the epoch if the message names one.
fn message(number: u64, offset: u64, epoch: Option<u64>) -> Message {
    Message {
        room: "room".to_owned(),
        data: id(number),
        offset,
        epoch: epoch.map(Epoch::from_bits),
    }
}

/// Has a first subscriber join an empty log and see one publication, which is acknowledged.
fn begun(may_lose: bool) -> Ledger {
    let mut ledger = ledger(may_lose);
    ledger.joined(0, 0, None, at(1, 0), None, &[]);
    ledger.message(0, 0, &message(1, 1, None));
    ledger.acknowledged(0, id(1), at(1, 1));
    ledger
}

fn kinds(mut ledger: Ledger) -> Vec<Kind> {
    let (_, violations) = ledger.judge();
    violations.iter().map(|violation| violation.kind).collect()
}

#[test]
fn a_life_without_faults_breaks_nothing() {
    let mut ledger = begun(false);
    ledger.disconnected(0, None);
    ledger.acknowledged(0, id(2), at(1, 2));
    let missed = [message(2, 2, None)];
    ledger.joined(0, 0, Some(at(1, 1)), at(1, 2), Some(true), &missed);
    // Another run of Redis: the log goes on in a new epoch.
    ledger.acknowledged(0, id(3), at(2, 3));
    ledger.message(0, 0, &message(3, 3, Some(2)));
    ledger.audit(0, at(2, 3), &[message(2, 2, None), message(3, 3, None)]);
    assert!(ledger.behind(&[at(2, 3)]).is_empty());
    assert_eq!(kinds(ledger), []);
}

#[test]
fn a_silent_gap_is_a_loss() {
    let mut ledger = begun(false);
    ledger.message(0, 0, &message(3, 3, None));
    assert_eq!(kinds(ledger), [Kind::Lost]);
}

#[test]
fn a_partial_replay_is_a_loss() {
    let mut ledger = begun(false);
    ledger.disconnected(0, None);
    let missed = [message(3, 3, None)];
    ledger.joined(0, 0, Some(at(1, 1)), at(1, 3), Some(true), &missed);
    assert_eq!(kinds(ledger), [Kind::Lost]);
}

#[test]
fn what_was_acknowledged_and_never_came_is_a_loss() {
    for may_lose in [false, true] {
        let mut ledger = begun(may_lose);
        ledger.acknowledged(0, id(2), at(1, 2));
        assert_eq!(ledger.behind(&[at(1, 2)]).len(), 1);
        assert_eq!(kinds(ledger), [Kind::Lost]);
    }
}

#[test]
fn what_was_acknowledged_and_is_not_in_the_log_is_a_loss() {
    let mut ledger = begun(false);
    ledger.message(0, 0, &message(2, 2, None));
    ledger.acknowledged(0, id(2), at(1, 2));
    ledger.audit(0, at(1, 1), &[message(1, 1, None)]);
    assert_eq!(kinds(ledger), [Kind::Lost]);
}

#[test]
fn a_new_epoch_excuses_a_loss_only_where_the_log_may_have_lost_it() {
    for (may_lose, expected) in [(true, vec![]), (false, vec![Kind::OutOfOrder, Kind::Lost])] {
        let mut ledger = begun(may_lose);
        ledger.acknowledged(0, id(3), at(1, 2));
        ledger.message(0, 0, &message(2, 2, Some(2)));
        assert_eq!(kinds(ledger), expected);
    }
}

#[test]
fn a_publication_that_comes_again_is_a_duplicate() {
    let mut ledger = begun(false);
    ledger.message(0, 0, &message(1, 1, None));
    assert_eq!(kinds(ledger), [Kind::Duplicated, Kind::Duplicated]);
    let mut ledger = begun(false);
    ledger.acknowledged(0, id(1), at(1, 2));
    assert_eq!(kinds(ledger), [Kind::Duplicated]);
}

#[test]
fn a_publication_may_be_accepted_again_once_the_log_was_lost() {
    let mut ledger = begun(true);
    ledger.reset(0, 0, at(2, 0));
    ledger.message(0, 0, &message(1, 1, None));
    ledger.acknowledged(0, id(1), at(2, 1));
    assert_eq!(kinds(ledger), []);
}

#[test]
fn two_members_with_two_orders_are_noticed() {
    let mut ledger = begun(false);
    ledger.joined(1, 0, None, at(1, 0), None, &[]);
    ledger.message(1, 0, &message(2, 1, None));
    ledger.message(1, 0, &message(1, 2, None));
    assert!(kinds(ledger).contains(&Kind::OutOfOrder));
}

#[test]
fn a_publishers_words_in_the_wrong_order_are_noticed() {
    let mut ledger = begun(false);
    ledger.message(0, 0, &message(3, 2, None));
    ledger.message(0, 0, &message(2, 3, None));
    assert_eq!(kinds(ledger), [Kind::OutOfOrder]);
}

#[test]
fn a_log_may_lose_its_end_only_where_logs_may_be_lost() {
    for (may_lose, expected) in [(true, vec![]), (false, vec![Kind::Lost, Kind::Lost])] {
        let mut ledger = begun(may_lose);
        ledger.acknowledged(0, id(2), at(1, 2));
        ledger.audit(0, at(1, 1), &[message(1, 1, None)]);
        assert_eq!(kinds(ledger), expected);
    }
}

#[test]
fn a_reset_is_honest_only_where_something_may_be_missing() {
    for (may_lose, to, expected) in [
        (true, at(2, 0), vec![]),
        (false, at(2, 0), vec![Kind::Needless]),
        (false, at(1, 2), vec![Kind::Needless]),
        // More than the log keeps.
        (false, at(1, 1 + SIZE), vec![]),
    ] {
        let mut ledger = begun(may_lose);
        ledger.reset(0, 0, to);
        assert_eq!(kinds(ledger), expected, "to {to:?}");
    }
}

#[test]
fn nothing_comes_without_a_membership() {
    let mut ledger = begun(false);
    ledger.left(0, 0);
    ledger.message(0, 0, &message(2, 2, None));
    assert_eq!(kinds(ledger), [Kind::Protocol]);
}

#[test]
fn who_is_in_a_room_goes_by_the_connection_that_joined_it() {
    let mut ledger = ledger(false);
    ledger.connected(0, "a");
    ledger.connected(1, "b");
    assert!(ledger.present(0).is_empty());
    ledger.joined(0, 0, None, at(1, 0), None, &[]);
    assert_eq!(ledger.present(0), ["a".to_owned()].into());
    // The other was never there, and so it is not away.
    assert!(ledger.away().is_empty());
    ledger.disconnected(0, None);
    assert!(ledger.present(0).is_empty());
    assert_eq!(ledger.away().len(), 1);
    ledger.connected(0, "c");
    ledger.joined(0, 0, Some(at(1, 0)), at(1, 0), Some(true), &[]);
    assert_eq!(ledger.present(0), ["c".to_owned()].into());
    assert!(ledger.away().is_empty());
}
