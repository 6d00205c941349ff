//! Reads logs: as many at once as a round trip should carry.

use std::fmt::Display;
use std::sync::Arc;

use redis::Value;

use crate::backend::redis::calls::read::Item;
use crate::backend::redis::shard::Shard;
use crate::backend::redis::shard::queue::Load;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::Connection;
use crate::backend::redis::wire::loss::Loss;
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::script::{MAX_IN_VAIN, Script};

/// What one pipeline reads at most: rooms, and publications in all. Bounds how long a publication
/// or a probe waits behind it while thousands of rooms catch up.
const MOST: Load = Load {
    items: 128,
    weight: 4_096,
};

/// Sends one link's reads.
pub(crate) struct Reader {
    pub(crate) shard: Arc<Shard>,
    pub(crate) connection: Connection,
    pub(crate) script: Script,
    /// The server's run, for the script.
    pub(crate) run: String,
}

impl Reader {
    /// Reads what is asked for, until the link is lost.
    pub(crate) async fn run(mut self) -> Loss {
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
                let skipped =
                    |place: &dyn Display, error: &_| self.shard.stats.skipped(place, error);
                match item.snapshot(reply, &skipped) {
                    Err(Refusal::NoScript) => batch.push(item),
                    outcome => {
                        demoted |= matches!(outcome, Err(Refusal::Demoted));
                        match &outcome {
                            Err(Refusal::Redirected(_)) => self.shard.contradict(),
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
                self.script.reload(&self.connection).await?
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
        let mut pipeline = Pipeline::default();
        if again {
            self.script.load_again(&mut pipeline);
        }
        let head = pipeline.len();
        for item in batch {
            item.write(&mut pipeline, self.script.sha(), &self.run);
        }
        let mut replies = self.connection.exchange(&pipeline).await.map_err(|error| {
            tracing::debug!("reading failed: {error}");
            Loss::Closed
        })?;
        replies.drain(..head);
        Ok(replies)
    }
}
