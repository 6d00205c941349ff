//! Giving a message to a room.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fanfare_broker::Hub;
use fanfare_broker::backend::{self, Log, Pending};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{Data, Position, Publication, Publisher, RoomName};

/// A message for a room.
#[derive(Debug)]
pub struct Publish<'a> {
    /// Which room.
    pub room: RoomName,
    /// The room's rule.
    pub rule: Arc<RoomRule>,
    /// What kind of message it is.
    pub event: Option<Cow<'a, str>>,
    /// Accepted once per room and window.
    pub key: Option<Cow<'a, str>>,
    /// Whether the publisher gets it, too.
    pub echo: bool,
    /// The payload.
    pub data: Data<&'a [u8]>,
}

impl Publish<'_> {
    /// Publishes it in the name of `from`, a connection; of the server without.
    pub fn act(self, from: Option<Publisher>, hub: &Hub) -> Pending<Option<Position>> {
        hub.publish(backend::Publish {
            publication: Publication {
                room: self.room,
                position: None,
                time: now(),
                event: self.event.as_deref().map(Box::from),
                from,
                echo: self.echo,
                data: Data {
                    encoding: self.data.encoding,
                    bytes: Bytes::copy_from_slice(self.data.bytes),
                },
            },
            log: log(&self.rule),
            key: self.key.as_deref().map(Box::from),
        })
    }
}

/// How a rule has its rooms' logs kept.
const fn log(rule: &RoomRule) -> Log {
    Log {
        size: rule.history.size,
        ttl: rule.history.ttl,
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
