//! Redis Cluster's slots: every name belongs to one of them, and every slot to one master.

use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_shared::RoomName;

use super::keys;

/// How many there are.
pub(crate) const SLOTS: u16 = 16_384;

/// A set of slots. Changed by one thread at a time, asked by any without a lock.
pub(crate) struct Slots([AtomicU64; SLOTS as usize / 64]);

impl Default for Slots {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }
}

impl Slots {
    pub(crate) fn contains(&self, slot: u16) -> bool {
        let (word, bit) = Self::place(slot);
        self.0[word].load(Ordering::Acquire) & bit != 0
    }

    pub(crate) fn insert(&self, slot: u16) {
        let (word, bit) = Self::place(slot);
        self.0[word].fetch_or(bit, Ordering::AcqRel);
    }

    pub(crate) fn remove(&self, slot: u16) {
        let (word, bit) = Self::place(slot);
        self.0[word].fetch_and(!bit, Ordering::AcqRel);
    }

    fn place(slot: u16) -> (usize, u64) {
        (usize::from(slot / 64), 1 << (slot % 64))
    }
}

/// The slot of all names of a room.
pub(crate) fn of_room(room: &RoomName) -> u16 {
    let name = keys::tag(room.as_str());
    name.iter()
        .fold(Crc16(0), |crc, bytes| crc.update(bytes))
        .slot()
}

/// The slot of a name.
pub(crate) fn of_name(name: &str) -> u16 {
    let tag = match name.split_once('{').map(|(_, rest)| rest.split_once('}')) {
        Some(Some((tag, _))) if !tag.is_empty() => tag,
        _ => name,
    };
    Crc16(0).update(tag.as_bytes()).slot()
}

/// CRC-16/XMODEM, which the cluster's specification names.
struct Crc16(u16);

impl Crc16 {
    fn update(self, bytes: &[u8]) -> Self {
        bytes.iter().fold(self, |crc, byte| {
            let index = usize::from((crc.0 >> 8) as u8 ^ byte);
            Self((crc.0 << 8) ^ TABLE[index])
        })
    }

    const fn slot(&self) -> u16 {
        self.0 % SLOTS
    }
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_a_set_from_when_it_is_put_there_until_it_is_taken_out() {
        let slots = Slots::default();
        for slot in [0, 63, 64, SLOTS - 1] {
            assert!(!slots.contains(slot));
            slots.insert(slot);
            assert!(slots.contains(slot));
        }
        slots.remove(64);
        let left = (0..SLOTS).filter(|slot| slots.contains(*slot));
        assert!(left.eq([0, 63, SLOTS - 1]));
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT answers; the checksum's own test value is 0x31C3.
        assert_eq!(Crc16(0).update(b"123456789").0, 0x31c3);
        assert_eq!(of_name("foo"), 12_182);
        assert_eq!(of_name("{foo}bar"), 12_182);
        assert_eq!(of_name("foo{}"), 5_542);
        assert_eq!(of_name("foo{{bar}}zap"), of_name("{bar"));
    }

    #[test]
    fn a_room_has_the_slot_of_its_names() {
        for name in [
            "lobby",
            "}",
            "}}",
            "}a{b",
            "a}b{c",
            "{",
            "{}",
            "чат 🎺",
            "a}:log",
        ] {
            let room = RoomName::new(name).unwrap();
            assert_eq!(
                of_room(&room),
                of_name(&keys::channel(&room).to_string()),
                "{name}"
            );
            assert_eq!(
                of_room(&room),
                of_name(&keys::seen(&room, "k}:log").to_string())
            );
        }
    }
}
