//! The probe: a message that the node sends itself through the connections that matter, over and
//! over, to know whether publications get through.

use std::sync::Arc;

use redis::RedisError;
use tokio::time::{Instant, sleep, timeout};

use super::Shard;
use super::connect::{ConnectError, Server};
use super::connection::Connection;
use super::inbound::Inbound;
use super::loss::Loss;
use super::refusal::Refusal;
use super::run::{Ended, Health, Run};

/// By what a link knows its own probes.
pub(super) struct Mark {
    /// Where they are sent to.
    pub(super) channel: String,
    /// Tells them from those of an earlier link, or of another node that was given the same name.
    token: u64,
}

impl Mark {
    /// Marks the probes of a shard's next link.
    pub(super) fn new(shard: &Shard) -> Self {
        Self {
            channel: shard.probe_channel(),
            token: fastrand::u64(..),
        }
    }

    /// What to send as the `number`th probe.
    fn payload(&self, number: u64) -> String {
        format!("{:016x} {number}", self.token)
    }

    /// The number of a probe that came, if it is one of these.
    pub(super) fn number(&self, payload: &[u8]) -> Option<u64> {
        let (token, number) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        (u64::from_str_radix(token, 16) == Ok(self.token))
            .then(|| number.parse().ok())
            .flatten()
    }
}

/// Sends probes through the one connection and awaits them on all the others.
pub(super) struct Prober {
    commands: Connection,
    mark: Arc<Mark>,
    inbounds: Vec<Arc<Inbound>>,
    run: Run,
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
    pub(super) fn new(
        commands: Connection,
        mark: Arc<Mark>,
        inbounds: Vec<Arc<Inbound>>,
        run: Run,
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
    pub(super) async fn first(
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
    pub(super) async fn run(mut self, shard: &Shard) -> Loss {
        loop {
            sleep(shard.options.probe_interval).await;
            match self.probe(shard).await {
                // Only one that accepts nothing any more: nodes leave one by one, and who has left
                // would never hear of what it still accepts from those who have not.
                Ok(Health::Fenced) if !shard.place.is_at(&self.server).await => {
                    return Loss::Replaced;
                }
                Ok(_) => {}
                Err(Unheard::Silence) => return Loss::Probe,
                Err(Unheard::Ended(Ended::Demoted)) => return Loss::Demoted,
                Err(Unheard::Ended(Ended::Renewed)) => return Loss::Renewed,
                Err(Unheard::Refused(error)) => match Refusal::of(&error) {
                    Ok(Refusal::Astray(_)) => return Loss::Moved,
                    Ok(_) => return Loss::Probe,
                    Err(loss) => return loss,
                },
            }
        }
    }

    async fn probe(&mut self, shard: &Shard) -> Result<Health, Unheard> {
        self.sent += 1;
        // A master that was demoted still hands on what is published to it: only its role tells;
        // and that it was promoted again since, only the replication's id.
        let mut request = redis::pipe();
        request
            .cmd(shard.verb())
            .arg(&self.mark.channel)
            .arg(self.mark.payload(self.sent))
            .ignore()
            .cmd("INFO")
            .arg("replication");
        let sent = Instant::now();
        let round = async {
            let (replication,): (String,) = request
                .query_async(&mut self.commands)
                .await
                .map_err(Unheard::Refused)?;
            self.run.goes_on(&replication).map_err(Unheard::Ended)?;
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
}
