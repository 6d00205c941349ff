//! The frames that the floor sends: Fanfare's, made once and used for everything.

use bytes::Bytes;
use fanfare_shared::codec::{self, Format};
use fanfare_shared::{
    Authentication, ClientId, Data, Encoding, Epoch, Event, Position, Publication, Publisher,
    RoomName, Welcome,
};

use crate::stamp::{LEN, Stamp};

/// One publication's frame per format, in which only the payload changes.
pub(super) struct Frames {
    payload: usize,
    /// The frame and where its payload begins.
    templates: [Option<(Vec<u8>, usize)>; Format::COUNT],
}

impl Frames {
    /// Frames for payloads of `payload` bytes.
    pub(super) fn new(payload: usize) -> anyhow::Result<Self> {
        anyhow::ensure!(payload >= LEN, "--payload: at least {LEN} bytes");
        Ok(Self {
            payload,
            templates: [const { None }; Format::COUNT],
        })
    }

    /// The frame for what a client published; `None` where it carries no payload of ours. All
    /// rooms have names of one length, and so `room` is asked for only once.
    pub(super) fn publication(
        &mut self,
        format: Format,
        message: &[u8],
        room: impl FnOnce() -> String,
    ) -> Option<&[u8]> {
        let (_, from) = Stamp::find(message, 0)?;
        let payload = message.get(from..from + self.payload)?;
        let template = &mut self.templates[format as usize];
        if template.is_none() {
            let frame = encode(format, &room(), payload)?;
            let (_, at) = Stamp::find(&frame, 0)?;
            *template = Some((frame.to_vec(), at));
        }
        let (frame, at) = template.as_mut()?;
        frame[*at..*at + self.payload].copy_from_slice(payload);
        Some(frame)
    }
}

fn encode(format: Format, room: &str, payload: &[u8]) -> Option<Bytes> {
    let data = [b"\"", payload, b"\""].concat();
    let publication = Publication {
        room: RoomName::new(room).ok()?,
        position: Some(position()),
        time: 1_767_225_600_123,
        event: None,
        from: Some(Publisher {
            client: ClientId::new(1, 1),
            user: None,
        }),
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: data.into(),
        },
    };
    Some(codec::encode_publication(format, &publication, false))
}

fn position() -> Position {
    Position {
        epoch: Epoch::from_bits(0x0123_4567_89ab_cdef),
        offset: 1000,
    }
}

/// What follows the handshake: the welcome and the reply to the join; nothing in plain rooms.
pub(super) fn welcome(format: Format, room: &str) -> Vec<u8> {
    let welcome = Event::Welcome(Welcome {
        client: ClientId::new(1, 1),
        user: None,
        node: "floor",
        heartbeat: 25,
        max_message: 65_536,
        session: Some(Authentication::Open),
    });
    let joined = Event::Joined {
        id: None,
        room,
        position: Some(position()),
        recovered: None,
        messages: &[],
    };
    let frames = [welcome, joined].map(|event| codec::encode(format, &event));
    frames.into_iter().flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        room: 3,
        seq: 4,
        due: 5,
    };

    #[test]
    fn what_was_published_comes_back_in_a_frame_of_the_right_form() {
        for format in [Format::Json, Format::MsgPack, Format::Plain] {
            let mut frames = Frames::new(128).unwrap();
            let message = [b"{..", &STAMP.payload(128)[..], b"..}"].concat();
            for _ in 0..2 {
                let frame = frames
                    .publication(format, &message, || "load-0000-000001".into())
                    .unwrap();
                let (found, at) = Stamp::find(frame, 0).unwrap();
                assert_eq!(found, STAMP);
                assert_eq!(&frame[at..at + 128], &STAMP.payload(128));
            }
        }
    }
}
