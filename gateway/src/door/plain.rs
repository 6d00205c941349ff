//! A plain room: each message is a publication into the one room of its connection, and each
//! publication a message. There are no words for anything else.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::codec::{self, Format};
use fanfare_shared::{Data, Encoding, Event, Publication};

use super::speech::{Door, Way, Wires, whole};
use crate::http::entrance::{Address, Entrance};
use crate::message::Message;
use crate::session::Incoming;

/// Plain messages.
#[derive(Debug)]
pub(super) struct Plain {
    wire: Wire,
    /// Whether they come back to their own connection.
    echo: bool,
}

/// The way in: the room is the rest of the path.
pub(super) fn way(wires: &mut Wires) -> Way {
    let wire = wires.next();
    Way {
        entrance: Entrance {
            address: Address::Under("/plain/"),
            protocols: Vec::new(),
        },
        doors: vec![[false, true].map(|echo| Arc::new(Plain { wire, echo }) as _)],
    }
}

impl Door for Plain {
    fn has_words(&self) -> bool {
        false
    }

    fn wire(&self) -> Wire {
        self.wire
    }

    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>> {
        whole(message, at, |message| {
            let (encoding, bytes) = match message {
                Message::Text(text) => (Encoding::Text, text.as_bytes()),
                Message::Binary(bytes) => (Encoding::Binary, &bytes[..]),
            };
            Incoming::Message {
                data: Data { encoding, bytes },
                echo: self.echo,
            }
        })
    }

    fn encode(&self, event: &Event<'_>) -> Option<Bytes> {
        codec::encode(Format::Plain, event)
    }

    fn encode_publication(&self, publication: &Publication, new_epoch: bool) -> Bytes {
        codec::encode_publication(Format::Plain, publication, new_epoch)
    }
}
