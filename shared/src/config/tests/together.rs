//! Values that must fit each other.

use super::*;

#[test]
fn an_outbox_must_hold_the_largest_message() {
    let message = refusal(&[("FANFARE_LIMITS__MAX_MESSAGE", "1000000")]);
    assert!(
        message
            .starts_with("limits.outbox_bytes = 262144: smaller than limits.max_message = 1000000"),
        "{message}"
    );
}

#[test]
fn the_node_must_hold_an_outbox() {
    let message = refusal(&[("FANFARE_LIMITS__BACKLOG_BYTES", "200000")]);
    assert!(
        message.starts_with(
            "limits.backlog_bytes = 200000: smaller than limits.outbox_bytes = 262144"
        ),
        "{message}"
    );
}

#[test]
fn the_stop_must_take_longer_than_the_window() {
    let message = refusal(&[("FANFARE_DRAIN__WINDOW", "30s")]);
    assert!(
        message.starts_with("drain.timeout = 10s: not longer than drain.window = 30s"),
        "{message}"
    );
}
