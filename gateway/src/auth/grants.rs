//! What a token grants: verbs on rooms by their names.
//!
//! Compiled once a token. A lookup costs by the number of different lengths that prefixes and suffixes
//! have, not by the number of patterns: a token may have a thousand, and a connection may ask often.

use std::collections::HashMap;
use std::fmt;

use ahash::RandomState;
use serde_json::{Map, Value};

/// What somebody wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    /// Become a member.
    Join = 1,
    /// Give a message to its members.
    Publish = 1 << 1,
    /// Read what it keeps.
    History = 1 << 2,
    /// Ask who is in it.
    Presence = 1 << 3,
    /// Send a message to one user.
    Send = 1 << 4,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [
        Self::Join,
        Self::Publish,
        Self::History,
        Self::Presence,
        Self::Send,
    ];

    /// The word in tokens and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::History => "history",
            Self::Presence => "presence",
            Self::Send => "send",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbs(u8);

impl Verbs {
    /// Whether a verb is among them.
    #[must_use]
    pub const fn has(self, verb: Verb) -> bool {
        self.0 & verb as u8 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.has(*verb))
    }

    const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<T: IntoIterator<Item = Verb>>(verbs: T) -> Self {
        verbs
            .into_iter()
            .fold(Self::default(), |all, verb| Self(all.0 | verb as u8))
    }
}

/// The most patterns of one token.
const MAX_PATTERNS: usize = 1000;

/// What stands for the token's user in a pattern.
const SUBJECT: &str = "{sub}";

/// The grants of one token, united: each only adds to the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// By whole names.
    names: HashMap<Box<str>, Verbs, RandomState>,
    /// By what stands before a `*`.
    prefixes: Parts<Behind>,
}

/// The verbs of patterns with one prefix, by what stands behind their `*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Behind {
    /// Where nothing does, as with most: that takes no room of its own.
    nothing: Verbs,
    suffixes: Option<Box<Parts<Verbs>>>,
}

impl Behind {
    fn entry(&mut self, suffix: Box<str>) -> &mut Verbs {
        if suffix.is_empty() {
            return &mut self.nothing;
        }
        self.suffixes.get_or_insert_default().entry(suffix)
    }

    /// What is granted where the prefix is followed by this.
    fn of(&self, rest: &str) -> Verbs {
        let mut verbs = self.nothing;
        if let Some(suffixes) = &self.suffixes {
            let granted = suffixes.behind(rest);
            granted.for_each(|granted| verbs.add(*granted));
        }
        verbs
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Verbs)> {
        let nothing = (self.nothing != Verbs::default()).then_some(("", self.nothing));
        let suffixes = self.suffixes.iter().flat_map(|suffixes| &suffixes.parts);
        let suffixes = suffixes.map(|(suffix, verbs)| (&**suffix, *verbs));
        nothing.into_iter().chain(suffixes)
    }
}

/// What belongs to parts of names, found by those lengths that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Parts<T> {
    parts: HashMap<Box<str>, T, RandomState>,
    /// Rising, each once.
    lengths: Vec<usize>,
}

impl<T: Default> Parts<T> {
    /// What belongs to a part, which is new if need be.
    fn entry(&mut self, part: Box<str>) -> &mut T {
        if let Err(at) = self.lengths.binary_search(&part.len()) {
            self.lengths.insert(at, part.len());
        }
        self.parts.entry(part).or_default()
    }

    /// What belongs to a name's beginnings, each with the rest of the name.
    fn before<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a T, &'a str)> {
        let lengths = self
            .lengths
            .iter()
            .take_while(|length| **length <= name.len());
        lengths.filter_map(|length| {
            // Not within a character, where no part ends.
            let (part, rest) = name.split_at_checked(*length)?;
            Some((self.parts.get(part)?, rest))
        })
    }

    /// What belongs to a name's ends.
    fn behind<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a T> {
        let lengths = self
            .lengths
            .iter()
            .take_while(|length| **length <= name.len());
        lengths.filter_map(|length| self.parts.get(name.get(name.len() - length..)?))
    }
}

impl Grants {
    /// Reads the claim: patterns of rooms, each with its verbs. `user` stands for `{sub}`, literally.
    ///
    /// # Errors
    ///
    /// Says which pattern or verb is wrong, and what would be right.
    pub fn read(claim: &Map<String, Value>, user: Option<&str>) -> Result<Self, String> {
        if claim.len() > MAX_PATTERNS {
            return Err(format!(
                "has {} patterns; at most {MAX_PATTERNS} are allowed",
                claim.len()
            ));
        }
        let mut grants = Self::default();
        for (pattern, verbs) in claim {
            grants.add(pattern, read_verbs(pattern, verbs)?, user)?;
        }
        Ok(grants)
    }

    fn add(&mut self, pattern: &str, verbs: Verbs, user: Option<&str>) -> Result<(), String> {
        if pattern.is_empty() {
            return Err("has an empty pattern; give a room's name, or `*` for all".to_owned());
        }
        if user.is_none() && pattern.contains(SUBJECT) {
            return Err(format!(
                "`{pattern}` needs a user, and the token names none"
            ));
        }
        // Put in after the pattern was taken apart: a user whose name has a `*` is no pattern.
        let named = |part: &str| {
            part.replace(SUBJECT, user.unwrap_or_default())
                .into_boxed_str()
        };
        match pattern.split_once('*') {
            None => self.names.entry(named(pattern)).or_default().add(verbs),
            Some((_, suffix)) if suffix.contains('*') => {
                return Err(format!("`{pattern}` has more than one `*`"));
            }
            Some((prefix, suffix)) => {
                let suffixes = self.prefixes.entry(named(prefix));
                suffixes.entry(named(suffix)).add(verbs);
            }
        }
        Ok(())
    }

    /// What may be done in a room.
    #[must_use]
    pub fn of(&self, room: &str) -> Verbs {
        let mut verbs = self.names.get(room).copied().unwrap_or_default();
        for (behind, rest) in self.prefixes.before(room) {
            verbs.add(behind.of(rest));
        }
        verbs
    }

    /// Every pattern with its verbs, sorted.
    pub fn list(&self) -> impl Iterator<Item = (String, Verbs)> {
        let names = self.names.iter();
        let names = names.map(|(name, verbs)| (name.to_string(), *verbs));
        let prefixes = self.prefixes.parts.iter().flat_map(|(prefix, behind)| {
            let behind = behind.iter();
            behind.map(move |(suffix, verbs)| (format!("{prefix}*{suffix}"), verbs))
        });
        let mut all: Vec<_> = names.chain(prefixes).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter()
    }

    /// Whether nothing is granted anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.prefixes.parts.is_empty()
    }
}

fn read_verbs(pattern: &str, verbs: &Value) -> Result<Verbs, String> {
    let known = || Verb::ALL.map(Verb::as_str).join(", ");
    let Value::Array(verbs) = verbs else {
        return Err(format!(
            "`{pattern}` has no list of verbs; give some of {}",
            known()
        ));
    };
    verbs
        .iter()
        .map(|word| {
            let mut verbs = Verb::ALL.into_iter();
            verbs
                .find(|verb| word.as_str() == Some(verb.as_str()))
                .ok_or_else(|| format!("`{pattern}` has {word}; known are {}", known()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(claim: Value, user: Option<&str>) -> Result<Grants, String> {
        let Value::Object(claim) = claim else {
            panic!("not a claim: {claim}");
        };
        Grants::read(&claim, user)
    }

    #[test]
    fn patterns_are_united() {
        let claim = json!({
            "chat:*": ["join"], "chat:*:vip": ["publish"], "chat:1:vip": ["history"],
            "*": ["presence"], "*vip": ["send"],
        });
        let grants = read(claim, None).unwrap();
        let words = |room| {
            let verbs = grants.of(room);
            let found = Verb::ALL.into_iter().filter(|verb| verbs.has(*verb));
            found.map(Verb::as_str).collect::<Vec<_>>()
        };
        assert_eq!(
            words("chat:1:vip"),
            ["join", "publish", "history", "presence", "send"]
        );
        assert_eq!(words("chat:1"), ["join", "presence"]);
        assert_eq!(words("chat"), ["presence"]);
        assert_eq!(words("chat:é"), ["join", "presence"]);
        assert_eq!(words("é"), ["presence"]);
    }

    #[test]
    fn a_user_is_taken_literally() {
        let claim = json!({"user:{sub}": ["join"], "{sub}:*": ["publish"]});
        let grants = read(claim.clone(), Some("*")).unwrap();
        assert!(grants.of("user:*").has(Verb::Join));
        assert!(!grants.of("user:1").has(Verb::Join));
        assert!(!grants.of("1:a").has(Verb::Publish));
        assert!(grants.of("*:a").has(Verb::Publish));
        assert_eq!(
            read(json!({"user:{sub}": ["join"]}), None),
            Err("`user:{sub}` needs a user, and the token names none".to_owned())
        );
    }

    #[test]
    fn what_is_no_grant_is_refused_with_what_would_be_right() {
        for (claim, problem) in [
            (json!({"": ["join"]}), "has an empty pattern"),
            (json!({"a*b*": ["join"]}), "`a*b*` has more than one `*`"),
            (
                json!({"a": "join"}),
                "`a` has no list of verbs; give some of join, publish, history, presence, send",
            ),
            (json!({"a": ["jion"]}), "`a` has \"jion\"; known are join,"),
            (json!({"a": [1]}), "`a` has 1; known are join,"),
        ] {
            let refused = read(claim, None).unwrap_err();
            assert!(refused.starts_with(problem), "{refused}");
        }
        let many = (0..=MAX_PATTERNS).map(|number| (number.to_string(), json!(["join"])));
        assert_eq!(
            Grants::read(&many.collect(), None).unwrap_err(),
            "has 1001 patterns; at most 1000 are allowed"
        );
    }

    fn claims() -> impl Strategy<Value = Map<String, Value>> {
        let verbs = proptest::sample::subsequence(Verb::ALL.map(Verb::as_str).to_vec(), 0..=5);
        let entries = proptest::collection::btree_map("[ab]{0,2}[*]?[ab]{1,2}", verbs, 0..6);
        entries.prop_map(|entries| {
            let entries = entries.into_iter();
            entries
                .map(|(pattern, verbs)| (pattern, json!(verbs)))
                .collect()
        })
    }

    proptest! {
        /// The lookup finds what trying each pattern by the rules of rooms finds.
        #[test]
        fn a_lookup_finds_what_trying_all_patterns_finds(claim in claims(), room in "[ab]{1,5}") {
            let grants = Grants::read(&claim, None).unwrap();
            let mut tried = Verbs::default();
            for (pattern, verbs) in &claim {
                let meant = fanfare_shared::config::RoomPattern::new(pattern).unwrap();
                if meant.matches(&room) {
                    tried.add(read_verbs(pattern, verbs).unwrap());
                }
            }
            prop_assert_eq!(grants.of(&room), tried);
        }

        #[test]
        fn a_grant_more_takes_nothing_away(claim in claims(), more in claims(), room in "[ab]{1,5}") {
            let before = Grants::read(&claim, None).unwrap().of(&room);
            let mut all = claim;
            for (pattern, verbs) in more {
                // The same pattern twice in one object would be the last of both.
                all.entry(pattern).or_insert(verbs);
            }
            let after = Grants::read(&all, None).unwrap().of(&room);
            for verb in Verb::ALL {
                prop_assert!(!before.has(verb) || after.has(verb), "{}", verb);
            }
        }
    }
}
