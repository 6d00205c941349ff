//! Opens connections to the server, and says in one line what is wrong where that fails.

mod error;

use std::sync::Arc;

use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Value,
};
use tokio::time::timeout;

pub use error::ConnectError;

use super::incarnation::{Incarnation, field};
use crate::backend::redis::options::Options;
use crate::backend::redis::wire::command::Pipeline;
use crate::backend::redis::wire::connection::{Connection, Unasked};
use crate::backend::redis::wire::resp::text;
use crate::backend::redis::wire::stream::{Way, trust};

/// Where a server is, and how to speak with it.
#[derive(Clone)]
pub(crate) struct Server {
    info: ConnectionInfo,
    way: Way,
    /// For messages and metrics: host and port, or the path; and the database, unless it is 0.
    pub(crate) address: String,
    options: Arc<Options>,
    /// Who gave the address.
    source: Source,
}

/// Who gave a server's address, and so has to be looked at where it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Url,
    Sentinel,
    Cluster,
}

impl Server {
    /// Reads an address, which stands in this key of the configuration.
    pub(crate) fn new(
        key: &'static str,
        url: &str,
        options: &Arc<Options>,
    ) -> Result<Self, ConnectError> {
        // What the parser says of a bad address could quote the password.
        let refuse = |error: RedisError| {
            let problem = match error.kind() {
                ErrorKind::InvalidClientConfig => without(&error, Some(url)),
                _ => "not an address".to_owned(),
            };
            ConnectError::Url(key, problem)
        };
        let info = url.into_connection_info().map_err(refuse)?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            let problem = "TLS without looking at certificates (#insecure) is not spoken";
            return Err(ConnectError::Url(key, problem.to_owned()));
        }
        Self::with(info, options, Source::Url)
    }

    fn with(
        info: ConnectionInfo,
        options: &Arc<Options>,
        source: Source,
    ) -> Result<Self, ConnectError> {
        let mut address = info.addr().to_string();
        if info.redis_settings().db() != 0 {
            address = format!("{address}/{}", info.redis_settings().db());
        }
        let way = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Way::Tcp(host.clone(), *port),
            ConnectionAddr::TcpTls { host, port, .. } => {
                let trust = trust(options.authorities.as_deref());
                Way::Tls(
                    host.clone(),
                    *port,
                    trust.map_err(ConnectError::Authorities)?,
                )
            }
            ConnectionAddr::Unix(path) => Way::Unix(path.clone()),
            other => {
                let problem = format!("{other} is no address that is known here");
                return Err(ConnectError::Unreachable(address, problem));
            }
        };
        Ok(Self {
            info,
            way,
            address,
            options: Arc::clone(options),
            source,
        })
    }

    /// The host in the address.
    pub(crate) fn host(&self) -> Result<String, ConnectError> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Ok(host.clone()),
            _ => Err(ConnectError::NoHost(self.address.clone())),
        }
    }

    /// Another server, named by a sentinel, to be spoken with like this one: credentials,
    /// database, and whether through TLS.
    pub(crate) fn named_by_sentinel(&self, host: &str, port: u16) -> Result<Self, ConnectError> {
        self.at(host, port, Source::Sentinel)
    }

    /// Another server, named by the cluster that this one is part of.
    pub(crate) fn named_by_cluster(&self, host: &str, port: u16) -> Result<Self, ConnectError> {
        self.at(host, port, Source::Cluster)
    }

    /// What is wrong with a server that should be part of a cluster, and is not.
    pub(crate) fn not_a_cluster(&self) -> ConnectError {
        ConnectError::Mode(
            self.address.clone(),
            "standalone".to_owned(),
            "leave out redis.cluster, or name nodes of the cluster in redis.url",
        )
    }

    fn at(&self, host: &str, port: u16, source: Source) -> Result<Self, ConnectError> {
        let info = self.info.clone();
        let mut addr = info.addr().clone();
        match &mut addr {
            ConnectionAddr::Tcp(of, at)
            | ConnectionAddr::TcpTls {
                host: of, port: at, ..
            } => (*of, *at) = (host.to_owned(), port),
            _ => return Err(ConnectError::NoHost(self.address.clone())),
        }
        Self::with(info.set_addr(addr), &self.options, source)
    }

    /// Opens a connection; `unasked` is called with all that the server says unasked.
    ///
    /// A request waits at most as long as connecting may take, until that is
    /// [raised](Connection::set_timeout).
    pub(crate) async fn open(
        &self,
        unasked: impl Fn(Unasked<'_>) + Send + Sync + 'static,
    ) -> Result<Connection, ConnectError> {
        let patience = self.options.connect_timeout;
        let opened = async {
            let stream = self.way.dial().await?;
            let connection = Connection::new(stream, patience, unasked);
            self.greet(&connection).await?;
            Ok(connection)
        };
        match timeout(patience, opened).await {
            Ok(outcome) => outcome.map_err(|error| self.explain(&error)),
            Err(_) => Err(ConnectError::Timeout(self.address.clone(), patience)),
        }
    }

    /// Agrees on the protocol, gives the credentials and selects the database.
    async fn greet(&self, connection: &Connection) -> RedisResult<()> {
        let settings = self.info.redis_settings();
        let mut request = Pipeline::default();
        match settings.password() {
            Some(password) => {
                let user = settings.username().unwrap_or("default");
                request.add(["HELLO", "3", "AUTH", user, password])
            }
            None => request.add(["HELLO", "3"]),
        };
        for (name, value) in [
            ("LIB-NAME", "fanfare"),
            ("LIB-VER", env!("CARGO_PKG_VERSION")),
        ] {
            request.add(["CLIENT", "SETINFO", name, value]);
        }
        if settings.db() != 0 {
            request.add(["SELECT", &settings.db().to_string()]);
        }
        let mut replies = connection.exchange(&request).await?.into_iter();
        if let Some(Value::ServerError(error)) = replies.next() {
            let detail = error.details().unwrap_or_default();
            let unknown = detail.contains("unknown command") || error.code() == "NOPROTO";
            return Err(if unknown {
                (ErrorKind::RESP3NotSupported, "HELLO is not known").into()
            } else if settings.password().is_some() && error.code() == "ERR" {
                let detail = detail.to_owned();
                (ErrorKind::AuthenticationFailed, "not accepted", detail).into()
            } else {
                error.into()
            });
        }
        // What the library is called is no matter.
        match replies.nth(2) {
            Some(Value::ServerError(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Names a connection, for whoever looks at CLIENT LIST, and asks what the server calls it.
    pub(crate) async fn introduce(
        &self,
        connection: &Connection,
    ) -> Result<Option<i64>, ConnectError> {
        let name = format!("fanfare:{}", self.options.node);
        let mut request = Pipeline::default();
        request
            .add(["CLIENT", "SETNAME", &name])
            .add(["CLIENT", "ID"]);
        let replies = connection
            .exchange(&request)
            .await
            .map_err(|error| self.explain(&error))?;
        // A name that Redis does not take is no matter.
        match replies[..] {
            [_, Value::Int(id)] => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    /// Has the server close connections, where it still has them.
    pub(crate) async fn close(
        &self,
        connection: &Connection,
        ids: &[i64],
    ) -> Result<(), ConnectError> {
        let mut request = Pipeline::default();
        for id in ids {
            request.add(["CLIENT", "KILL", "ID", &id.to_string()]);
        }
        connection
            .exchange(&request)
            .await
            .map_err(|error| self.explain(&error))?;
        Ok(())
    }

    /// Asks which run of the server this is, having made sure that it is a master.
    pub(crate) async fn identify(
        &self,
        connection: &Connection,
    ) -> Result<Incarnation, ConnectError> {
        let mut request = Pipeline::default();
        request.add(["INFO", "server"]).add(["INFO", "replication"]);
        let read = async {
            let [server, replication] = connection.call(&request).await?;
            Ok((text(server)?, text(replication)?))
        };
        let (server, replication) = read.await.map_err(|error| self.explain(&error))?;
        let mode = field(&server, "redis_mode").unwrap_or("standalone");
        let remedy = match mode {
            "sentinel" => Some("name it in redis.sentinels, and in redis.url the master's name"),
            "cluster" if self.source != Source::Cluster => Some("set redis.cluster = true"),
            _ => None,
        };
        if let Some(remedy) = remedy {
            let at = self.address.clone();
            return Err(ConnectError::Mode(at, mode.to_owned(), remedy));
        }
        if field(&replication, "role") != Some("master") {
            let of = |name| field(&replication, name).unwrap_or("?");
            let master = format!("{}:{}", of("master_host"), of("master_port"));
            let at = self.address.clone();
            return Err(match self.source {
                Source::Url => ConnectError::Replica(at, master),
                Source::Sentinel => ConnectError::NotPromoted(at, master, "the sentinels say"),
                Source::Cluster => ConnectError::NotPromoted(at, master, "the cluster says"),
            });
        }
        let version = field(&server, "redis_version").and_then(version);
        // XADD NOMKSTREAM
        if version.is_some_and(|version| version < (6, 2)) {
            return Err(ConnectError::TooOld(self.address.clone()));
        }
        // SPUBLISH
        if self.source == Source::Cluster && version.is_some_and(|version| version < (7, 0)) {
            return Err(ConnectError::TooOldForCluster(self.address.clone()));
        }
        Incarnation::read(&server, &replication)
            .ok_or_else(|| ConnectError::NotRedis(self.address.clone()))
    }

    /// Says what an error means to whoever runs the node.
    pub(crate) fn explain(&self, error: &RedisError) -> ConnectError {
        let at = self.address.clone();
        let settings = self.info.redis_settings();
        let why = without(error, settings.password());
        let code = error.code().unwrap_or_default();
        match error.kind() {
            _ if error.is_timeout() => ConnectError::Timeout(at, self.options.connect_timeout),
            ErrorKind::RESP3NotSupported => ConnectError::TooOld(at),
            ErrorKind::AuthenticationFailed => ConnectError::Credentials(at, why),
            _ if matches!(code, "WRONGPASS" | "NOAUTH") => ConnectError::Credentials(at, why),
            _ if code == "NOPERM" => ConnectError::Permission(at, why),
            _ if why.contains("switch database") || why.contains("DB index") => {
                ConnectError::Database(at, settings.db())
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => ConnectError::NotRedis(at),
            _ if why.contains("peer certificate") => ConnectError::Certificate(at, why),
            ErrorKind::Io | ErrorKind::InvalidClientConfig | ErrorKind::Client => {
                ConnectError::Unreachable(at, why)
            }
            _ => ConnectError::Refused(at, why),
        }
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// An error's text in one line, without a secret that it may quote: an old Redis repeats the
/// arguments of a command that it does not know.
fn without(error: &RedisError, secret: Option<&str>) -> String {
    let text = error.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match secret {
        Some(secret) if !secret.is_empty() => line.replace(secret, "***"),
        _ => line,
    }
}
