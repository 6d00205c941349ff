//! Redis Cluster's slots: every name belongs to one of them, and every slot to one master.

use fanfare_shared::RoomName;

use super::keys;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of all names of a room.
pub(super) fn of_room(room: &RoomName) -> u16 {
    let name = keys::tag(room.as_str());
    name.iter()
        .fold(Crc16(0), |crc, bytes| crc.update(bytes))
        .slot()
}

/// The slot of a name.
pub(super) fn of_name(name: &str) -> u16 {
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
