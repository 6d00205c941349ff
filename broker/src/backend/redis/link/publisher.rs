//! Takes all publications that wait and sends them in one round trip, then the next.
//!
//! One pipeline is under way at a time, so the order of the queue is the order of execution; what
//! arrives meanwhile makes up the next one, so that the harder the load, the cheaper each is. While
//! none is under way, whoever publishes sends by the [`Shortcut`] that was left.

use std::sync::Arc;

use fanfare_shared::RoomName;
use prometheus::local::LocalHistogram;
use redis::Value;

use crate::backend::BackendError;
use crate::backend::redis::calls::publish::{Call, HEAD, Item, PING};
use crate::backend::redis::shard::Shard;
use crate::backend::redis::shard::queue::Load;
use crate::backend::redis::shard::shortcut::{self, lost};
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::Connection;
use crate::backend::redis::wire::loss::Loss;
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::script::{MAX_IN_VAIN, Script};

/// What goes out in one pipeline at most, in bytes of data: a probe that waits behind it
/// must not time out on a slow network.
const MAX_PIPELINE_BYTES: usize = 1024 * 1024;

/// Sends one link's publications.
pub(crate) struct Publisher {
    shard: Arc<Shard>,
    connection: Connection,
    script: Script,
    call: Arc<Call>,
    /// [`Stats::publish`], without its atomics for each publication.
    seconds: LocalHistogram,
}

impl Publisher {
    pub(crate) fn new(
        shard: &Arc<Shard>,
        connection: Connection,
        script: Script,
        run: String,
    ) -> Self {
        let call = Call {
            sha: script.sha().to_owned(),
            run,
            verb: shard.channels.publish(),
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
    pub(crate) async fn run(mut self) -> Loss {
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
            let mut redirected = Redirected::default();
            for (item, reply) in sent.into_iter().zip(replies.iter().skip(HEAD)) {
                match item.outcome(reply) {
                    Err(Refusal::NoScript) => batch.push(item),
                    Err(Refusal::Redirected(_)) => redirected.push(item),
                    outcome => {
                        if let Err(refusal) = &outcome {
                            demoted |= *refusal == Refusal::Demoted;
                            self.note(refusal);
                        } else {
                            redirected.overtaken(item.room());
                            item.note_renewal(&self.call.renewals);
                        }
                        item.answer(outcome, &self.seconds);
                    }
                }
            }
            for item in &*batch {
                // About to be sent again, here and at once.
                redirected.overtaken(item.room());
            }
            self.shard.hold(redirected.items);
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
            if let Err(refusal) = self.script.reload(&self.connection).await? {
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
            let mut head = Pipeline::default();
            self.script.load_again(&mut head);
            replies = self.exchange(batch, head.bytes()).await?;
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

    fn note(&self, refusal: &Refusal) {
        self.shard.stats.refuse("publications", refusal);
    }
}

/// What was not done because its slot is elsewhere, in order, and can still be without overtaking
/// nor being overtaken by another publication of its room.
#[derive(Default)]
struct Redirected {
    items: Vec<Item>,
}

impl Redirected {
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
