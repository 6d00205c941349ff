//! Rules for rooms: which of them a room has, and what they may say.

use super::*;

#[test]
fn the_first_rule_that_matches_is_the_rooms_and_the_last_is_for_all() {
    let config = file(
        "[[rooms]]\nmatch = 'chat:vip:*'\npublish = 'server'\n\
         [[rooms]]\nmatch = 'chat:*'\nhistory = { size = 1000, ttl = '10m' }\n",
    )
    .expect("two rules");
    assert_eq!(config.rooms.len(), 3);
    assert_eq!(config.rule("chat:vip:1").publish, Access::Server);
    assert_eq!(config.rule("chat:vip:1").history, History::default());
    let chat = &config.rule("chat:1").history;
    assert_eq!((chat.size, chat.ttl), (1000, Duration::from_secs(600)));
    assert_eq!(config.rule("lobby"), &RoomRule::default());
    // A configuration that was never loaded has the last rule all the same.
    let bare = Config {
        rooms: Vec::new(),
        ..Config::default()
    };
    assert_eq!(bare.rule("lobby"), &RoomRule::default());
}

#[test]
fn a_rule_must_say_which_rooms_it_is_for() {
    assert_eq!(
        file_refusal("[[rooms]]\nmatch='a'\n[[rooms]]\npublish = 'anyone'"),
        "fanfare.toml: rooms[2] has no `match`; give the rooms it is for, \
         such as match = \"chat:*\""
    );
    assert!(file_refusal("rooms = 3").contains("[[rooms]]"));
    assert!(file_refusal("rooms = [3]").contains("[[rooms]]"));
    assert!(
        file_refusal("[[rooms]]\nmatch = '*'\n[rooms.history]\nsize = -1")
            .starts_with("rooms[1].history.size = -1 (from fanfare.toml): too small")
    );
}

#[test]
fn presence_is_kept_unless_a_rule_says_otherwise_and_announced_where_it_is_kept() {
    let config = file(
        "[[rooms]]\nmatch = 'chat:*'\nannounce = true\n\
         [[rooms]]\nmatch = 'cursors'\npresence = false\n",
    )
    .expect("two rules");
    let of = |room| {
        let rule = config.rule(room);
        (rule.presence, rule.announce)
    };
    assert_eq!(of("chat:1"), (true, true));
    assert_eq!(of("cursors"), (false, false));
    assert_eq!(of("lobby"), (true, false));
    assert_eq!(
        file_refusal("[[rooms]]\nmatch = '*'\npresence = 'yes'"),
        "rooms[1].presence = \"yes\" (from fanfare.toml): neither true nor false; \
         give true or false"
    );
    assert_eq!(
        file_refusal("[[rooms]]\nmatch = '*'\npresence = false\nannounce = true"),
        "rooms[1].announce = true: rooms[1].presence is false; only where it is known who is \
         there can it be told: set both or none"
    );
}

#[test]
fn a_rule_that_no_room_can_reach_is_refused_with_the_one_that_hides_it() {
    let refused = |patterns: &[&str]| {
        let rules = patterns
            .iter()
            .map(|one| format!("[[rooms]]\nmatch = '{one}'\n"));
        file(&rules.collect::<String>())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(
        refused(&["*", "chat:*"]).as_deref(),
        Some(
            "rooms[2].match = \"chat:*\": no room can reach it: rooms[1].match = \"*\" comes first \
             and takes all of its rooms; put rooms[2] before rooms[1], the narrower pattern first"
        )
    );
    assert_eq!(
        refused(&["a", "b", "a"]).as_deref(),
        Some(
            "rooms[3].match = \"a\": no room can reach it: rooms[1].match = \"a\" comes first and \
             takes all of its rooms; the first rule that matches is a room's: join rooms[3] and \
             rooms[1]"
        )
    );
    for hidden in [
        ["chat:*", "chat:1"],
        ["a*", "a:*:b"],
        ["*:b", "a*:b"],
        ["*", "*"],
    ] {
        assert!(refused(&hidden).is_some(), "{hidden:?}");
    }
    for open in [
        ["chat:1", "chat:*"],
        ["a*", "*a"],
        ["a*b", "a*"],
        ["ab*", "a*b"],
    ] {
        assert_eq!(refused(&open), None, "{open:?}");
    }
}
