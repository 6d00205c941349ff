//! What one subscriber connection receives: publications and announcements to the sink, probes to
//! the prober.
//!
//! Called by the connection's driver as each frame is read: no queue lies in between. Invariant: after
//! [`Inbound::close`] has returned, nothing of this connection reaches the sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare_shared::{Epoch, Position, Publication, envelope};
use redis::{PushKind, Value};
use tokio::sync::watch;

use super::connection::Unasked;
use super::link::Loss;
use super::members::{ANNOUNCED, announcement};
use super::resp::{self, Message};
use super::shard::Shard;
use super::stats::Unreadable;
use super::{Announcement, Sink, keys};

/// How many publications are delivered to a congested sink before the link is given up: what
/// the node's workers still have to take then, the log keeps for later.
const MAX_CONGESTED: usize = 16_384;

/// The receiving end of one subscriber connection.
pub(super) struct Inbound {
    sink: Arc<dyn Sink>,
    shard: Arc<Shard>,
    gate: Mutex<Gate>,
    probe_channel: String,
    /// Tells this connection's probes from those of an earlier one, or of another node that was
    /// given the same name.
    token: u64,
    heard: watch::Sender<u64>,
    loss: watch::Sender<Option<Loss>>,
    /// How many fences have come back: see [`Inbound::fenced`].
    fences: watch::Sender<u64>,
}

struct Gate {
    open: bool,
    /// Publications delivered since the sink began to be congested.
    congested: usize,
}

impl Inbound {
    /// Makes one whose gate is closed.
    pub(super) fn new(sink: Arc<dyn Sink>, shard: Arc<Shard>) -> Self {
        Self {
            sink,
            gate: Mutex::new(Gate {
                open: false,
                congested: 0,
            }),
            probe_channel: shard.probe_channel(),
            shard,
            token: fastrand::u64(..),
            heard: watch::Sender::new(0),
            loss: watch::Sender::new(None),
            fences: watch::Sender::new(0),
        }
    }

    /// Takes what was said. Never blocks.
    pub(super) fn take(&self, said: Unasked<'_>) {
        let push = match said {
            Unasked::Message(message) => return self.message(message),
            Unasked::Closed => return self.lose(Loss::Closed),
            Unasked::Push(push) => push,
        };
        match push.kind {
            PushKind::SUnsubscribe => self.unsubscribed(&push.data),
            PushKind::Unsubscribe if self.shard.is_sharded() => {
                self.fences.send_modify(|fences| *fences += 1);
            }
            // Confirmations are awaited where they were asked for.
            _ => {}
        }
    }

    /// Says that the link is of no use any more. The first reason given counts.
    pub(super) fn lose(&self, loss: Loss) {
        self.loss.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(loss);
            first
        });
    }

    /// Waits for somebody to say that the link is lost.
    pub(super) async fn lost(&self) -> Loss {
        let mut loss = self.loss.subscribe();
        match loss.wait_for(Option::is_some).await {
            Ok(loss) => loss.unwrap_or(Loss::Closed),
            // Not reached: the sender lives as long as `self`.
            Err(_) => Loss::Closed,
        }
    }

    /// Lets publications through to the sink.
    pub(super) fn open(&self) {
        self.gate().open = true;
    }

    /// Stops them, even one that is being read on another thread.
    pub(super) fn close(&self) {
        self.gate().open = false;
    }

    /// Where probes are sent to.
    pub(super) fn probe_channel(&self) -> &str {
        &self.probe_channel
    }

    /// What to send as the `number`th probe.
    pub(super) fn probe(&self, number: u64) -> String {
        format!("{:016x} {number}", self.token)
    }

    /// Waits for the `number`th probe, or a later one.
    pub(super) async fn heard(&self, number: u64) {
        let mut heard = self.heard.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = heard.wait_for(|heard| *heard >= number).await;
    }

    /// How many fences have come back.
    pub(super) fn fences(&self) -> u64 {
        *self.fences.borrow()
    }

    /// Waits until as many fences have come back. A fence is an UNSUBSCRIBE from nothing, which in a
    /// cluster is sent for no other reason: what was answered before it has been read.
    pub(super) async fn fenced(&self, count: u64) {
        let mut fences = self.fences.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = fences.wait_for(|fences| *fences >= count).await;
    }

    /// The server ended a subscription: as it was asked to, or because the slot is elsewhere now.
    fn unsubscribed(&self, data: &[Value]) {
        let Some(Value::BulkString(channel)) = data.first() else {
            return;
        };
        if channel == self.probe_channel.as_bytes() {
            self.lose(Loss::Moved);
        } else if let Some(room) = keys::room(channel)
            && self.shard.interest.unsettle(&room)
        {
            self.shard.contradict();
        }
    }

    fn message(&self, Message { channel, payload }: Message<'_>) {
        if channel == self.probe_channel.as_bytes() {
            self.note_probe(payload);
            return;
        }
        let taken = match payload.strip_prefix(ANNOUNCED) {
            Some(text) => keys::room(channel)
                .and_then(|room| announcement(room, text))
                .map(|announcement| self.announce(announcement))
                .ok_or(Unreadable::Header),
            None => publication(channel, payload).map(|publication| self.deliver(publication)),
        };
        if let Err(error) = taken {
            self.shard
                .stats
                .skipped(&String::from_utf8_lossy(channel), &error);
        }
    }

    fn note_probe(&self, payload: &[u8]) {
        let number = std::str::from_utf8(payload)
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(token, _)| u64::from_str_radix(token, 16) == Ok(self.token))
            .and_then(|(_, number)| number.parse().ok());
        if let Some(number) = number {
            self.heard.send_replace(number);
        }
    }

    fn deliver(&self, publication: Publication) {
        let mut gate = self.gate();
        // In a cluster, a late word of the server that had the room before says nothing any more.
        let elsewhere = self.shard.is_sharded() && !(self.shard.rooms)(&publication.room);
        if !gate.open || elsewhere {
            return;
        }
        if self.sink.congested() {
            gate.congested += 1;
            if gate.congested > MAX_CONGESTED {
                // What is not delivered now is missing: nothing may follow it.
                gate.open = false;
                drop(gate);
                self.lose(Loss::Congested);
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
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what came on a channel: the position (none in a room without history), a space, the
/// envelope.
fn publication(channel: &[u8], payload: &[u8]) -> Result<Publication, Unreadable> {
    let room = keys::room(channel).ok_or(Unreadable::Header)?;
    let space = payload
        .iter()
        .take(MAX_POSITION + 1)
        .position(|byte| *byte == b' ')
        .ok_or(Unreadable::Header)?;
    let position = if space == 0 {
        None
    } else {
        Some(position(&payload[..space]).ok_or(Unreadable::Header)?)
    };
    // The one copy on its way through the node.
    let envelope = Bytes::copy_from_slice(&payload[space + 1..]);
    Ok(envelope::decode(room, position, &envelope)?)
}

const EPOCH: usize = 16;
/// The most characters of a position.
const MAX_POSITION: usize = EPOCH + 20;

/// Reads a position as the scripts write it: 16 hexadecimal digits of epoch, then the offset.
pub(super) fn position(text: &[u8]) -> Option<Position> {
    let (epoch, offset) = text.split_at_checked(EPOCH)?;
    let epoch = Epoch::parse(std::str::from_utf8(epoch).ok()?);
    let offset = resp::number(offset)?;
    (epoch != Epoch::UNKNOWN).then_some(Position { epoch, offset })
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

    fn payload(header: &[u8]) -> Vec<u8> {
        [header, b" ", &envelope()].concat()
    }

    #[test]
    fn a_payload_is_position_space_envelope() {
        let read = publication(b"fanfare:{a}", &payload(b"00000000000000ff42")).unwrap();
        assert_eq!(read.position, position(b"00000000000000ff42"));
        assert_eq!(read.position.unwrap().offset, 42);
        assert_eq!(&read.data.bytes[..], b"\x00 \xff");
        let without = publication(b"fanfare:{a}", &payload(b"")).unwrap();
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
            assert!(publication(b"fanfare:{a}", &payload(header)).is_err());
        }
        assert!(publication(b"other", &payload(b"")).is_err());
        let whole = payload(b"00000000000000ff42");
        for length in 0..whole.len() {
            assert!(publication(b"fanfare:{a}", &whole[..length]).is_err());
        }
    }
}
