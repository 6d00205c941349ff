//! Publications as tests make them.

use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::backend::{Log, Publish};
use fanfare_shared::{Data, Encoding, Publication, RoomName};

/// A log that keeps more than any test publishes, for longer than any test runs.
pub(crate) const LOG: Log = Log {
    size: 10_000,
    ttl: Duration::from_secs(600),
};

/// No log at all.
pub(crate) const NO_LOG: Log = Log { size: 0, ..LOG };

pub(crate) fn named(room: &str) -> RoomName {
    RoomName::new(room).expect("a room's name")
}

/// A publication of some bytes.
pub(crate) fn bytes(room: &str, log: Log, bytes: &[u8]) -> Publish {
    Publish {
        publication: Publication {
            room: named(room),
            position: None,
            time: 1_767_225_600_123,
            event: None,
            from: None,
            echo: true,
            data: Data {
                encoding: Encoding::Binary,
                bytes: Bytes::copy_from_slice(bytes),
            },
        },
        log,
        key: None,
    }
}

/// A publication of a text.
pub(crate) fn text(room: &str, log: Log, text: &str) -> Publish {
    bytes(room, log, text.as_bytes())
}

/// A publication of a text with an idempotency key.
pub(crate) fn keyed(room: &str, log: Log, content: &str, key: &str) -> Publish {
    Publish {
        key: Some(key.into()),
        ..text(room, log, content)
    }
}
