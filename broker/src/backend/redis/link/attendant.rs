//! Asks a shard who is in its rooms, and tells it who of this node: as much at once as waits.
//!
//! One pipeline is under way at a time, so the order of the queue is the order of execution.

use std::sync::Arc;

use redis::Value;

use crate::backend::redis::calls::members::{Item, Scripts};
use crate::backend::redis::shard::Shard;
use crate::backend::redis::shard::queue::Load;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::Connection;
use crate::backend::redis::wire::loss::Loss;
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::script::MAX_IN_VAIN;

/// What one pipeline carries at most: a probe must not wait for long behind it.
const MOST: Load = Load {
    items: 512,
    weight: usize::MAX,
};

/// Sends one link's acts.
pub(crate) struct Attendant {
    pub(crate) shard: Arc<Shard>,
    pub(crate) connection: Connection,
    pub(crate) scripts: Scripts,
}

impl Attendant {
    /// Sends what waits, until the link is lost. What is under way then is dropped, and so
    /// answered: unavailable.
    pub(crate) async fn run(mut self) -> Loss {
        let mut batch = Vec::new();
        loop {
            self.shard.members.take(&mut batch, MOST).await;
            if let Err(loss) = self.send(&mut batch).await {
                return loss;
            }
        }
    }

    /// Sends a batch, and empties it. What was not executed for want of a script is sent again,
    /// in order, before anything later.
    async fn send(&mut self, batch: &mut Vec<Item>) -> Result<(), Loss> {
        let (mut again, mut in_vain) = (false, 0);
        while !batch.is_empty() {
            let replies = self.exchange(batch, again).await?;
            let sent = std::mem::take(batch);
            let count = sent.len();
            for (item, reply) in sent.into_iter().zip(replies) {
                match refusal(&reply) {
                    Some(Refusal::NoScript) => batch.push(item),
                    Some(Refusal::Demoted) => return Err(Loss::Demoted),
                    Some(refusal) => {
                        if matches!(refusal, Refusal::Redirected(_)) {
                            self.shard.doubt();
                        } else {
                            self.shard.stats.refuse("who is in a room", &refusal);
                        }
                        (item.answer)(Err(refusal));
                    }
                    None => (item.answer)(Ok(reply)),
                }
            }
            in_vain = if batch.len() < count { 0 } else { in_vain + 1 };
            if !batch.is_empty() {
                let refused = if in_vain == MAX_IN_VAIN {
                    Err(Refusal::NoScript)
                } else {
                    self.reload().await?
                };
                if let Err(refusal) = refused {
                    for item in batch.drain(..) {
                        (item.answer)(Err(refusal.clone()));
                    }
                }
            }
            again = true;
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<Result<(), Refusal>, Loss> {
        let Scripts { members, lease } = &mut self.scripts;
        match members.reload(&self.connection).await? {
            Ok(()) => lease.reload(&self.connection).await,
            refused => Ok(refused),
        }
    }

    /// Sends a batch and answers the replies to it. `again` puts the scripts at its head, so that
    /// some of it is executed however often the cache is emptied.
    async fn exchange(&mut self, batch: &[Item], again: bool) -> Result<Vec<Value>, Loss> {
        let mut pipeline = Pipeline::default();
        if again {
            self.scripts.members.load_again(&mut pipeline);
            self.scripts.lease.load_again(&mut pipeline);
        }
        let head = pipeline.len();
        for item in batch {
            item.write(&mut pipeline, &self.scripts, self.shard.channels.publish());
        }
        let mut replies = self.connection.exchange(&pipeline).await.map_err(|error| {
            tracing::debug!("telling who is in which room failed: {error}");
            Loss::Closed
        })?;
        replies.drain(..head);
        Ok(replies)
    }
}

fn refusal(reply: &Value) -> Option<Refusal> {
    match reply {
        Value::ServerError(error) => Some(Refusal::of_reply(error)),
        _ => None,
    }
}
