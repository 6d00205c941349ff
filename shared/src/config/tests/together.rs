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

#[test]
fn the_logs_in_memory_must_hold_a_message() {
    let large = [
        ("FANFARE_LIMITS__MAX_MESSAGE", "2000000"),
        ("FANFARE_LIMITS__OUTBOX_BYTES", "2000000"),
        ("FANFARE_MEMORY__BYTES", "1500000"),
    ];
    let message = refusal(&large);
    assert!(
        message.starts_with("memory.bytes = 1500000: smaller than limits.max_message = 2000000"),
        "{message}"
    );
    let with_redis = [large.as_slice(), &[("FANFARE_REDIS__URL", "redis://a")]].concat();
    env(&with_redis).unwrap();
}

#[test]
fn each_port_is_for_itself() {
    for (public, internal, refused) in [
        ("127.0.0.1:8080", "127.0.0.1:8080", true),
        ("0.0.0.0:8081", "127.0.0.1:8081", true),
        ("127.0.0.1:8080", "[::]:8080", true),
        ("127.0.0.1:8080", "127.0.0.2:8080", false),
        ("127.0.0.1:8080", "127.0.0.1:8081", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        let listen = [
            ("FANFARE_LISTEN", public),
            ("FANFARE_INTERNAL__LISTEN", internal),
        ];
        if refused {
            let message = refusal(&listen);
            let problem = format!("internal.listen = {internal}: taken by listen = {public}");
            assert!(message.starts_with(&problem), "{message}");
        } else {
            env(&listen).unwrap();
        }
    }
}
