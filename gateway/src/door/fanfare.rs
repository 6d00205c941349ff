//! `fanfare.v1`, the project's own protocol: one command a message, in JSON or MessagePack.

use bytes::Bytes;
use fanfare_broker::Wire;
use fanfare_shared::codec::{self, DecodeError, Format};
use fanfare_shared::{Event, Publication, Request};

use super::speech::{Door, whole};
use crate::message::Message;
use crate::session::Incoming;

/// `fanfare.v1.json`: text messages.
#[derive(Debug)]
pub(super) struct Json(pub(super) Wire);

impl Door for Json {
    fn wire(&self) -> Wire {
        self.0
    }

    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>> {
        whole(message, at, |message| match message {
            Message::Text(text) => incoming(codec::decode_json(text)),
            Message::Binary(_) => Incoming::Unsupported("fanfare.v1.json is spoken in text"),
        })
    }

    fn encode(&self, event: &Event<'_>) -> Option<Bytes> {
        codec::encode(Format::Json, event)
    }

    fn encode_publication(&self, publication: &Publication, new_epoch: bool) -> Bytes {
        codec::encode_publication(Format::Json, publication, new_epoch)
    }
}

/// `fanfare.v1.msgpack`: binary messages.
#[derive(Debug)]
pub(super) struct MsgPack(pub(super) Wire);

impl Door for MsgPack {
    fn wire(&self) -> Wire {
        self.0
    }

    fn next<'a>(&self, message: &'a Message<'_>, at: &mut usize) -> Option<Incoming<'a>> {
        whole(message, at, |message| match message {
            Message::Binary(bytes) => incoming(codec::decode_msgpack(bytes)),
            Message::Text(_) => Incoming::Unsupported("fanfare.v1.msgpack is binary"),
        })
    }

    fn encode(&self, event: &Event<'_>) -> Option<Bytes> {
        codec::encode(Format::MsgPack, event)
    }

    fn encode_publication(&self, publication: &Publication, new_epoch: bool) -> Bytes {
        codec::encode_publication(Format::MsgPack, publication, new_epoch)
    }
}

fn incoming(decoded: Result<Request<'_>, DecodeError>) -> Incoming<'_> {
    match decoded {
        Ok(request) => Incoming::Request(request),
        Err(error) => Incoming::Malformed(error),
    }
}
