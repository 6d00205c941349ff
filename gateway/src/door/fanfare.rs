//! `fanfare.v1`, the project's own protocol: one command a message, in JSON or MessagePack.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::codec::{self, Format};
use fanfare_shared::{Event, Publication};

use super::speech::{Door, Way, Wires, whole};
use crate::http::entrance::{Address, Entrance};
use crate::message::Message;
use crate::session::Incoming;

/// `fanfare.v1.json`, text messages, or `fanfare.v1.msgpack`, binary ones.
#[derive(Debug)]
pub(super) struct Fanfare {
    wire: Wire,
    format: Format,
}

/// The way in: both formats at one address.
pub(super) fn way(wires: &mut Wires) -> Way {
    let doors = Format::SUBPROTOCOLS.map(|(_, format)| {
        let wire = wires.next();
        let door: Arc<dyn Door> = Arc::new(Fanfare { wire, format });
        // Echo is said with each message here.
        [Arc::clone(&door), door]
    });
    Way {
        entrance: Entrance {
            address: Address::At("/ws"),
            protocols: Format::SUBPROTOCOLS.map(|(name, _)| name).to_vec(),
        },
        doors: doors.into(),
    }
}

impl Door for Fanfare {
    fn wire(&self) -> Wire {
        self.wire
    }

    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>> {
        whole(message, at, |message| {
            let decoded = match (message, self.format) {
                (Message::Binary(bytes), Format::MsgPack) => codec::decode_msgpack(bytes),
                (Message::Text(_), Format::MsgPack) => {
                    return Incoming::Unsupported("fanfare.v1.msgpack is binary");
                }
                (Message::Text(text), _) => codec::decode_json(text),
                (Message::Binary(_), _) => {
                    return Incoming::Unsupported("fanfare.v1.json is spoken in text");
                }
            };
            match decoded {
                Ok(request) => Incoming::Request(request),
                Err(error) => Incoming::Malformed(error),
            }
        })
    }

    fn encode(&self, event: &Event<'_>) -> Option<Bytes> {
        codec::encode(self.format, event)
    }

    fn encode_publication(&self, publication: &Publication, new_epoch: bool) -> Bytes {
        codec::encode_publication(self.format, publication, new_epoch)
    }
}
