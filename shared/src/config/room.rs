//! Room rules: which rooms a rule is for, and what it says about them.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Access;

/// What the rooms whose names match are like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomRule {
    /// Which rooms: a name, or a pattern with one `*`. A rule in the file must have it.
    pub r#match: RoomPattern,
    /// What the rooms keep for members that come back.
    pub history: History,
    /// Whether it is known who is in the rooms, and may be asked by `presence`. Default true; set
    /// it to false where nobody asks, which spares Redis a call for each join and leave.
    pub presence: bool,
    /// Whether members are told of each other's coming and going, by `member` pushes. Default
    /// false; needs `presence`.
    pub announce: bool,
    /// Who may ask who is in the rooms. Default `anyone`, with keys in `auth` `grant`. Short for
    /// this and `presence = true`: `presence = "users"`.
    pub members: Access,
    /// Who may join without a grant. Default `anyone`, with keys in `auth` `grant`.
    pub join: Access,
    /// Who may publish without a grant. Default `members`, with keys in `auth` `grant`.
    pub publish: Access,
    /// Whether the backend of `hooks` is asked about the rooms. Default true; set it to false where
    /// tokens and rules say enough.
    pub hooks: bool,
    /// What happens to a member whose outbox overflows. Default `disconnect`.
    pub slow_consumer: SlowConsumer,
}

/// What a room keeps: both bounds hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// The most publications kept; the oldest go first. Default 256; 0 keeps no log at all, and
    /// nothing can be recovered. Raise it for busy rooms whose members may be gone for long.
    pub size: usize,
    /// How long a room keeps them after its last publication; with Redis up to an eighth longer.
    /// Default 5 minutes; set it to how long a member may be gone and still recover.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// Who may read them, by `history` or by a join that asks for some. What a member missed it
    /// gets without. Default `anyone`, with keys in `auth` `grant`. In short:
    /// `history = "members"`.
    pub read: Access,
}

/// What happens to a member whose outbox overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowConsumer {
    /// It is closed with 4008 and comes back by recovery: nothing is lost.
    #[default]
    Disconnect,
    /// Its oldest waiting publications of the room give way: for rooms where late is useless.
    DropOldest,
    /// Only the newest waiting publication of the room stays: for rooms that carry a state.
    Latest,
}

impl Default for RoomRule {
    fn default() -> Self {
        Self {
            r#match: RoomPattern::default(),
            history: History::default(),
            presence: true,
            announce: false,
            members: Access::Anyone,
            join: Access::Anyone,
            publish: Access::Members,
            hooks: true,
            slow_consumer: SlowConsumer::default(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            size: 256,
            ttl: Duration::from_secs(5 * 60),
            read: Access::Anyone,
        }
    }
}

impl RoomRule {
    /// The rule of rooms that no other rule is for.
    #[must_use]
    pub fn fallback() -> &'static Self {
        static FALLBACK: LazyLock<RoomRule> = LazyLock::new(RoomRule::default);
        &FALLBACK
    }
}

/// A pattern of room names: one `*`, anywhere, stands for any text, the empty one included.
/// Default `*`, which matches every room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomPattern {
    prefix: String,
    /// What follows the `*`; nothing where the pattern is a plain name.
    suffix: Option<String>,
}

impl RoomPattern {
    /// The longest pattern in bytes: as long as a room's name may be.
    const MAX_BYTES: usize = 255;

    /// Reads a pattern, or says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("empty");
        }
        if text.len() > Self::MAX_BYTES {
            return Err("longer than 255 bytes");
        }
        if text.chars().any(char::is_control) {
            return Err("it has a control character");
        }
        match text.split_once('*') {
            Some((_, suffix)) if suffix.contains('*') => Err("more than one `*`"),
            Some((prefix, suffix)) => Ok(Self {
                prefix: prefix.to_owned(),
                suffix: Some(suffix.to_owned()),
            }),
            None => Ok(Self {
                prefix: text.to_owned(),
                suffix: None,
            }),
        }
    }

    /// Whether a room of this name is meant.
    #[must_use]
    pub fn matches(&self, room: &str) -> bool {
        match &self.suffix {
            None => room == self.prefix,
            Some(suffix) => room
                .strip_prefix(self.prefix.as_str())
                .is_some_and(|rest| rest.ends_with(suffix.as_str())),
        }
    }

    /// What stands before the `*`, and behind it; nothing where the pattern is a plain name.
    #[must_use]
    pub fn parts(&self) -> (&str, Option<&str>) {
        (&self.prefix, self.suffix.as_deref())
    }

    /// Whether every room that `other` means is meant by this one too.
    ///
    /// Exact: a `*` always leaves room for two different names, so a plain name never covers a
    /// pattern, and a part of `self` that reached into the `*` of `other` would meet a name without
    /// it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.suffix, &other.suffix) {
            (_, None) => self.matches(&other.prefix),
            (None, Some(_)) => false,
            (Some(suffix), Some(others)) => {
                other.prefix.starts_with(&self.prefix) && others.ends_with(suffix.as_str())
            }
        }
    }

    /// Whether every room is meant.
    pub(super) fn matches_all(&self) -> bool {
        self.prefix.is_empty() && self.suffix.as_deref() == Some("")
    }
}

impl Default for RoomPattern {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            suffix: Some(String::new()),
        }
    }
}

impl TryFrom<String> for RoomPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)?;
        match &self.suffix {
            Some(suffix) => write!(f, "*{suffix}"),
            None => Ok(()),
        }
    }
}

impl From<RoomPattern> for String {
    fn from(pattern: RoomPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_by_its_one_wildcard() {
        let matches = |pattern: &str, room: &str| {
            RoomPattern::new(pattern)
                .expect("a good pattern")
                .matches(room)
        };
        assert!(matches("*", "anything"));
        assert!(matches("chat:*", "chat:1"));
        assert!(matches("chat:*", "chat:"));
        assert!(!matches("chat:*", "chat"));
        assert!(matches("user:*:inbox", "user:7:inbox"));
        assert!(!matches("user:*:inbox", "user:inbox"));
        assert!(matches("lobby", "lobby"));
        assert!(!matches("lobby", "lobby2"));
        // The two ends must not share characters.
        assert!(!matches("aba*ba", "aba"));
    }

    #[test]
    fn a_pattern_has_at_most_one_wildcard() {
        for bad in ["", "a*b*", "**", "a\nb", &"x".repeat(256)] {
            assert!(RoomPattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_covers_another_exactly_when_no_name_tells_them_apart() {
        // All patterns of two letters up to a length, against all names of them.
        let texts = |alphabet: &[char], longest: usize| {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..longest {
                let grown = last.iter().flat_map(|text| {
                    let longer = |c: &char| format!("{text}{c}");
                    alphabet.iter().map(longer).collect::<Vec<_>>()
                });
                last = grown.collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let names = texts(&['a', 'b', 'c'], 6);
        let patterns: Vec<_> = texts(&['a', 'b', '*'], 4)
            .iter()
            .filter_map(|text| RoomPattern::new(text).ok())
            .collect();
        for one in &patterns {
            for other in &patterns {
                let mut meant = names
                    .iter()
                    .filter(|name| !name.is_empty() && other.matches(name));
                let expected = meant.all(|name| one.matches(name));
                assert_eq!(one.covers(other), expected, "{one} {other}");
            }
        }
    }

    #[test]
    fn the_default_matches_every_room() {
        assert!(RoomPattern::default().matches_all());
        assert_eq!(String::from(RoomPattern::default()), "*");
    }
}
