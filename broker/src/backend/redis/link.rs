//! One link to Redis: a connection for commands, others that are subscribed, and what they do
//! from being made until one of them is lost.

mod attendant;
pub(crate) mod inbound;
mod nobody;
mod probe;
mod probe_token;
mod publisher;
mod reader;
mod sharded;
mod subscriber;
mod subscriptions;
pub(crate) mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use tokio::task::JoinSet;

use self::attendant::Attendant;
use self::inbound::Inbound;
use self::probe::Prober;
use self::probe_token::ProbeToken;
use self::publisher::Publisher;
use self::reader::Reader;
use self::subscriber::Subscriber;
use self::subscriptions::Subscriptions;
use crate::backend::redis::calls::{lease, members, publish, read};
use crate::backend::redis::server::connect::{ConnectError, Server};
use crate::backend::redis::server::incarnation::Incarnation;
use crate::backend::redis::shard::Shard;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::{Connection, Unasked};
use crate::backend::redis::wire::loss::{Alarm, Loss};
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::redis::wire::script::Script;
use crate::backend::{Refused, Sink};

/// How long a request may take once the link is up. The probe gives up far earlier, and all
/// requests with it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// A link whose subscriptions are in place and whose probe came back once.
pub(crate) struct Link {
    commands: Connection,
    subscriptions: Subscriptions,
    /// What the subscribers receive.
    pub(crate) inbounds: Vec<Arc<Inbound>>,
    alarm: Arc<Alarm>,
    mark: Arc<ProbeToken>,
    prober: Prober,
    publish: Script,
    read: Script,
    presence: members::Scripts,
    run: Incarnation,
    pub(crate) server: Server,
}

impl Link {
    /// Makes a link. Nothing reaches the sink before its inbounds are opened.
    pub(crate) async fn make(
        shard: &Arc<Shard>,
        sink: &Arc<dyn Sink>,
    ) -> Result<Self, ConnectError> {
        let server = shard.place.find().await?;
        let alarm = Arc::new(Alarm::default());
        let of_commands = Arc::clone(&alarm);
        let mut commands = server
            .open(move |unasked| {
                if matches!(unasked, Unasked::Closed) {
                    of_commands.raise(Loss::Closed);
                }
            })
            .await?;
        let run = server.identify(&commands).await?;
        let mark = Arc::new(ProbeToken::new(shard));
        let inbound = || {
            let (sink, shard) = (Arc::clone(sink), Arc::clone(shard));
            Inbound::new(sink, shard, Arc::clone(&mark), Arc::clone(&alarm))
        };
        let subscribers = Subscriber::open_each(&server, &shard.options, inbound).await?;
        let mut ids = vec![server.introduce(&commands).await?];
        ids.extend(subscribers.iter().map(|subscriber| subscriber.id));
        shard
            .predecessor
            .end(&server, &commands, run.process())
            .await?;
        shard.predecessor.set(run.process(), ids);

        let explain = |error| server.explain(&error);
        let publish = Script::load(&commands, publish::SCRIPT)
            .await
            .map_err(explain)?;
        let read = Script::load(&commands, read::SCRIPT)
            .await
            .map_err(explain)?;
        let presence = members::Scripts {
            members: Script::load(&commands, members::SCRIPT)
                .await
                .map_err(explain)?,
            lease: Script::load(&commands, lease::SCRIPT)
                .await
                .map_err(explain)?,
        };
        let mut subscriptions = Subscriptions::new(shard, subscribers);
        subscriptions
            .restore(&mark.channel)
            .await
            .map_err(explain)?;

        commands.set_timeout(RESPONSE_TIMEOUT);
        subscriptions.set_timeout(RESPONSE_TIMEOUT);
        let inbounds = subscriptions.inbounds();
        let mut prober = Prober::new(
            commands.clone(),
            Arc::clone(&mark),
            inbounds.clone(),
            run.clone(),
            &server,
        );
        prober.first(shard, &server).await?;
        Ok(Self {
            commands,
            subscriptions,
            inbounds,
            alarm,
            mark,
            prober,
            publish,
            read,
            presence,
            run,
            server,
        })
    }

    /// Which run of the server it leads to.
    pub(crate) fn run(&self) -> String {
        self.run.id()
    }

    /// Reads, writes and deletes a key that nobody has, and reads the time: so it shows whether keys
    /// may be read and written, and leases be timed. A server that takes no writes just now is of use
    /// all the same.
    pub(crate) async fn touch_a_key(&self) -> Result<(), ConnectError> {
        let key = &self.mark.channel;
        let mut request = Pipeline::default();
        request
            .add(["GET", key])
            .add(["SETRANGE", key, "0", ""])
            .add(["DEL", key])
            .add(["TIME"]);
        let explain = |error: &RedisError| self.server.explain(error);
        let replies = self.commands.exchange(&request).await;
        for reply in replies.map_err(|error| explain(&error))? {
            if let Err(error) = reply.extract_error()
                && !is_state(&error)
            {
                return Err(explain(&error));
            }
        }
        Ok(())
    }

    /// Does what is asked for until the link is lost. At its side `restore` runs to its end, or
    /// is dropped when the link is lost before that. What is under way then is dropped, and so
    /// answered: unavailable.
    ///
    /// A task each: what wakes for every publication should not look at all the others, too.
    pub(crate) async fn serve(self, shard: &Arc<Shard>, restore: impl Future<Output = ()>) -> Loss {
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
        tasks.spawn(self.subscriptions.run());
        let of = Arc::clone(shard);
        tasks.spawn(async move { self.prober.run(&of).await });
        let restore = async {
            restore.await;
            std::future::pending().await
        };
        let loss = tokio::select! {
            biased;
            loss = self.alarm.raised() => loss,
            Some(ended) = tasks.join_next() => ended.unwrap_or(Loss::Internal),
            loss = restore => loss,
        };
        // None of them goes on beside the next link.
        tasks.shutdown().await;
        loss
    }
}

/// Whether an error tells of a state that passes, and not of what the node may do.
fn is_state(error: &RedisError) -> bool {
    match Refusal::of(error) {
        Ok(Refusal::Passing(refused, _)) => refused != Refused::NoPermission,
        _ => false,
    }
}
