//! What a room's members are told of each other: encoded at most once per wire.

use std::sync::OnceLock;

use bytes::Bytes;
use fanfare_shared::{ClientId, Event, MemberChange, RoomName};

use crate::Wire;

/// A change of a room's members, and the frames that tell of it.
#[derive(Debug)]
pub struct Notice {
    room: RoomName,
    change: MemberChange,
    frames: [OnceLock<Option<Bytes>>; Wire::COUNT],
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

    /// The frame for members on `wire`; `None` where that has no word for it. `encode` makes it, if
    /// nobody has yet.
    pub fn frame(
        &self,
        wire: Wire,
        encode: impl FnOnce(&Event<'_>) -> Option<Bytes>,
    ) -> Option<&Bytes> {
        self.frames[wire.index()]
            .get_or_init(|| {
                let (room, change) = (self.room.as_str(), &self.change);
                encode(&Event::Member { room, change })
            })
            .as_ref()
    }
}
