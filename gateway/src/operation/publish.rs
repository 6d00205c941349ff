//! Giving a message to a room.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_broker::Hub;
use fanfare_broker::backend::{Log, Pending, Submission};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{ClientId, Data, Position, RoomName, envelope};

use crate::auth::{Actor, Denied, Verb, authorize};

/// A message for a room, before it has a position.
#[derive(Debug)]
pub struct Draft<'a> {
    /// What kind of message it is.
    pub event: Option<Cow<'a, str>>,
    /// Accepted once per room and window.
    pub key: Option<Cow<'a, str>>,
    /// Whether the publisher gets it, too.
    pub echo: bool,
    /// The payload.
    pub data: Data<&'a [u8]>,
}

/// A message that may be published.
#[derive(Debug)]
pub struct Publish<'a> {
    room: RoomName,
    rule: Arc<RoomRule>,
    draft: Draft<'a>,
}

impl<'a> Publish<'a> {
    /// The publication of a message into a room.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the actor may not publish there.
    pub fn new(
        actor: Actor<'_>,
        room: RoomName,
        rule: Arc<RoomRule>,
        draft: Draft<'a>,
    ) -> Result<Self, Denied> {
        authorize(Verb::Publish, room.as_str(), &rule, actor)?;
        Ok(Self { room, rule, draft })
    }

    /// The room.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        &self.room
    }

    /// The room's rule.
    #[must_use]
    pub const fn rule(&self) -> &Arc<RoomRule> {
        &self.rule
    }

    /// The message.
    #[must_use]
    pub const fn draft(&self) -> &Draft<'a> {
        &self.draft
    }

    /// Publishes it in the name of `from`, a connection and its user; of the server without.
    pub fn act(
        self,
        from: Option<(ClientId, Option<&str>)>,
        hub: &Hub,
    ) -> Pending<Option<Position>> {
        let Self { room, rule, draft } = self;
        hub.submit(Submission {
            room: &room,
            draft: envelope::Draft {
                time: now(),
                from,
                event: draft.event.as_deref(),
                echo: draft.echo,
                data: draft.data,
            },
            log: log(&rule),
            key: draft.key.as_deref(),
        })
    }
}

/// A publish that waits, apart from the message it came in.
#[derive(Debug)]
pub struct Parked {
    room: RoomName,
    rule: Arc<RoomRule>,
    event: Option<String>,
    key: Option<String>,
    echo: bool,
    data: Data<Vec<u8>>,
}

impl Parked {
    /// Copies what it borrows.
    #[must_use]
    pub fn new(publish: Publish<'_>) -> Self {
        let Publish { room, rule, draft } = publish;
        Self {
            room,
            rule,
            event: draft.event.map(Cow::into_owned),
            key: draft.key.map(Cow::into_owned),
            echo: draft.echo,
            data: Data {
                encoding: draft.data.encoding,
                bytes: draft.data.bytes.to_vec(),
            },
        }
    }

    /// The room.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        &self.room
    }

    /// Its rule.
    #[must_use]
    pub const fn rule(&self) -> &Arc<RoomRule> {
        &self.rule
    }

    /// What waited.
    #[must_use]
    pub fn publish(&self) -> Publish<'_> {
        Publish {
            room: self.room.clone(),
            rule: Arc::clone(&self.rule),
            draft: Draft {
                event: self.event.as_deref().map(Cow::Borrowed),
                key: self.key.as_deref().map(Cow::Borrowed),
                echo: self.echo,
                data: Data {
                    encoding: self.data.encoding,
                    bytes: &self.data.bytes,
                },
            },
        }
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
