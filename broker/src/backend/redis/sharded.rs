//! Sharded subscriptions, many in one round trip.
//!
//! In a cluster a command may name channels of one slot only, so each channel has a command of its
//! own. A server that gives a slot away ends its subscriptions unasked, in the very words of an
//! answer, and redis-rs takes that for the answer to whatever is under way. So each round trip ends
//! with a fence, an UNSUBSCRIBE from nothing: answers are told apart by their kind, and the next
//! round trip begins only when the fence was read, so that nothing is left over to be mistaken for
//! its answers.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, Pipeline, PushKind, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::inbound::Inbound;
use super::refusal::Refusal;

/// How long the fence may take after the answers: the probe gives up earlier.
const FENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Subscribes to channels; answers for each of them.
pub(super) async fn subscribe(
    connection: &mut MultiplexedConnection,
    inbound: &Inbound,
    channels: &[String],
) -> RedisResult<Vec<Result<(), Refusal>>> {
    let mut outcomes = Vec::with_capacity(channels.len());
    // Again for those whose answers were left over.
    while outcomes.len() < channels.len() {
        let rest = &channels[outcomes.len()..];
        let replies = exchange(connection, inbound, "SSUBSCRIBE", rest).await?;
        let answers = replies.into_iter().filter_map(|reply| match reply {
            Value::ServerError(error) => Some(Err(Refusal::of_reply(&error))),
            Value::Push {
                kind: PushKind::SSubscribe,
                ..
            } => Some(Ok(())),
            // The end of another subscription, or the fence.
            _ => None,
        });
        outcomes.extend(answers.take(rest.len()));
    }
    Ok(outcomes)
}

/// Ends subscriptions. One that is refused was ended before.
pub(super) async fn unsubscribe(
    connection: &mut MultiplexedConnection,
    inbound: &Inbound,
    channels: &[String],
) -> RedisResult<()> {
    exchange(connection, inbound, "SUNSUBSCRIBE", channels).await?;
    Ok(())
}

async fn exchange(
    connection: &mut MultiplexedConnection,
    inbound: &Inbound,
    command: &str,
    channels: &[String],
) -> RedisResult<Vec<Value>> {
    let mut pipeline = Pipeline::with_capacity(channels.len() + 1);
    for channel in channels {
        pipeline.cmd(command).arg(channel);
    }
    pipeline.cmd("UNSUBSCRIBE").arg("fanfare:fence");
    let fence = inbound.fences() + 1;
    let replies = connection
        .send_packed_commands(&pipeline, 0, pipeline.len())
        .await?;
    match timeout(FENCE_TIMEOUT, inbound.fenced(fence)).await {
        Ok(()) => Ok(replies),
        Err(_) => Err(RedisError::from((
            ErrorKind::Io,
            "the fence did not come back",
        ))),
    }
}
