//! Tells Redis which rooms the node wants at a shard: all of them on a new link, then every change.

use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::RoomName;
use redis::{RedisResult, make_extension_error};

use super::inbound::Inbound;
use super::sharded;
use super::subscriber::Subscriber;
use crate::backend::BackendError;
use crate::backend::redis::names::keys;
use crate::backend::redis::shard::Shard;
use crate::backend::redis::shard::interest::{Change, Noted};
use crate::backend::redis::wire::channels::Channels;
use crate::backend::redis::wire::loss::Loss;
use crate::backend::redis::wire::refusal::Refusal;

/// The most channels in one SUBSCRIBE or UNSUBSCRIBE, and in a cluster in one round trip.
const MAX_CHANNELS: usize = 1_000;

/// The subscribed connections of a link, and what is wanted on them.
pub(crate) struct Subscriptions {
    shard: Arc<Shard>,
    subscribers: Vec<Subscriber>,
}

/// Rooms that are wanted, or are no more, and who waits for that.
type Rooms = Vec<(RoomName, Change)>;

impl Subscriptions {
    /// Subscribed to nothing yet.
    pub(crate) fn new(shard: &Arc<Shard>, subscribers: Vec<Subscriber>) -> Self {
        let shard = Arc::clone(shard);
        Self { shard, subscribers }
    }

    /// What the connections receive.
    pub(crate) fn inbounds(&self) -> Vec<Arc<Inbound>> {
        let subscribers = self.subscribers.iter();
        subscribers.map(|one| Arc::clone(&one.inbound)).collect()
    }

    /// How long a request on them may take from now on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        for subscriber in &mut self.subscribers {
            subscriber.connection.set_timeout(timeout);
        }
    }

    /// Subscribes new connections to the probe's channel and to everything that is wanted. In a
    /// cluster, rooms that the server says are elsewhere are left unsettled.
    pub(crate) async fn restore(&mut self, probe: &str) -> RedisResult<()> {
        let Self { shard, subscribers } = self;
        let probe = [probe.to_owned()];
        for subscriber in &mut *subscribers {
            let outcomes = subscribe(shard.channels, subscriber, &probe).await?;
            if let Some(refusal) = outcomes.into_iter().find_map(Result::err) {
                // The map is out of date; by the next attempt it may not be.
                let why = Some(refusal.to_string());
                return Err(make_extension_error("SSUBSCRIBE".to_owned(), why));
            }
        }
        let wanted = shard.interest.wanted(subscribers.len());
        for (subscriber, rooms) in subscribers.iter_mut().zip(wanted) {
            for rooms in rooms.chunks(MAX_CHANNELS) {
                shard.interest.ask(rooms.iter());
                let channels = channels(rooms.iter());
                let outcomes = subscribe(shard.channels, subscriber, &channels).await?;
                let outcomes = outcomes.iter().map(Result::is_ok);
                shard.interest.restored(rooms.iter().zip(outcomes));
            }
        }
        shard.interest.settle();
        Ok(())
    }

    /// Tells Redis what is wanted, until the link is lost.
    pub(crate) async fn run(mut self) -> Loss {
        loop {
            let noted = self.shard.interest.noted(self.subscribers.len());
            if noted.iter().all(Noted::is_empty) {
                self.shard.interest.changed().await;
                continue;
            }
            if let Err(loss) = self.tell(noted).await {
                return loss;
            }
        }
    }

    /// Tells Redis of what has changed.
    async fn tell(&mut self, mut noted: Vec<Noted>) -> Result<(), Loss> {
        let Self { shard, subscribers } = self;
        for (subscriber, Noted { unwanted, .. }) in subscribers.iter_mut().zip(&mut noted) {
            leave(shard, subscriber, std::mem::take(unwanted)).await?;
        }
        for (subscriber, Noted { wanted, .. }) in subscribers.iter_mut().zip(noted) {
            let mut wanted = wanted.into_iter().peekable();
            while wanted.peek().is_some() {
                let batch: Vec<_> = wanted.by_ref().take(MAX_CHANNELS).collect();
                enter(shard, subscriber, batch).await?;
            }
        }
        Ok(())
    }
}

async fn leave(shard: &Shard, subscriber: &mut Subscriber, rooms: Rooms) -> Result<(), Loss> {
    for batch in rooms.chunks(MAX_CHANNELS) {
        let channels = channels(batch.iter().map(|(room, _)| room));
        match unsubscribe(shard.channels, subscriber, &channels).await {
            Ok(()) => shard.interest.forget(batch.iter().map(|(room, _)| room)),
            // Refused, we go on receiving what nobody wants: a cost, not a fault.
            Err(error) => drop(Refusal::of(&error)?),
        }
    }
    for (_, change) in rooms {
        change.answer(&Ok(()));
    }
    Ok(())
}

async fn enter(shard: &Shard, subscriber: &mut Subscriber, batch: Rooms) -> Result<(), Loss> {
    let Shard { interest, .. } = shard;
    let channels = channels(batch.iter().map(|(room, _)| room));
    interest.ask(batch.iter().map(|(room, _)| room));
    let outcomes = match subscribe(shard.channels, subscriber, &channels).await {
        Ok(outcomes) => outcomes,
        Err(error) => vec![Err(Refusal::of(&error)?); batch.len()],
    };
    for ((room, change), outcome) in batch.into_iter().zip(outcomes) {
        let outcome = match outcome {
            Ok(()) => {
                interest.confirm(&room);
                // Its slot may have gone before the answer was read; then nobody took it over.
                if !shard.has_given(&room) || interest.give(|given| *given == room).is_empty() {
                    Ok(())
                } else {
                    Err(BackendError::Unavailable)
                }
            }
            Err(refusal) => {
                interest.forget(std::iter::once(&room));
                shard.contradict();
                Err(refusal.into())
            }
        };
        change.answer(&outcome);
    }
    interest.settle();
    Ok(())
}

/// Subscribes to channels; answers for each of them. Of plain channels the server takes all or none.
async fn subscribe(
    kind: Channels,
    subscriber: &mut Subscriber,
    channels: &[String],
) -> RedisResult<Vec<Result<(), Refusal>>> {
    let Subscriber {
        connection,
        inbound,
        ..
    } = subscriber;
    match kind {
        Channels::Plain => {
            connection.subscribe("SUBSCRIBE", channels).await?;
            Ok(vec![Ok(()); channels.len()])
        }
        Channels::Sharded => sharded::subscribe(connection, inbound, channels).await,
    }
}

/// Ends subscriptions.
async fn unsubscribe(
    kind: Channels,
    subscriber: &mut Subscriber,
    channels: &[String],
) -> RedisResult<()> {
    let Subscriber {
        connection,
        inbound,
        ..
    } = subscriber;
    match kind {
        Channels::Plain => connection.subscribe("UNSUBSCRIBE", channels).await,
        Channels::Sharded => sharded::unsubscribe(connection, inbound, channels).await,
    }
}

fn channels<'a>(rooms: impl Iterator<Item = &'a RoomName>) -> Vec<String> {
    rooms.map(|room| keys::channel(room).to_string()).collect()
}
