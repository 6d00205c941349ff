//! What one subscriber connection receives: publications and announcements to the sink, probes to
//! the prober.
//!
//! Called by the connection's driver as each frame is read: no queue lies in between. Invariant: after
//! [`Inbound::close`] has returned, nothing of this connection reaches the sink.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use fanfare_shared::{Publication, RoomName, envelope};
use parking_lot::{Mutex, MutexGuard};
use redis::{PushKind, Value};
use tokio::sync::watch;

use super::probe_token::ProbeToken;
use crate::backend::redis::calls::members::{ANNOUNCED, announcement};
use crate::backend::redis::calls::position;
use crate::backend::redis::calls::unreadable::Unreadable;
use crate::backend::redis::names::keys;
use crate::backend::redis::shard::Shard;
use crate::backend::redis::wire::connection::Unasked;
use crate::backend::redis::wire::loss::{Alarm, Loss};
use crate::backend::redis::wire::resp::Message;
use crate::backend::{Announcement, Sink};

/// How many publications a link's subscribers deliver to a congested sink, each an even share, before
/// the link is given up: what the node's workers still have to take then, the log keeps for later.
const MAX_CONGESTED: usize = 16_384;

/// The receiving end of one subscriber connection.
pub(crate) struct Inbound {
    sink: Arc<dyn Sink>,
    shard: Arc<Shard>,
    gate: Mutex<Gate>,
    mark: Arc<ProbeToken>,
    alarm: Arc<Alarm>,
    /// Rooms that something came for, so that their names are not made anew for each message.
    names: Mutex<Names>,
    /// The number of the last probe that came.
    heard: watch::Sender<u64>,
    /// How many fences have come back: see [`Inbound::fenced`].
    fences: watch::Sender<u64>,
}

/// Rooms by their channels.
type Names = HashMap<Box<[u8]>, RoomName, RandomState>;

/// How many names are kept; one more, and all are forgotten.
const MAX_NAMES: usize = 65_536;

struct Gate {
    open: bool,
    /// Publications delivered since the sink began to be congested.
    congested: usize,
}

impl Inbound {
    /// Makes one whose gate is closed.
    pub(crate) fn new(
        sink: Arc<dyn Sink>,
        shard: Arc<Shard>,
        mark: Arc<ProbeToken>,
        alarm: Arc<Alarm>,
    ) -> Self {
        Self {
            sink,
            gate: Mutex::new(Gate {
                open: false,
                congested: 0,
            }),
            shard,
            mark,
            alarm,
            names: Mutex::default(),
            heard: watch::Sender::new(0),
            fences: watch::Sender::new(0),
        }
    }

    /// Takes what was said. Never blocks.
    pub(crate) fn take(&self, said: Unasked<'_>) {
        let push = match said {
            Unasked::Message(message) => return self.message(message),
            Unasked::Closed => return self.alarm.raise(Loss::Closed),
            Unasked::Push(push) => push,
        };
        match push.kind {
            PushKind::SUnsubscribe => self.unsubscribed(&push.data),
            PushKind::Unsubscribe => self.fences.send_modify(|fences| *fences += 1),
            // Confirmations are awaited where they were asked for.
            _ => {}
        }
    }

    /// Lets publications through to the sink.
    pub(crate) fn open(&self) {
        self.gate().open = true;
    }

    /// Stops them, even one that is being read on another thread.
    pub(crate) fn close(&self) {
        self.gate().open = false;
    }

    /// Waits for the `number`th probe, or a later one.
    pub(crate) async fn heard(&self, number: u64) {
        let mut heard = self.heard.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = heard.wait_for(|heard| *heard >= number).await;
    }

    /// How many fences have come back.
    pub(crate) fn fences(&self) -> u64 {
        *self.fences.borrow()
    }

    /// Waits until as many fences have come back. A fence is an UNSUBSCRIBE from nothing, which in a
    /// cluster is sent for no other reason, and elsewhere is not waited for: what was answered
    /// before it has been read.
    pub(crate) async fn fenced(&self, count: u64) {
        let mut fences = self.fences.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = fences.wait_for(|fences| *fences >= count).await;
    }

    /// The server ended a subscription: as it was asked to, or because the slot is elsewhere now.
    fn unsubscribed(&self, data: &[Value]) {
        let Some(Value::BulkString(channel)) = data.first() else {
            return;
        };
        if channel == self.mark.channel.as_bytes() {
            self.alarm.raise(Loss::Moved);
        } else if let Some(room) = keys::room(channel)
            && self.shard.interest.unsettle(&room)
        {
            self.shard.contradict();
        }
    }

    fn message(&self, Message { channel, payload }: Message<'_>) {
        if channel == self.mark.channel.as_bytes() {
            if let Some(number) = self.mark.number(payload) {
                self.heard.send_replace(number);
            }
            return;
        }
        let taken = match payload.strip_prefix(ANNOUNCED) {
            Some(text) => self
                .room(channel)
                .and_then(|room| announcement(room, text))
                .map(|announcement| self.announce(announcement))
                .ok_or(Unreadable::Header),
            None => self
                .room(channel)
                .ok_or(Unreadable::Header)
                .and_then(|room| publication(room, payload))
                .map(|publication| self.deliver(publication)),
        };
        if let Err(error) = taken {
            self.shard
                .stats
                .skipped(&String::from_utf8_lossy(channel), &error);
        }
    }

    /// The room that a channel belongs to.
    fn room(&self, channel: &[u8]) -> Option<RoomName> {
        let mut names = self.names.lock();
        if let Some(name) = names.get(channel) {
            return Some(name.clone());
        }
        let name = keys::room(channel)?;
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(channel.into(), name.clone());
        Some(name)
    }

    fn deliver(&self, publication: Publication) {
        let mut gate = self.gate();
        // In a cluster, a late word of the server that had the room before says nothing any more.
        let elsewhere = self.shard.has_given(&publication.room);
        if !gate.open || elsewhere {
            return;
        }
        if self.sink.congested() {
            gate.congested += 1;
            if gate.congested > MAX_CONGESTED / self.shard.options.subscribers() {
                // What is not delivered now is missing: nothing may follow it.
                gate.open = false;
                drop(gate);
                self.alarm.raise(Loss::Congested);
                return;
            }
        } else {
            gate.congested = 0;
        }
        self.sink.deliver(Arc::new(publication));
    }

    /// Who is behind with publications is not told who comes and goes.
    fn announce(&self, announcement: Announcement) {
        let gate = self.gate();
        if gate.open && !self.sink.congested() {
            self.sink.announce(announcement);
        }
    }

    /// A sink that panicked has at worst missed one publication.
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock()
    }
}

/// Reads what came on a channel: the position (none in a room without history), a space, the
/// envelope.
fn publication(room: RoomName, payload: &[u8]) -> Result<Publication, Unreadable> {
    let space = payload
        .iter()
        .take(position::MAX_POSITION + 1)
        .position(|byte| *byte == b' ')
        .ok_or(Unreadable::Header)?;
    let position = if space == 0 {
        None
    } else {
        Some(position::parse(&payload[..space]).ok_or(Unreadable::Header)?)
    };
    // The one copy on its way through the node.
    let envelope = Bytes::copy_from_slice(&payload[space + 1..]);
    Ok(envelope::decode(room, position, &envelope)?)
}

#[cfg(test)]
mod tests {
    use fanfare_shared::envelope::Draft;
    use fanfare_shared::{Data, Encoding};

    use super::*;

    fn envelope() -> Vec<u8> {
        envelope::encode(&Draft {
            time: 1,
            from: None,
            event: None,
            echo: true,
            data: Data {
                encoding: Encoding::Binary,
                bytes: b"\x00 \xff",
            },
        })
    }

    fn room() -> RoomName {
        keys::room(b"fanfare:{a}").unwrap()
    }

    fn payload(header: &[u8]) -> Vec<u8> {
        [header, b" ", &envelope()].concat()
    }

    #[test]
    fn a_payload_is_position_space_envelope() {
        let read = publication(room(), &payload(b"00000000000000ff42")).unwrap();
        assert_eq!(read.position, position::parse(b"00000000000000ff42"));
        assert_eq!(read.position.unwrap().offset, 42);
        assert_eq!(&read.data.bytes[..], b"\x00 \xff");
        let without = publication(room(), &payload(b"")).unwrap();
        assert_eq!(without.position, None);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for header in [
            &b"x"[..],
            b"00000000000000ff",
            b"0000000000000000 1",
            b"\xff",
        ] {
            assert!(publication(room(), &payload(header)).is_err());
        }
        let whole = payload(b"00000000000000ff42");
        for length in 0..whole.len() {
            assert!(publication(room(), &whole[..length]).is_err());
        }
    }
}
