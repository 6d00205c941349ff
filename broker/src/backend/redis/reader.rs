//! Reads logs: as many at once as a round trip should carry.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::{Epoch, Position, Publication, RoomName, envelope};
use redis::{Cmd, Pipeline, RedisWrite, Value};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::loss::Loss;
use super::publisher::ttl;
use super::queue::Load;
use super::refusal::Refusal;
use super::resp::array;
use super::script::{MAX_IN_VAIN, Script};
use super::shard::Shard;
use super::stats::{Stats, Unreadable};
use super::{BackendError, Log, Read, Snapshot, inbound, keys, renewals};
use crate::backend::{ENTRY_BYTES, READ_BYTES};

/// What one pipeline reads at most: rooms, and publications in all. Bounds how long a publication
/// or a probe waits behind it while thousands of rooms catch up.
const MOST: Load = Load {
    items: 128,
    weight: 4_096,
};

/// A read that waits, and who waits for it.
pub(super) struct Item {
    room: RoomName,
    log: Log,
    read: Read,
    answer: oneshot::Sender<Result<Snapshot, BackendError>>,
}

/// Sends one link's reads.
pub(super) struct Reader {
    pub(super) shard: Arc<Shard>,
    pub(super) connection: Connection,
    pub(super) script: Script,
    /// The server's run, for the script.
    pub(super) run: String,
}

impl Item {
    pub(super) fn new(
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
    pub(super) fn limit(&self) -> usize {
        match self.read {
            Read::Begin => 0,
            Read::After { limit, .. } | Read::Resume { limit, .. } | Read::Newest { limit } => {
                limit.min(self.log.size)
            }
        }
    }

    fn command(&self, script: &str, run: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(script).arg(2);
        command.write_arg_fmt(keys::meta(&self.room));
        command.write_arg_fmt(keys::log(&self.room));
        command.arg(self.log.size);
        let has_members = matches!(self.read, Read::Begin | Read::Resume { .. });
        command.arg(u8::from(has_members));
        command.arg(ttl(renewals::of_position(self.log.ttl)));
        command.arg(ttl(self.log.quiet_ttl()));
        command.write_arg_fmt(Epoch::from_bits(fastrand::u64(..)));
        command.arg(run).arg(self.limit());
        if let Read::After { position, .. } | Read::Resume { position, .. } = self.read {
            command.arg(READ_BYTES).arg(ENTRY_BYTES);
            command.write_arg_fmt(position.epoch);
            command.arg(position.offset);
        }
        command
    }

    fn snapshot(&self, reply: Value, stats: &Stats) -> Result<Snapshot, Refusal> {
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
                self.publication(position, envelope, stats)
            })
            .collect();
        Ok(Snapshot {
            position: Some(found.position),
            publications,
            cut_at,
            follows: follows && matches!(self.read, Read::After { .. } | Read::Resume { .. }),
        })
    }

    fn answer(self, outcome: Result<Snapshot, Refusal>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(outcome.map_err(Into::into));
    }

    fn publication(
        &self,
        position: Position,
        envelope: Vec<u8>,
        stats: &Stats,
    ) -> Option<Arc<Publication>> {
        match envelope::decode(self.room.clone(), Some(position), &Bytes::from(envelope)) {
            Ok(publication) => Some(Arc::new(publication)),
            Err(error) => {
                stats.skipped(&keys::log(&self.room), &Unreadable::Envelope(error));
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
            position: inbound::position(&position)?,
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

impl Reader {
    /// Reads what is asked for, until the link is lost.
    pub(super) async fn run(mut self) -> Loss {
        let mut batch = Vec::new();
        loop {
            self.shard.reads.take(&mut batch, MOST).await;
            if let Err(loss) = self.send(&mut batch).await {
                return loss;
            }
        }
    }

    /// Sends a batch, and empties it. What was not executed for want of the script is sent again,
    /// behind the script, so that some of it is executed however often the cache is emptied.
    async fn send(&mut self, batch: &mut Vec<Item>) -> Result<(), Loss> {
        let (mut again, mut in_vain) = (false, 0);
        while !batch.is_empty() {
            let replies = self.exchange(batch, again).await?;
            let sent = std::mem::take(batch);
            let count = sent.len();
            let mut demoted = false;
            for (item, reply) in sent.into_iter().zip(replies) {
                match item.snapshot(reply, &self.shard.stats) {
                    Err(Refusal::NoScript) => batch.push(item),
                    outcome => {
                        demoted |= matches!(outcome, Err(Refusal::Demoted));
                        match &outcome {
                            Err(Refusal::Astray(_)) => self.shard.contradict(),
                            Err(refusal) => self.shard.stats.refuse("reads", refusal),
                            Ok(_) => {}
                        }
                        item.answer(outcome);
                    }
                }
            }
            if demoted {
                return Err(Loss::Demoted);
            }
            if batch.is_empty() {
                break;
            }
            in_vain = if batch.len() < count { 0 } else { in_vain + 1 };
            let loaded = if in_vain == MAX_IN_VAIN {
                Err(Refusal::NoScript)
            } else {
                self.script.reload(&mut self.connection).await?
            };
            if let Err(refusal) = loaded {
                self.shard.stats.refuse("reads", &refusal);
                for item in batch.drain(..) {
                    item.answer(Err(refusal.clone()));
                }
            }
            again = true;
        }
        Ok(())
    }

    /// Sends a batch and answers the replies to it; `again` puts the script at its head.
    async fn exchange(&self, batch: &[Item], again: bool) -> Result<Vec<Value>, Loss> {
        let mut pipeline = Pipeline::with_capacity(batch.len() + 1);
        if again {
            pipeline.add_command(self.script.loading());
        }
        let head = pipeline.len();
        for item in batch {
            pipeline.add_command(item.command(self.script.sha(), &self.run));
        }
        let mut replies = self.connection.exchange(&pipeline).await.map_err(|error| {
            tracing::debug!("reading failed: {error}");
            Loss::Closed
        })?;
        replies.drain(..head);
        Ok(replies)
    }
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
