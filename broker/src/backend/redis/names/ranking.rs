//! Which of several independent servers has a room: the one that ranks highest for it (rendezvous
//! hashing).
//!
//! Each server's rank for a room depends on these two alone: a server that is added takes only the
//! rooms that are its own from now on, one that is removed gives only its own away, and the order
//! in which the configuration names them is no matter. Invariant: the hash never changes, since
//! nodes of different releases have to agree on it; golden values hold it fast.

use fanfare_shared::RoomName;

/// Several servers, by what their ranks depend on.
pub(crate) struct Ranking(Vec<u64>);

impl Ranking {
    /// Ranks servers by these names; capitals are no matter.
    pub(crate) fn new<'a>(servers: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            servers
                .into_iter()
                .map(|name| hash(name.to_ascii_lowercase().as_bytes()))
                .collect(),
        )
    }

    /// The index of a room's server; 0 where there is only one.
    pub(crate) fn first(&self, room: &RoomName) -> usize {
        if self.0.len() < 2 {
            return 0;
        }
        let room = hash(room.as_str().as_bytes());
        let ranks = self
            .0
            .iter()
            .map(|server| mix(server ^ room.rotate_left(32)));
        ranks.zip(0..).max().map_or(0, |(_, index)| index)
    }
}

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The last step of SplitMix64: every bit of the result depends on every bit of `bits`.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERS: [&str; 4] = ["a:6379", "b:6379", "10.0.0.3:6380", "d:6379/2"];

    fn named(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn server(servers: &[&'static str], room: usize) -> &'static str {
        let ranking = Ranking::new(servers.iter().copied());
        servers[ranking.first(&named(&format!("room {room}")))]
    }

    #[test]
    fn the_hash_is_what_it_always_was() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(mix(1), 0x5692_161d_100b_05e5);
        let ranking = Ranking::new(SERVERS);
        let rooms = [
            "lobby",
            "chat:1",
            "chat:2",
            "чат 🎺",
            "}",
            "a",
            "b",
            "c",
            "d",
            "e",
        ];
        let found = rooms.map(|room| ranking.first(&named(room)));
        assert_eq!(found, [3, 2, 1, 1, 1, 2, 1, 1, 2, 3]);
    }

    #[test]
    fn the_order_of_the_servers_is_no_matter() {
        let mut reversed = SERVERS;
        reversed.reverse();
        for room in 0..1_000 {
            assert_eq!(server(&SERVERS, room), server(&reversed, room));
        }
    }

    #[test]
    fn each_server_has_its_share() {
        for name in SERVERS {
            let share = (0..10_000).filter(|room| server(&SERVERS, *room) == name);
            let share = share.count();
            assert!((2_300..=2_700).contains(&share), "{name}: {share}");
        }
    }

    #[test]
    fn a_server_that_is_added_takes_rooms_and_moves_no_other() {
        for room in 0..10_000 {
            let (before, after) = (server(&SERVERS[..3], room), server(&SERVERS, room));
            assert!(after == before || after == SERVERS[3]);
        }
    }
}
