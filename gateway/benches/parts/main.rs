//! What the decision on one command costs: by a rule alone, and by a token of few or of a thousand
//! patterns.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for developers"
)]

#[path = "../../../shared/benches/parts/runner.rs"]
mod runner;

use std::hint::black_box;
use std::sync::Arc;

use fanfare_gateway::auth::{Actor, Credential, Grants, Verb, authorize};
use fanfare_shared::config::{Access, RoomRule};
use serde_json::{Map, json};

use self::runner::{Part, part, run};

/// The most patterns that a token may have.
const MOST: usize = 1_000;

/// What is asked for; the last pattern of each token grants it.
const ROOM: &str = "tenant:0999:chat:lobby";

fn main() {
    run(vec![
        decision("authorize by the rule", Access::Anyone, None),
        granted("authorize by a grant, 10 patterns", &prefixes(10)),
        granted("authorize by a grant, 1,000 names", &names()),
        granted("authorize by a grant, 1,000 prefixes", &prefixes(MOST)),
        granted(
            "authorize by a grant, 1,000 prefixes of all lengths",
            &lengths(),
        ),
        granted("authorize by a grant, 1,000 suffixes", &suffixes()),
    ]);
}

fn granted(name: &'static str, patterns: &[String]) -> Part {
    let claim: Map<_, _> = patterns
        .iter()
        .map(|pattern| (pattern.clone(), json!(["join", "publish"])))
        .collect();
    let credential = Credential {
        identity: Arc::default(),
        grants: Grants::read(&claim, None).expect("good patterns"),
        auto: Vec::new(),
        expires: u64::MAX,
        issued: None,
        id: None,
    };
    decision(name, Access::Grant, Some(credential))
}

fn decision(name: &'static str, publish: Access, credential: Option<Credential>) -> Part {
    let rule = RoomRule {
        publish,
        ..RoomRule::default()
    };
    part(name, move || {
        let actor = Actor::Client {
            credential: credential.as_ref(),
            is_member: true,
            revoked: &[],
        };
        let decided = authorize(Verb::Publish, black_box(ROOM), black_box(&rule), actor);
        assert!(black_box(decided).is_ok());
    })
}

fn prefixes(count: usize) -> Vec<String> {
    let first = MOST - count;
    (first..MOST)
        .map(|tenant| format!("tenant:{tenant:04}:*"))
        .collect()
}

fn names() -> Vec<String> {
    let others = (1..MOST).map(|tenant| format!("tenant:{tenant:04}:chat"));
    others.chain([ROOM.to_owned()]).collect()
}

/// Prefixes of each length that a room's name may have, and one that fits.
fn lengths() -> Vec<String> {
    let others = (1..MOST).map(|number| format!("{}{number}*", "x".repeat(number % 250)));
    others.chain(["tenant:*".to_owned()]).collect()
}

fn suffixes() -> Vec<String> {
    let others = (1..MOST).map(|number| format!("*:chat:{number:04}"));
    others.chain(["*:chat:lobby".to_owned()]).collect()
}
