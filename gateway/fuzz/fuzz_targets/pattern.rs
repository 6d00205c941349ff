//! Patterns of rooms: what grants give is what trying each pattern by itself would, and nobody's name
//! is taken for a pattern.

#![no_main]

use fanfare_gateway::auth::{Grants, OriginPolicy, Verb};
use fanfare_shared::config::RoomPattern;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

// The input: lines of a user, a room, and patterns.
fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let (Some(user), Some(room)) = (lines.next(), lines.next()) else {
        return;
    };
    let user = (!user.is_empty()).then_some(user);
    let patterns: Vec<_> = lines.take(1000).collect();
    let claim: Map<String, Value> = patterns
        .iter()
        .enumerate()
        .map(|(index, pattern)| ((*pattern).to_owned(), json!([verb(index).as_str()])))
        .collect();
    for pattern in &patterns {
        check_alone(pattern, room);
    }
    let Ok(grants) = Grants::read(&claim, user) else {
        return;
    };
    let granted = grants.of(room);
    for one in Verb::ALL {
        let meant = claim.iter().any(|(pattern, verbs)| {
            verbs[0] == one.as_str() && means(pattern, user.unwrap_or_default(), room)
        });
        assert_eq!(granted.has(one), meant, "{one} in {room:?}");
    }
});

fn verb(index: usize) -> Verb {
    Verb::ALL[index % Verb::ALL.len()]
}

/// Whether a pattern means a room, by the letter of its definition.
fn means(pattern: &str, user: &str, room: &str) -> bool {
    let named = |part: &str| part.replace("{sub}", user);
    match pattern.split_once('*') {
        None => room == named(pattern),
        Some((before, behind)) => {
            let (before, behind) = (named(before), named(behind));
            room.len() >= before.len() + behind.len()
                && room.starts_with(&before)
                && room.ends_with(&behind)
        }
    }
}

/// A pattern of a rule means the same as one of a grant; one of origins is read without a fault.
fn check_alone(pattern: &str, room: &str) {
    if let Ok(rule) = RoomPattern::new(pattern) {
        assert_eq!(rule.to_string(), pattern);
        assert_eq!(rule.matches(room), means(pattern, "{sub}", room));
    }
    let listed = OriginPolicy::new(&[pattern.to_owned()], true);
    let _ = listed.allows(room, pattern);
    let _ = OriginPolicy::Same.allows(room, pattern);
}
