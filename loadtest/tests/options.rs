//! What a scenario cannot do is refused, and not left out in silence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's own failures"
)]

use std::process::Command;

#[test]
fn scenarios_of_several_nodes_compare_nothing_and_pin_nothing() {
    for scenario in ["nodes", "saturate", "interest"] {
        for options in [
            &["--pin"][..],
            &["--compare-floor"],
            &["--url", "http://127.0.0.1:1"],
        ] {
            let run = Command::new(env!("CARGO_BIN_EXE_fanfare-load"))
                .arg(scenario)
                .args(options)
                .output()
                .unwrap();
            assert_eq!(run.status.code(), Some(1));
            let said = String::from_utf8(run.stderr).unwrap();
            assert!(said.contains(options[0]), "{scenario} {options:?}: {said}");
        }
    }
}
