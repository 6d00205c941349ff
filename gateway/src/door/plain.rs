//! A plain room: each message is a publication into the one room of its connection, and each
//! publication a message. There are no words for anything else.

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::codec::{self, Format};
use fanfare_shared::{Data, Encoding, Event, Publication};

use super::speech::{Door, whole};
use crate::message::Message;
use crate::session::Incoming;

/// Plain messages.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) wire: Wire,
    /// Whether they come back to their own connection.
    pub(super) echo: bool,
}

impl Door for Plain {
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
