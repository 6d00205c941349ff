//! One link to Redis: a connection for commands, another that is subscribed, and what they do
//! from being made until one of them is lost.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{ConnectError, Server};
use super::connection::{Connection, Unasked};
use super::inbound::Inbound;
use super::members::{Attendant, Scripts};
use super::publisher::Publisher;
use super::reader::Reader;
use super::refusal::Refusal;
use super::run::{Ended, Health, Run};
use super::script::Script;
use super::{Shard, Sink};

const PUBLISH: &str = include_str!("publish.lua");
const READ: &str = include_str!("read.lua");
const MEMBERS: &str = include_str!("members.lua");
const LEASE: &str = include_str!("lease.lua");

/// How long a request may take once the link is up. The probe gives up far earlier, and all
/// requests with it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a link was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// A connection was closed, or reading or writing it failed.
    Closed,
    /// The probe did not come back in time.
    Probe,
    /// The server has become a replica.
    Demoted,
    /// The server goes on as another run: it was promoted anew, or its first replica came.
    Renewed,
    /// In a cluster: the slot of the probe's channel went to another server.
    Moved,
    /// The server refuses writes for want of replicas, and the sentinels name another.
    Replaced,
    /// The node's own workers are too far behind.
    Congested,
    /// A fault of this program.
    Internal,
}

impl Loss {
    /// In the order of their declaration.
    pub(super) const ALL: [Self; 8] = [
        Self::Closed,
        Self::Probe,
        Self::Demoted,
        Self::Renewed,
        Self::Moved,
        Self::Replaced,
        Self::Congested,
        Self::Internal,
    ];

    /// The metric's label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Probe => "probe",
            Self::Demoted => "demoted",
            Self::Renewed => "renewed",
            Self::Moved => "moved",
            Self::Replaced => "replaced",
            Self::Congested => "congested",
            Self::Internal => "internal",
        }
    }
}

/// A link whose subscriptions are in place and whose probe came back once.
pub(super) struct Link {
    commands: Connection,
    subscriber: Connection,
    pub(super) inbound: Arc<Inbound>,
    prober: Prober,
    publish: Script,
    read: Script,
    presence: Scripts,
    run: Run,
    pub(super) server: Server,
}

impl Link {
    /// Makes a link. Nothing reaches the sink before its inbound is opened.
    pub(super) async fn make(
        shard: &Arc<Shard>,
        sink: &Arc<dyn Sink>,
    ) -> Result<Self, ConnectError> {
        let server = shard.place.find().await?;
        let inbound = Arc::new(Inbound::new(Arc::clone(sink), Arc::clone(shard)));
        let of_commands = Arc::clone(&inbound);
        let mut commands = server
            .open(move |unasked| {
                if matches!(unasked, Unasked::Closed) {
                    of_commands.lose(Loss::Closed);
                }
            })
            .await?;
        let run = server.identify(&mut commands).await?;
        let of_subscriber = Arc::clone(&inbound);
        let mut subscriber = server
            .open(move |unasked| of_subscriber.take(unasked))
            .await?;
        let ids = [
            server.introduce(&mut commands).await?,
            server.introduce(&mut subscriber).await?,
        ];
        shard
            .predecessor
            .end(&server, &mut commands, run.process())
            .await?;
        shard.predecessor.set(run.process(), ids);

        let explain = |error| server.explain(&error);
        let publish = Script::load(&mut commands, PUBLISH)
            .await
            .map_err(explain)?;
        let read = Script::load(&mut commands, READ).await.map_err(explain)?;
        let presence = Scripts {
            members: Script::load(&mut commands, MEMBERS)
                .await
                .map_err(explain)?,
            lease: Script::load(&mut commands, LEASE).await.map_err(explain)?,
        };
        shard
            .interest
            .resubscribe(&mut subscriber, shard, &inbound)
            .await
            .map_err(explain)?;

        commands.set_timeout(RESPONSE_TIMEOUT);
        subscriber.set_timeout(RESPONSE_TIMEOUT);
        let mut prober = Prober {
            connection: commands.clone(),
            inbound: Arc::clone(&inbound),
            run: run.clone(),
            server: server.address.clone(),
            sent: 0,
        };
        // Two connections to one address need not lead to one server.
        prober.probe(shard).await.map_err(|unheard| match unheard {
            Unheard::Refused(error) => server.explain(&error),
            Unheard::Ended(Ended::Demoted) => {
                ConnectError::Replica(server.address.clone(), "another server".to_owned())
            }
            Unheard::Ended(Ended::Renewed) => ConnectError::Renewed(server.address.clone()),
            Unheard::Silence => {
                ConnectError::Timeout(server.address.clone(), shard.options.probe_timeout)
            }
        })?;
        Ok(Self {
            commands,
            subscriber,
            inbound,
            prober,
            publish,
            read,
            presence,
            run,
            server,
        })
    }

    /// Which run of the server it leads to.
    pub(super) fn run(&self) -> String {
        self.run.id()
    }

    /// Reads and deletes a key that nobody has, and the time, which shows whether keys may be read
    /// and written, and leases be timed.
    pub(super) async fn touch_a_key(&mut self) -> Result<(), ConnectError> {
        redis::pipe()
            .cmd("GET")
            .arg(self.inbound.probe_channel())
            .cmd("DEL")
            .arg(self.inbound.probe_channel())
            .cmd("TIME")
            .exec_async(&mut self.commands)
            .await
            .map_err(|error| self.server.explain(&error))
    }

    /// Does what is asked for until the link is lost. At its side `restore` runs to its end, or
    /// is dropped when the link is lost before that. What is under way then is dropped, and so
    /// answered: unavailable.
    ///
    /// A task each: what wakes for every publication should not look at all the others, too.
    pub(super) async fn serve(self, shard: &Arc<Shard>, restore: impl Future<Output = ()>) -> Loss {
        let mut tasks = JoinSet::new();
        let commands = self.commands.clone();
        let publisher = Publisher::new(shard, commands, self.publish, self.run.id());
        tasks.spawn(publisher.run());
        let attendant = Attendant {
            shard: Arc::clone(shard),
            connection: self.commands.clone(),
            scripts: self.presence,
        };
        tasks.spawn(attendant.run());
        let reader = Reader {
            shard: Arc::clone(shard),
            connection: self.commands,
            script: self.read,
            run: self.run.id(),
        };
        tasks.spawn(reader.run());
        let (subscriber, inbound) = (self.subscriber, Arc::clone(&self.inbound));
        let of = Arc::clone(shard);
        tasks.spawn(async move { of.interest.apply(subscriber, &of, &inbound).await });
        let of = Arc::clone(shard);
        tasks.spawn(async move { self.prober.run(&of).await });
        let restore = async {
            restore.await;
            std::future::pending().await
        };
        let loss = tokio::select! {
            biased;
            loss = self.inbound.lost() => loss,
            Some(ended) = tasks.join_next() => ended.unwrap_or(Loss::Internal),
            loss = restore => loss,
        };
        // None of them goes on beside the next link.
        tasks.shutdown().await;
        loss
    }
}

/// Sends messages through the one connection and awaits them on the other.
struct Prober {
    connection: Connection,
    inbound: Arc<Inbound>,
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
    async fn run(mut self, shard: &Shard) -> Loss {
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
            .arg(self.inbound.probe_channel())
            .arg(self.inbound.probe(self.sent))
            .ignore()
            .cmd("INFO")
            .arg("replication");
        let sent = Instant::now();
        let round = async {
            let (replication,): (String,) = request
                .query_async(&mut self.connection)
                .await
                .map_err(Unheard::Refused)?;
            self.run.goes_on(&replication).map_err(Unheard::Ended)?;
            self.inbound.heard(self.sent).await;
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
