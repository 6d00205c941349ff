//! The planted bugs fit the code as it is: one that no longer applies shows nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_planted_bug_still_applies() {
    let chaos = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bugs = fs::read_dir(chaos.join("bugs")).expect("the planted bugs");
    let patches: Vec<_> = bugs.map(|bug| bug.expect("a file").path()).collect();
    assert!(!patches.is_empty());
    for patch in patches {
        let git = Command::new("git")
            .args(["apply", "--check"])
            .arg(&patch)
            .current_dir(chaos.join("../.."))
            .output()
            .expect("git");
        let why = String::from_utf8_lossy(&git.stderr);
        assert!(git.status.success(), "make {patch:?} anew: {why}");
    }
}
