//! What is spoken at an address of the public port: what a client's messages ask for, and how it
//! is told things.

mod fanfare;
mod plain;
mod speech;

use std::sync::Arc;

use fanfare_broker::Wire;
use fanfare_shared::codec::Format;

use self::fanfare::Fanfare;
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
        let [json, msgpack] = [Format::Json, Format::MsgPack].map(|format| {
            let wire = wire();
            Arc::new(Fanfare { wire, format }) as _
        });
        let plain = wire();
        Self {
            json,
            msgpack,
            plain: [false, true].map(|echo| Arc::new(Plain { wire: plain, echo }) as _),
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
