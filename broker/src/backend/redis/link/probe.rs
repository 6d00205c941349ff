//! The probe: a message that the node sends itself through the connections that matter, over and
//! over, to know whether publications get through.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult, Value};
use tokio::time::{Instant, sleep, timeout};

use super::inbound::Inbound;
use super::probe_token::ProbeToken;
use crate::backend::Refused;
use crate::backend::redis::server::connect::{ConnectError, Server};
use crate::backend::redis::server::incarnation::{Ended, Health, Incarnation};
use crate::backend::redis::shard::Shard;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::Connection;
use crate::backend::redis::wire::loss::Loss;
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::resp::text;
use crate::backoff::Backoff;

/// The longest between two questions to the sentinels about a master that accepts nothing.
const MAX_ASKING: Duration = Duration::from_secs(2);

/// Sends probes through the one connection and awaits them on all the others.
pub(crate) struct Prober {
    commands: Connection,
    mark: Arc<ProbeToken>,
    inbounds: Vec<Arc<Inbound>>,
    run: Incarnation,
    server: String,
    /// The number of the last probe.
    sent: u64,
}

enum Unheard {
    Refused(RedisError),
    Silence,
    Ended(Ended),
}

impl Prober {
    pub(crate) fn new(
        commands: Connection,
        mark: Arc<ProbeToken>,
        inbounds: Vec<Arc<Inbound>>,
        run: Incarnation,
        server: &Server,
    ) -> Self {
        Self {
            commands,
            mark,
            inbounds,
            run,
            server: server.address.clone(),
            sent: 0,
        }
    }

    /// Sends one and awaits it, before the link serves; says what is wrong where it is not heard.
    pub(crate) async fn first(
        &mut self,
        shard: &Shard,
        server: &Server,
    ) -> Result<(), ConnectError> {
        let address = || server.address.clone();
        // Connections to one address need not lead to one server.
        self.probe(shard)
            .await
            .map(drop)
            .map_err(|unheard| match unheard {
                Unheard::Refused(error) => server.explain(&error),
                Unheard::Ended(Ended::Demoted) => {
                    ConnectError::Replica(address(), "another server".to_owned())
                }
                Unheard::Ended(Ended::Renewed) => ConnectError::Renewed(address()),
                Unheard::Silence => ConnectError::Timeout(address(), shard.options.probe_timeout),
            })
    }

    /// Sends one now and then, until one is not heard.
    pub(crate) async fn run(mut self, shard: &Shard) -> Loss {
        let interval = shard.options.probe_interval;
        let mut asking = Backoff::new(interval, MAX_ASKING.max(interval));
        let mut ask_again = Instant::now();
        loop {
            sleep(interval).await;
            match self.probe(shard).await {
                Ok(Health::Good) => asking.reset(),
                // Only one that accepts nothing any more: nodes leave one by one, and who has left
                // would never hear of what it still accepts from those who have not.
                Ok(Health::Fenced) if ask_again <= Instant::now() => {
                    if !shard.place.is_at(&self.server).await {
                        return Loss::Replaced;
                    }
                    ask_again = Instant::now() + asking.wait();
                }
                Ok(Health::Fenced) => {}
                Err(Unheard::Silence) => return Loss::Probe,
                Err(Unheard::Ended(Ended::Demoted)) => return Loss::Demoted,
                Err(Unheard::Ended(Ended::Renewed)) => return Loss::Renewed,
                Err(Unheard::Refused(error)) => match Refusal::of(&error) {
                    // Nobody else has anything done there meanwhile: nothing can be missed.
                    Ok(ref refusal @ Refusal::Passing(Refused::Busy, _)) => {
                        shard.stats.refuse("the node's probe", refusal);
                        shard.set_refusing(Some(Refused::Busy));
                    }
                    Ok(Refusal::Redirected(_)) => return Loss::Moved,
                    Ok(_) => return Loss::Probe,
                    Err(loss) => return loss,
                },
            }
        }
    }

    async fn probe(&mut self, shard: &Shard) -> Result<Health, Unheard> {
        self.sent += 1;
        // A master that was demoted still hands on what is published to it: only its role tells;
        // and that it was promoted again since, only the replication's id. One that is full, or
        // cannot save, hands on as well: only a write tells. This one appends nothing to a key that
        // nobody has, and so makes none, and is neither saved nor replicated.
        let mut request = Pipeline::default();
        let channel = &self.mark.channel;
        let payload = self.mark.payload(self.sent);
        request
            .add([shard.channels.publish(), channel, &payload])
            .add(["INFO", "replication"])
            .add(["SETRANGE", channel, "0", ""]);
        let sent = Instant::now();
        let round = async {
            let replies = self.commands.exchange(&request).await;
            let replies = replies.map_err(Unheard::Refused)?.into_iter();
            let mut replies = replies.map(Value::extract_error);
            let mut next = || replies.next().unwrap_or(Ok(Value::Nil));
            next().map_err(Unheard::Refused)?;
            let replication = next().and_then(text).map_err(Unheard::Refused)?;
            self.run.goes_on(&replication).map_err(Unheard::Ended)?;
            let refused = self.refused(shard, next())?;
            if shard.set_refusing(refused).is_some() && refused.is_none() {
                tracing::info!(server = self.server, "Redis takes writes again");
            }
            for inbound in &self.inbounds {
                inbound.heard(self.sent).await;
            }
            Ok(Health::read(&replication))
        };
        match timeout(shard.options.probe_timeout, round).await {
            Ok(Ok(health)) => {
                shard.stats.lag.observe(sent.elapsed().as_secs_f64());
                Ok(health)
            }
            Ok(Err(unheard)) => Err(unheard),
            Err(_) => Err(Unheard::Silence),
        }
    }

    /// Why what the probe wrote was refused, if it was for a reason that passes.
    fn refused(
        &self,
        shard: &Shard,
        written: RedisResult<Value>,
    ) -> Result<Option<Refused>, Unheard> {
        let Err(error) = written else {
            return Ok(None);
        };
        match Refusal::of(&error) {
            Ok(ref refusal @ Refusal::Passing(refused, _)) => {
                shard.stats.refuse("what the node's probe writes", refusal);
                Ok(Some(refused))
            }
            // Its slot is on the way elsewhere: what was published says when it is there. Or the name is
            // another's key: states that pass are looked at before that.
            Ok(Refusal::Redirected(_) | Refusal::Lasting(_)) => Ok(None),
            _ => Err(Unheard::Refused(error)),
        }
    }
}
