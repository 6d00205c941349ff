//! Every name in Redis, built and read here and nowhere else.
//!
//! ```text
//! fanfare:{ROOM}           channel   a room's publications
//! fanfare:{^AUSER}         channel   messages to a user, ^A being the control character
//! fanfare:{^BNODE}         channel   answers to a node: receipts for its messages to users, and others
//! fanfare:{^CKIND}         channel   what all nodes are told or asked, with a log where that is to last
//! fanfare:{ROOM}:log       stream    those that are kept
//! fanfare:{ROOM}:meta      hash      where the log stands
//! fanfare:{ROOM}:key:KEY   string    the position that a publish with an idempotency key got
//! fanfare:{ROOM}:members   zset      who is in a room, by client
//! fanfare:{ROOM}:held      zset      the same by the lease of its node
//! fanfare:{ROOM}:users     hash      how many connections each user has there
//! fanfare:{presence}:…     various   leases, ended and watch: which nodes live
//! fanfare:probe:{NODE}     channel   what a node sends itself; {NODE:NUMBER} in a cluster. No key has
//!                                    the name, by which a write that changes nothing is tried
//! ```
//!
//! Invariant: the names of one room share one slot of Redis Cluster, and two rooms never share a
//! name. The slot is that of the hash tag: what stands between the first `{` and the next `}`, or
//! the whole name where nothing does. A room `a}b` has the tag `a` in all its names, which is as
//! good as any; but a room `}b` would have an empty tag and so a slot per name, hence a leading
//! `}` is written as [`STAND_IN`], which no room name can hold. The last `}` of a name always
//! ends the room, since suffixes have none: a key's own `}` is written `%7D`.
//!
//! Redis keeps channels apart from databases: nodes that use different databases of one server
//! hear each other. Clusters of Fanfare that are to be apart need servers of their own.

use std::fmt::{self, Display};

use fanfare_shared::RoomName;

const ROOM: &str = "fanfare:{";

/// Takes the place of a leading `}`: a control character, which room names exclude.
const STAND_IN: &str = "\u{1d}";

/// The channel of a room's publications.
pub(crate) fn channel(room: &RoomName) -> Name<'_> {
    Name { room, suffix: "" }
}

/// The stream of a room's kept publications.
pub(crate) fn log(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":log",
    }
}

/// The hash that says where a room's log stands.
pub(crate) fn meta(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":meta",
    }
}

/// The record of an idempotency key.
pub(crate) fn seen<'a>(room: &'a RoomName, key: &'a str) -> impl Display {
    Seen(
        Name {
            room,
            suffix: ":key:",
        },
        key,
    )
}

/// Who is in a room, by client.
pub(crate) fn members(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":members",
    }
}

/// Who is in a room, by lease.
pub(crate) fn held(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":held",
    }
}

/// How many connections each user has in a room.
pub(crate) fn users(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":users",
    }
}

/// The leases that hold, by when they end. `room` is the register's.
pub(crate) fn leases(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":leases",
    }
}

/// The leases that ended, by when they did.
pub(crate) fn ended(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":ended",
    }
}

/// When nodes were seen.
pub(crate) fn watch(room: &RoomName) -> Name<'_> {
    Name {
        room,
        suffix: ":watch",
    }
}

/// What Redis Cluster hashes of all the names of a room, in two parts.
pub(crate) fn tag(room: &str) -> [&[u8]; 2] {
    let (first, rest) = stand_in(room);
    let end = rest.find('}').unwrap_or(rest.len());
    [first.as_bytes(), &rest.as_bytes()[..end]]
}

/// What a room's name is written as, in two parts.
fn stand_in(room: &str) -> (&'static str, &str) {
    match room.strip_prefix('}') {
        None => ("", room),
        Some(rest) => (STAND_IN, rest),
    }
}

/// The channel of a node's probe.
pub(crate) fn probe(node: &str) -> String {
    format!("fanfare:probe:{{{node}}}")
}

/// The channel of a node's probe in Redis Cluster, where each master needs one of its own slots:
/// another name for each number.
pub(crate) fn numbered_probe(node: &str, number: u32) -> String {
    format!("fanfare:probe:{{{node}:{number}}}")
}

/// The room that a channel belongs to.
pub(crate) fn room(channel: &[u8]) -> Option<RoomName> {
    let name = std::str::from_utf8(channel)
        .ok()?
        .strip_prefix(ROOM)?
        .strip_suffix('}')?;
    match name.strip_prefix(STAND_IN) {
        None => RoomName::from_node(name).ok(),
        Some(rest) => RoomName::new(&format!("}}{rest}")).ok(),
    }
}

/// A name that belongs to a room.
pub(crate) struct Name<'a> {
    room: &'a RoomName,
    suffix: &'static str,
}

impl Name<'_> {
    /// What it is made of, one behind the other.
    pub(crate) fn parts(&self) -> [&str; 5] {
        let (first, rest) = stand_in(self.room.as_str());
        [ROOM, first, rest, "}", self.suffix]
    }
}

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts()
            .into_iter()
            .try_for_each(|part| f.write_str(part))
    }
}

struct Seen<'a>(Name<'a>, &'a str);

impl Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)?;
        let mut rest = self.1;
        while let Some(at) = rest.find(['%', '}']) {
            f.write_str(&rest[..at])?;
            f.write_str(if rest.as_bytes()[at] == b'%' {
                "%25"
            } else {
                "%7D"
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: [&str; 9] = [
        "lobby",
        "}",
        "}}",
        "}a{b",
        "a}b{c",
        "{",
        "{}",
        "чат 🎺",
        "a}:log",
    ];

    fn named(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn names(room: &RoomName) -> [String; 10] {
        [
            channel(room).to_string(),
            log(room).to_string(),
            meta(room).to_string(),
            seen(room, "k}:log").to_string(),
            members(room).to_string(),
            held(room).to_string(),
            users(room).to_string(),
            leases(room).to_string(),
            ended(room).to_string(),
            watch(room).to_string(),
        ]
    }

    /// What Redis Cluster hashes.
    fn tag(name: &str) -> &str {
        let Some((_, rest)) = name.split_once('{') else {
            return name;
        };
        match rest.split_once('}') {
            Some((tag, _)) if !tag.is_empty() => tag,
            _ => name,
        }
    }

    #[test]
    fn a_channel_names_its_room() {
        for name in ODD {
            let channel = channel(&named(name)).to_string();
            assert_eq!(room(channel.as_bytes()), Some(named(name)), "{channel}");
        }
        for hidden in [RoomName::of_user("a}b"), RoomName::of_node(7)] {
            let channel = channel(&hidden).to_string();
            assert_eq!(room(channel.as_bytes()), Some(hidden));
        }
        for foreign in ["", "fanfare:{}", "fanfare:{a", "a}", "fanfare:probe:{n1}"] {
            assert_eq!(room(foreign.as_bytes()), None, "{foreign}");
        }
        assert_eq!(room(b"fanfare:{\xff}"), None);
    }

    #[test]
    fn the_names_of_a_room_share_a_slot() {
        for name in ODD {
            let names = names(&named(name));
            assert!(
                names.iter().all(|other| tag(other) == tag(&names[0])),
                "{names:?}"
            );
        }
    }

    #[test]
    fn no_two_rooms_share_a_name_whatever_their_keys_are() {
        // With the key as it is, this would be the log of the room `a}:key:k`.
        assert_ne!(
            seen(&named("a"), "k}:log").to_string(),
            log(&named("a}:key:k")).to_string()
        );
        assert_ne!(
            seen(&named("a"), "%7D").to_string(),
            seen(&named("a"), "}").to_string()
        );
        let mut all: Vec<_> = ODD.iter().flat_map(|name| names(&named(name))).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
