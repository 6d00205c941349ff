//! What is spoken at an address of the public port: what a client's messages ask for, and how it
//! is told things.

mod fanfare;
mod plain;
mod speech;

use std::sync::Arc;

use fanfare_broker::Wire;
use fanfare_shared::codec::Format;

use self::fanfare::{Json, MsgPack};
use self::plain::Plain;
pub use self::speech::Door;

/// The doors of a node.
#[derive(Debug)]
pub struct Doors {
    json: Arc<dyn Door>,
    msgpack: Arc<dyn Door>,
    /// Without echo, and with it.
    plain: [Arc<dyn Door>; 2],
}

impl Default for Doors {
    #[allow(clippy::expect_used, reason = "there are as many as a node may have")]
    fn default() -> Self {
        let mut wires = (0..).map_while(Wire::new);
        let mut wire = || wires.next().expect("one for each door");
        Self {
            json: Arc::new(Json(wire())),
            msgpack: Arc::new(MsgPack(wire())),
            plain: {
                let wire = wire();
                [false, true].map(|echo| Arc::new(Plain { wire, echo }) as _)
            },
        }
    }
}

impl Doors {
    /// The door of a format. `echo` says whether a plain connection gets its own messages.
    #[must_use]
    pub fn of(&self, format: Format, echo: bool) -> &Arc<dyn Door> {
        match format {
            Format::Json => &self.json,
            Format::MsgPack => &self.msgpack,
            Format::Plain => &self.plain[usize::from(echo)],
        }
    }
}
