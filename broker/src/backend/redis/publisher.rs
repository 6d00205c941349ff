//! Takes all publications that wait and sends them in one round trip, then the next.
//!
//! One pipeline is under way at a time, so the order of the queue is the order of execution; what
//! arrives meanwhile makes up the next one, so that the harder the load, the cheaper each is. While
//! none is under way, whoever publishes sends by the [`Shortcut`] that was left.

mod shortcut;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::envelope::{self, Draft};
use fanfare_shared::{Epoch, Position, RoomName};
use prometheus::local::LocalHistogram;
use redis::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::Connection;
use super::inbound;
use super::loss::Loss;
use super::queue::Load;
use super::refusal::Refusal;
use super::renewals::Renewals;
use super::resp::Command;
use super::script::{MAX_IN_VAIN, Script};
use super::shard::Shard;
use super::stats::millis;
use super::{BackendError, Publish, keys, renewals};

pub(super) use shortcut::Shortcut;

/// A publication that waits, and who waits for it.
pub(super) struct Item {
    publish: Publish,
    since: Instant,
    answer: oneshot::Sender<Result<Option<Position>, BackendError>>,
    /// Whether it renews its room's log.
    renews: bool,
}

/// What goes out in one pipeline at most, in bytes of data: a probe that waits behind it
/// must not time out on a slow network.
const MAX_PIPELINE_BYTES: usize = 1024 * 1024;

/// Sends one link's publications.
pub(super) struct Publisher {
    shard: Arc<Shard>,
    connection: Connection,
    script: Script,
    call: Arc<Call>,
    /// [`Stats::publish`], without its atomics for each publication.
    seconds: LocalHistogram,
}

/// What the calls of a link have in common.
#[derive(Clone)]
struct Call {
    /// The script's.
    sha: String,
    /// The server's run, for the script.
    run: String,
    /// The command that publishes.
    verb: &'static str,
    renewals: Arc<Renewals>,
}

/// What each pipeline begins with, and so the number of replies before the publications' own.
///
/// Redis writes to its clients in the reverse order of when they got something to be written. Since
/// the publishing node has its first reply before the first publication is handed on, it comes
/// last; else it would be woken first, and take the CPU or the time from those who wait for the
/// publication.
const HEAD: usize = 1;

/// The head of a pipeline that needs none.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Item {
    pub(super) fn new(
        publish: Publish,
    ) -> (
        Self,
        oneshot::Receiver<Result<Option<Position>, BackendError>>,
    ) {
        let (answer, answered) = oneshot::channel();
        let item = Self {
            publish,
            since: Instant::now(),
            answer,
            renews: false,
        };
        (item, answered)
    }

    fn write(&mut self, out: &mut Vec<u8>, call: &Call) {
        let Call {
            sha,
            run,
            verb,
            renewals,
        } = call;
        let Publish {
            publication,
            log,
            key,
        } = &self.publish;
        let room = &publication.room;
        let envelope = envelope::encode(&Draft::from(publication));
        if log.size == 0 {
            let payload = [b" ", &envelope[..]].concat();
            Command::new(out, 3)
                .arg(verb)
                .parts(keys::channel(room).parts())
                .arg(payload);
            return;
        }
        self.renews = renewals.is_due(room, log.ttl);
        let keys = 2 + usize::from(key.is_some());
        let mut command = Command::new(out, 12 + keys);
        command.arg("EVALSHA").arg(sha).number(keys as u64);
        command
            .parts(keys::meta(room).parts())
            .parts(keys::log(room).parts());
        if let Some(key) = key {
            command.display(keys::seen(room, key));
        }
        command
            .number(log.size as u64)
            .number(ttl(renewals::of_log(log.ttl)))
            .number(ttl(renewals::of_position(log.ttl)))
            .number(self.renews.into())
            .display(Epoch::from_bits(fastrand::u64(..)))
            .arg(run)
            .arg(verb)
            .parts(keys::channel(room).parts())
            .arg(envelope);
    }

    /// The room that it is for.
    pub(super) fn room(&self) -> &RoomName {
        &self.publish.publication.room
    }

    /// How long it has waited.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// What it weighs in a queue.
    pub(super) fn weight(&self) -> usize {
        self.publish.publication.data.bytes.len()
    }

    /// Answers that it was not done.
    pub(super) fn fail(self, error: BackendError) {
        // Whoever asked may have gone.
        let _ = self.answer.send(Err(error));
    }

    fn outcome(&self, reply: &Value) -> Result<Option<Position>, Refusal> {
        match reply {
            Value::ServerError(error) => Err(Refusal::of_reply(error)),
            Value::Int(_) if self.publish.log.size == 0 => Ok(None),
            Value::BulkString(text) => inbound::position(text).map(Some).ok_or_else(|| {
                // A record under an idempotency key's name that the script did not write.
                Refusal::Lasting("the key's record holds no position".to_owned())
            }),
            other => Err(Refusal::Lasting(format!("unexpected reply {other:?}"))),
        }
    }

    fn answer(self, outcome: Result<Option<Position>, Refusal>, seconds: &LocalHistogram) {
        seconds.observe(self.since.elapsed().as_secs_f64());
        // Whoever asked may have gone.
        let _ = self.answer.send(outcome.map_err(Into::into));
    }
}

impl Publisher {
    pub(super) fn new(
        shard: &Arc<Shard>,
        connection: Connection,
        script: Script,
        run: String,
    ) -> Self {
        let call = Call {
            sha: script.sha().to_owned(),
            run,
            verb: shard.verb(),
            renewals: Arc::default(),
        };
        Self {
            connection,
            script,
            call: Arc::new(call),
            seconds: shard.stats.publish.local(),
            shard: Arc::clone(shard),
        }
    }

    /// Sends what waits, until the link is lost. What is under way then is dropped, and so
    /// answered: unavailable.
    pub(super) async fn run(mut self) -> Loss {
        let most = Load {
            items: self.shard.options.pipeline,
            weight: MAX_PIPELINE_BYTES,
        };
        let mut batch = Vec::with_capacity(most.items);
        loop {
            if let Err(loss) = self.turn(&mut batch, most).await {
                return loss;
            }
            self.seconds.flush();
        }
    }

    /// Sends what waits, or has whoever comes next send.
    async fn turn(&mut self, batch: &mut Vec<Item>, most: Load) -> Result<(), Loss> {
        let (shortcut, sent) = shortcut::new(&self.connection, &self.call);
        let publications = &self.shard.publications;
        publications.take_or_leave(batch, most, shortcut);
        let replies = if batch.is_empty() {
            let (item, replies) = sent.answered().await?;
            batch.push(item);
            replies
        } else {
            self.exchange(batch, PING).await?
        };
        self.settle(batch, replies).await
    }

    /// Answers a batch, and empties it. What was not executed for want of the script is sent
    /// again, in order, before anything later.
    async fn settle(&mut self, batch: &mut Vec<Item>, replies: Vec<Value>) -> Result<(), Loss> {
        let (mut replies, mut in_vain) = (replies, 0);
        loop {
            let mut demoted = false;
            let sent = std::mem::take(batch);
            let count = sent.len();
            let mut astray = Astray::default();
            for (item, reply) in sent.into_iter().zip(replies.iter().skip(HEAD)) {
                match item.outcome(reply) {
                    Err(Refusal::NoScript) => batch.push(item),
                    Err(Refusal::Astray(_)) => astray.push(item),
                    outcome => {
                        if let Err(refusal) = &outcome {
                            demoted |= *refusal == Refusal::Demoted;
                            self.note(refusal);
                        } else {
                            astray.overtaken(item.room());
                            self.renewed(&item);
                        }
                        item.answer(outcome, &self.seconds);
                    }
                }
            }
            for item in &*batch {
                // About to be sent again, here and at once.
                astray.overtaken(item.room());
            }
            self.shard.hold(astray.items);
            if demoted {
                return Err(Loss::Demoted);
            }
            if batch.is_empty() {
                return Ok(());
            }
            in_vain = if batch.len() < count { 0 } else { in_vain + 1 };
            if in_vain == MAX_IN_VAIN {
                self.note(&Refusal::NoScript);
                refuse(batch, &Refusal::NoScript, &self.seconds);
                return Ok(());
            }
            if let Err(refusal) = self.script.reload(&mut self.connection).await? {
                self.note(&refusal);
                refuse(batch, &refusal, &self.seconds);
                return Ok(());
            }
            self.call = Arc::new(Call {
                sha: self.script.sha().to_owned(),
                ..Call::clone(&self.call)
            });
            // With the script at its head, some of it is executed however often the cache is
            // emptied.
            let head = self.script.loading().get_packed_command();
            replies = self.exchange(batch, &head).await?;
        }
    }

    /// Sends a batch behind a command, and answers the replies to all of it.
    async fn exchange(&mut self, batch: &mut [Item], head: &[u8]) -> Result<Vec<Value>, Loss> {
        let replies = self.connection.send(HEAD + batch.len(), |out| {
            out.extend_from_slice(head);
            for item in &mut *batch {
                item.write(out, &self.call);
            }
        });
        replies.await.map_err(lost)
    }

    /// Notes what was renewed by a publication that was done. One with a key may have been done
    /// before, and then renewed nothing.
    fn renewed(&self, item: &Item) {
        if item.renews && item.publish.key.is_none() {
            self.call.renewals.note(item.room(), item.since);
        }
    }

    fn note(&self, refusal: &Refusal) {
        self.shard.stats.refuse("publications", refusal);
    }
}

fn lost(error: impl Display) -> Loss {
    tracing::debug!("publishing failed: {error}");
    Loss::Closed
}

/// What was not done because its slot is elsewhere, in order, and can still be without overtaking
/// nor being overtaken by another publication of its room.
#[derive(Default)]
struct Astray {
    items: Vec<Item>,
}

impl Astray {
    fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    /// A later publication of the room was done: the earlier ones must not be any more.
    fn overtaken(&mut self, room: &RoomName) {
        for late in self.items.extract_if(.., |item| item.room() == room) {
            late.fail(BackendError::Unavailable);
        }
    }
}

fn refuse(batch: &mut Vec<Item>, refusal: &Refusal, seconds: &LocalHistogram) {
    for item in batch.drain(..) {
        item.answer(Err(refusal.clone()), seconds);
    }
}

/// Redis deletes what is given no time at all.
pub(super) fn ttl(duration: Duration) -> u64 {
    millis(duration).max(1)
}
