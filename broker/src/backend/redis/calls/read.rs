//! Reading a log: the call of `read.lua`, and what it answers.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::{Epoch, Position, Publication, RoomName, envelope};
use redis::Value;
use tokio::sync::oneshot;

use super::unreadable::Unreadable;
use super::{position, renewals, ttl};
use crate::backend::redis::names::keys;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::resp::array;
use crate::backend::{BackendError, ENTRY_BYTES, Log, READ_BYTES, Read, Snapshot};

/// The script.
pub(crate) const SCRIPT: &str = include_str!("read.lua");

/// A read that waits, and who waits for it.
pub(crate) struct Item {
    room: RoomName,
    log: Log,
    read: Read,
    answer: oneshot::Sender<Result<Snapshot, BackendError>>,
}

impl Item {
    pub(crate) fn new(
        room: RoomName,
        log: Log,
        read: Read,
    ) -> (Self, oneshot::Receiver<Result<Snapshot, BackendError>>) {
        let (answer, answered) = oneshot::channel();
        let item = Self {
            room,
            log,
            read,
            answer,
        };
        (item, answered)
    }

    /// The most publications that the read can answer.
    pub(crate) fn limit(&self) -> usize {
        match self.read {
            Read::Begin => 0,
            Read::After { limit, .. } | Read::Resume { limit, .. } | Read::Newest { limit } => {
                limit.min(self.log.size)
            }
        }
    }

    /// Writes the call.
    pub(crate) fn write(&self, pipeline: &mut Pipeline, script: &str, run: &str) {
        let since = match self.read {
            Read::After { position, .. } | Read::Resume { position, .. } => Some(position),
            Read::Begin | Read::Newest { .. } => None,
        };
        let has_members = matches!(self.read, Read::Begin | Read::Resume { .. });
        let mut command = pipeline.command(12 + if since.is_some() { 4 } else { 0 });
        command
            .arg("EVALSHA")
            .arg(script)
            .number(2)
            .parts(keys::meta(&self.room).parts())
            .parts(keys::log(&self.room).parts())
            .number(self.log.size as u64)
            .number(has_members.into())
            .number(ttl(renewals::of_position(self.log.ttl)))
            .number(ttl(self.log.quiet_ttl()))
            .display(Epoch::from_bits(fastrand::u64(..)))
            .arg(run)
            .number(self.limit() as u64);
        if let Some(Position { epoch, offset }) = since {
            command
                .number(READ_BYTES as u64)
                .number(ENTRY_BYTES as u64)
                .display(epoch)
                .number(offset);
        }
    }

    /// Reads the reply. `skipped` is told of what cannot be read.
    pub(crate) fn snapshot(
        &self,
        reply: Value,
        skipped: &impl Fn(&dyn Display, &Unreadable),
    ) -> Result<Snapshot, Refusal> {
        if let Value::ServerError(error) = &reply {
            return Err(Refusal::of_reply(error));
        }
        let found =
            Found::parse(reply).ok_or_else(|| Refusal::Lasting("unexpected reply".to_owned()))?;
        let Some(found) = found else {
            return Ok(Snapshot::default());
        };
        let follows = found.follows(self.limit());
        let cut_at = found.cut_at();
        let publications = found
            .entries
            .into_iter()
            .filter_map(|(offset, envelope)| {
                let position = Position {
                    offset,
                    ..found.position
                };
                self.publication(position, envelope, skipped)
            })
            .collect();
        Ok(Snapshot {
            position: Some(found.position),
            publications,
            cut_at,
            follows: follows && matches!(self.read, Read::After { .. } | Read::Resume { .. }),
        })
    }

    /// Tells who waits for it.
    pub(crate) fn answer(self, outcome: Result<Snapshot, Refusal>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(outcome.map_err(Into::into));
    }

    fn publication(
        &self,
        position: Position,
        envelope: Vec<u8>,
        skipped: &impl Fn(&dyn Display, &Unreadable),
    ) -> Option<Arc<Publication>> {
        match envelope::decode(self.room.clone(), Some(position), &Bytes::from(envelope)) {
            Ok(publication) => Some(Arc::new(publication)),
            Err(error) => {
                skipped(&keys::log(&self.room), &Unreadable::Envelope(error));
                None
            }
        }
    }
}

/// What the script answered.
struct Found {
    position: Position,
    /// After which offset entries were looked for, unless the position asked for is not of this
    /// log.
    from: Option<u64>,
    entries: Vec<(u64, Vec<u8>)>,
    /// Whether some were left out for their bytes.
    is_cut: bool,
}

impl Found {
    /// Reads an answer: `None` within it where there is no log.
    fn parse(reply: Value) -> Option<Option<Self>> {
        let [position, from, entries, cut] = array(reply)?;
        let (Value::BulkString(position), Value::Int(from), Value::Array(entries)) =
            (position, from, entries)
        else {
            return None;
        };
        if position.is_empty() {
            return Some(None);
        }
        Some(Some(Self {
            position: position::parse(&position)?,
            from: u64::try_from(from).ok(),
            entries: entries.into_iter().filter_map(entry).collect(),
            is_cut: cut == Value::Int(1),
        }))
    }

    /// The last position that was read, if the log has more.
    fn cut_at(&self) -> Option<Position> {
        let (offset, _) = self.entries.last()?;
        (*offset < self.position.offset).then_some(Position {
            offset: *offset,
            ..self.position
        })
    }

    /// Whether the entries are all that followed on `from`, up to where they were cut short.
    fn follows(&self, limit: usize) -> bool {
        let Some(from) = self.from else { return false };
        let offsets = self.entries.iter().map(|(offset, _)| *offset);
        offsets.eq((from + 1..).take(self.entries.len()))
            && (self.is_cut
                || self.entries.len() == limit
                || from + self.entries.len() as u64 == self.position.offset)
    }
}

/// One entry of the stream: `[id, [field, value]]`, the id being offset, dash, zero.
fn entry(value: Value) -> Option<(u64, Vec<u8>)> {
    let [id, fields] = array(value)?;
    let [_, envelope] = array(fields)?;
    let (Value::BulkString(id), Value::BulkString(envelope)) = (id, envelope) else {
        return None;
    };
    let offset = std::str::from_utf8(&id).ok()?.strip_suffix("-0")?;
    Some((offset.parse().ok()?, envelope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(from: Option<u64>, top: u64, offsets: &[u64]) -> Found {
        Found {
            position: Position {
                epoch: Epoch::from_bits(1),
                offset: top,
            },
            from,
            entries: offsets.iter().map(|offset| (*offset, vec![])).collect(),
            is_cut: false,
        }
    }

    #[test]
    fn entries_follow_only_where_none_is_missing() {
        assert!(found(Some(3), 3, &[]).follows(10));
        assert!(found(Some(3), 5, &[4, 5]).follows(10));
        assert!(found(Some(3), 9, &[4, 5]).follows(2));
        assert!(!found(Some(3), 9, &[4, 5]).follows(10), "the end is gone");
        assert!(!found(Some(3), 5, &[5]).follows(10), "the start is gone");
        assert!(!found(Some(3), 5, &[]).follows(10), "all is gone");
        assert!(!found(None, 5, &[]).follows(10), "another log");
    }
}
