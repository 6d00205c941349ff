//! What a room's members are told of each other: encoded at most once per wire format.

use std::sync::OnceLock;

use bytes::Bytes;
use fanfare_shared::codec::{Format, encode};
use fanfare_shared::{ClientId, Event, MemberChange, RoomName};

/// A change of a room's members, and the frames that tell of it.
#[derive(Debug)]
pub struct Notice {
    room: RoomName,
    change: MemberChange,
    frames: [OnceLock<Option<Bytes>>; Format::COUNT],
}

impl Notice {
    /// Prepares a notice; nothing is encoded yet.
    #[must_use]
    pub fn new(room: RoomName, change: MemberChange) -> Self {
        Self {
            room,
            change,
            frames: Default::default(),
        }
    }

    /// What happened.
    #[must_use]
    pub const fn change(&self) -> &MemberChange {
        &self.change
    }

    /// Who is not told, since it is the one who came or went.
    #[must_use]
    pub const fn except(&self) -> Option<ClientId> {
        match &self.change {
            MemberChange::Join(member) | MemberChange::Leave(member) => Some(member.client),
            MemberChange::Count { .. } => None,
        }
    }

    /// The frame for members that speak `format`; `None` where a plain room has no word for it.
    pub fn frame(&self, format: Format) -> Option<&Bytes> {
        self.frames[format as usize]
            .get_or_init(|| {
                let (room, change) = (self.room.as_str(), &self.change);
                encode(format, &Event::Member { room, change })
            })
            .as_ref()
    }
}
