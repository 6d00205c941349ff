//! Where a shard's server is: at an address, or wherever the sentinels say that the master of a
//! name is.
//!
//! Asked before each link is made, so that a link that was lost to a failover leads to the new
//! master next; and while one is up, when the server has lost all of the replicas it wants. What the
//! sentinels say is not believed: the link makes sure of the server's role.

use std::collections::HashMap;
use std::time::Duration;

use redis::{RedisResult, Value, from_redis_value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::{ConnectError, Server};
use crate::backend::redis::wire::command::Pipeline;

/// Where a server is found.
pub(crate) enum Place {
    /// At its address.
    Fixed(Server),
    /// Through sentinels.
    Named(Master),
}

/// A master that sentinels know by a name.
pub(crate) struct Master {
    name: String,
    /// How to speak with it, wherever it is.
    like: Server,
    sentinels: Vec<Server>,
}

/// What a sentinel says of a master.
struct Report {
    host: String,
    port: u16,
    /// Counts the failovers: a sentinel that is cut off from the others may name a master of the
    /// past.
    epoch: u64,
    doubt: Doubt,
}

/// Whether a sentinel takes the server that it names for one that has to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// It does not reach the server itself.
    Its,
    /// Enough of them do not, or the server is being replaced.
    Shared,
}

/// How long the last sentinels are waited for when most have answered: the one among them that
/// leads a failover knows it best.
const GRACE: Duration = Duration::from_millis(300);

impl Place {
    /// A server's own address is its place without sentinels; with some, its host is the name.
    pub(crate) fn new(server: Server, sentinels: &[Server]) -> Result<Self, ConnectError> {
        if sentinels.is_empty() {
            return Ok(Self::Fixed(server));
        }
        Ok(Self::Named(Master {
            name: server.host()?,
            like: server,
            sentinels: sentinels.to_vec(),
        }))
    }

    /// What the server is called in messages and metrics.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Fixed(server) => &server.address,
            Self::Named(master) => &master.name,
        }
    }

    /// The server, where it is always the same.
    pub(crate) const fn fixed(&self) -> Option<&Server> {
        match self {
            Self::Fixed(server) => Some(server),
            Self::Named(_) => None,
        }
    }

    /// Finds out where the server is now.
    pub(crate) async fn find(&self) -> Result<Server, ConnectError> {
        match self {
            Self::Fixed(server) => Ok(server.clone()),
            Self::Named(master) => master.find().await,
        }
    }

    /// Whether the server is at this address still, as far as anyone can tell.
    pub(crate) async fn is_at(&self, address: &str) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Named(master) => match master.find().await {
                Ok(server) => server.address == address,
                Err(_) => true,
            },
        }
    }
}

impl Master {
    /// Asks all sentinels, and goes by the newest of what they say.
    ///
    /// A server that they take for down is left alone, even if it answers. One that was killed and
    /// has just come back is a master until the sentinels, which are about to promote another,
    /// make it a replica some ten seconds later, and what it accepts meanwhile is lost.
    async fn find(&self) -> Result<Server, ConnectError> {
        let mut asked: JoinSet<_> = (self.sentinels.iter().cloned())
            .map(|sentinel| ask(sentinel, self.name.clone()))
            .collect();
        let (mut reports, mut silent, mut unknown) = (Vec::new(), Vec::new(), false);
        loop {
            let most_answered = reports.len() > self.sentinels.len() / 2;
            let grace = if most_answered { GRACE } else { Duration::MAX };
            let Ok(Some(answer)) = timeout(grace, asked.join_next()).await else {
                break;
            };
            match answer {
                Ok(Ok(Some(report))) => reports.push(report),
                Ok(Ok(None)) => unknown = true,
                Ok(Err(error)) => silent.push(error.why()),
                Err(fault) => silent.push(fault.to_string()),
            }
        }
        let Some(newest) = reports.iter().max_by_key(|report| report.epoch) else {
            return Err(if unknown {
                ConnectError::Unnamed(self.name.clone())
            } else {
                ConnectError::Sentinels(self.name.clone(), silent.join("; "))
            });
        };
        let server = self.like.named_by_sentinel(&newest.host, newest.port)?;
        if is_doubted(newest, &reports) {
            return Err(ConnectError::Doubted(self.name.clone(), server.address));
        }
        Ok(server)
    }
}

/// Whether the server that a report names is down for one sentinel that knows of others, or for
/// more than half of all by themselves.
fn is_doubted(named: &Report, reports: &[Report]) -> bool {
    let same = |report: &&Report| (&report.host, report.port) == (&named.host, named.port);
    let of_it = || reports.iter().filter(same).map(|report| report.doubt);
    let alone = of_it().filter(|doubt| *doubt == Doubt::Its).count();
    of_it().any(|doubt| doubt == Doubt::Shared) || alone * 2 > reports.len()
}

/// Asks a sentinel for a master, which it may not know.
async fn ask(sentinel: Server, name: String) -> Result<Option<Report>, ConnectError> {
    let connection = sentinel.open(|_| {}).await?;
    let mut request = Pipeline::default();
    request
        .add(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &name])
        .add(["SENTINEL", "MASTER", &name]);
    let replies = connection.exchange(&request).await;
    replies
        .and_then(Report::read)
        .map_err(|error| sentinel.explain(&error))
}

impl Report {
    fn read(replies: Vec<Value>) -> RedisResult<Option<Self>> {
        let mut replies = replies.into_iter().map(Value::extract_error);
        let mut next = || replies.next().unwrap_or(Ok(Value::Nil));
        let address: Option<(String, u16)> = from_redis_value(next()?)?;
        let Some((host, port)) = address else {
            return Ok(None);
        };
        let fields: HashMap<String, String> = from_redis_value(next()?)?;
        let field = |name| fields.get(name).map_or("", String::as_str);
        // In the midst of a failover the address is the next master's already, and the rest is
        // about the last.
        let is_about_it = field("ip") == host && field("port").parse() == Ok(port);
        let has = |flag| is_about_it && field("flags").split(',').any(|found| found == flag);
        let doubt = if has("o_down") || has("failover_in_progress") {
            Doubt::Shared
        } else if has("s_down") || has("disconnected") {
            Doubt::Its
        } else {
            Doubt::None
        };
        Ok(Some(Self {
            host,
            port,
            epoch: field("config-epoch").parse().unwrap_or(0),
            doubt,
        }))
    }
}
