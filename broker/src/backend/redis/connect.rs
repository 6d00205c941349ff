//! Opens connections to the server, and says in one line what is wrong where that fails.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    PushInfo, RedisError, TlsCertificates, Value,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use super::Options;

/// Why Redis cannot be used. One line that names the remedy and holds no password.
#[derive(Debug, Clone, Error)]
pub enum ConnectError {
    /// The address is not understood.
    #[error(
        "redis.url: {0}; give redis://[user:password@]host[:port][/database], rediss:// for TLS, \
         or unix:///path"
    )]
    Url(String),
    /// The given certificate authorities are not understood.
    #[error("the certificate authorities for Redis: {0}; give certificates in PEM form")]
    Authorities(String),
    /// The server's certificate was not accepted.
    #[error(
        "the certificate of Redis at {0} is not accepted: {1}; name the host as the certificate \
         does, and give the authority that signed it, unless that is a public one"
    )]
    Certificate(String, String),
    /// The metrics could not be made.
    #[error(transparent)]
    Metrics(Arc<prometheus::Error>),
    /// No connection came about, or it broke.
    #[error(
        "Redis at {0} cannot be reached: {1}; is it running, and redis.url right, its scheme too \
         (rediss:// with TLS, redis:// without)?"
    )]
    Unreachable(String, String),
    /// The server took too long.
    #[error(
        "Redis at {0} did not answer within {1:?}; check redis.url, the network and whether TLS \
         is expected (rediss://), or raise redis.connect_timeout"
    )]
    Timeout(String, Duration),
    /// The server wants other credentials.
    #[error("Redis at {0} refuses the credentials in redis.url: {1}; correct user and password")]
    Credentials(String, String),
    /// The user may not do what a node has to.
    #[error(
        "Redis at {0} does not permit what a node has to do: {1}; grant the user \
         +@read +@write +@pubsub +@scripting +@connection +info +time ~fanfare:* &fanfare:*"
    )]
    Permission(String, String),
    /// The server has no such database.
    #[error("Redis at {0} has no database {1}; correct the number at the end of redis.url")]
    Database(String, i64),
    /// The server does not speak RESP3.
    #[error("Redis at {0} is too old; run Redis 6 or newer, or Valkey")]
    TooOld(String),
    /// Something else answers there.
    #[error(
        "what answers at {0} is not Redis; correct redis.url, its scheme too (rediss:// with TLS, \
         redis:// without)"
    )]
    NotRedis(String),
    /// The server is part of something else.
    #[error("Redis at {0} runs in {1} mode, which is not supported yet; give a single master")]
    Mode(String, String),
    /// The server takes no writes.
    #[error("Redis at {0} is a replica of {1}; point redis.url at the master")]
    Replica(String, String),
    /// The server refused something else.
    #[error("Redis at {0} refused to serve: {1}")]
    Refused(String, String),
}

impl ConnectError {
    /// Whether waiting may help: the server is not there yet, or not ready.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(..) | Self::Timeout(..) | Self::Replica(..) | Self::Refused(..)
        )
    }
}

/// Keepalive finds a peer that has gone while nothing is sent; the user timeout one that has gone
/// while something is. The probe is what finds everything else, and usually these too.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// How many requests wait for a connection's driver. Publisher, reader, subscriber and probe have
/// one each under way.
const REQUESTS: usize = 16;

/// Gathers a pipeline into few writes.
const WRITE_BUFFER: usize = 256 * 1024;

/// Where Redis is, and how to speak with it.
pub(super) struct Server {
    client: Client,
    /// For messages: host and port, or the path.
    pub(super) address: String,
    timeout: Duration,
    node: String,
}

impl Server {
    pub(super) fn new(options: &Options) -> Result<Self, ConnectError> {
        // What the parser says of a bad address could quote the password.
        let url = |error: RedisError| {
            ConnectError::Url(match error.kind() {
                ErrorKind::InvalidClientConfig => without(&error, Some(&options.url)),
                _ => "not an address".to_owned(),
            })
        };
        let info = options.url.as_str().into_connection_info().map_err(url)?;
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(
                TcpKeepalive::new()
                    .with_time(KEEPALIVE)
                    .with_interval(KEEPALIVE_INTERVAL)
                    .with_retries(KEEPALIVE_RETRIES),
            )
            .set_user_timeout(KEEPALIVE + KEEPALIVE_INTERVAL);
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("fanfare", env!("CARGO_PKG_VERSION"));
        let info = info.set_tcp_settings(tcp).set_redis_settings(settings);
        let address = info.addr().to_string();
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // redis-rs takes the process' provider, and panics where there is none. An error
            // says that there is one already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = match (&options.authorities, info.addr()) {
            (Some(pem), ConnectionAddr::TcpTls { .. }) => {
                if CertificateDer::pem_slice_iter(pem).next().is_none() {
                    return Err(ConnectError::Authorities("there are none".to_owned()));
                }
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                Client::build_with_tls(info, certificates)
                    .map_err(|error| ConnectError::Authorities(error.to_string()))?
            }
            _ => Client::open(info).map_err(url)?,
        };
        Ok(Self {
            client,
            address,
            timeout: options.connect_timeout,
            node: options.node.clone(),
        })
    }

    /// Opens a connection; `push` is called with all that the server says unasked.
    ///
    /// A request waits at most as long as connecting may take, until that is
    /// [raised](MultiplexedConnection::set_response_timeout).
    pub(super) async fn open(
        &self,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(REQUESTS)
            .set_write_backpressure_boundary(WRITE_BUFFER)
            .set_push_sender(move |info| {
                push(info);
                Ok::<_, std::convert::Infallible>(())
            });
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.explain(&error))
    }

    /// Names a connection, for whoever looks at CLIENT LIST, and asks what the server calls it.
    pub(super) async fn introduce(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<i64>, ConnectError> {
        let mut request = redis::pipe();
        request
            .cmd("CLIENT")
            .arg("SETNAME")
            .arg(format!("fanfare:{}", self.node))
            .cmd("CLIENT")
            .arg("ID");
        let replies = connection
            .send_packed_commands(&request, 0, request.len())
            .await
            .map_err(|error| self.explain(&error))?;
        // A name that Redis does not take is no matter.
        match replies[..] {
            [_, Value::Int(id)] => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    /// Has the server close connections, where it still has them.
    pub(super) async fn close(
        &self,
        connection: &mut MultiplexedConnection,
        ids: &[i64],
    ) -> Result<(), ConnectError> {
        let mut request = redis::pipe();
        for id in ids {
            request.cmd("CLIENT").arg("KILL").arg("ID").arg(id);
        }
        if request.is_empty() {
            return Ok(());
        }
        connection
            .send_packed_commands(&request, 0, request.len())
            .await
            .map_err(|error| self.explain(&error))?;
        Ok(())
    }

    /// Asks which run of the server this is, having made sure that it is a master.
    pub(super) async fn identify(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<String, ConnectError> {
        let (server, replication): (String, String) = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("replication")
            .query_async(connection)
            .await
            .map_err(|error| self.explain(&error))?;
        if !is_master(&replication) {
            let of = |name| field(&replication, name).unwrap_or("?");
            let master = format!("{}:{}", of("master_host"), of("master_port"));
            return Err(ConnectError::Replica(self.address.clone(), master));
        }
        if let Some(mode @ ("cluster" | "sentinel")) = field(&server, "redis_mode") {
            return Err(ConnectError::Mode(self.address.clone(), mode.to_owned()));
        }
        let run = field(&server, "run_id")
            .and_then(|run| run.get(..RUN))
            .ok_or_else(|| ConnectError::NotRedis(self.address.clone()))?;
        Ok(run.to_owned())
    }

    /// Says what an error means to whoever runs the node.
    pub(super) fn explain(&self, error: &RedisError) -> ConnectError {
        let at = self.address.clone();
        let settings = self.client.get_connection_info().redis_settings();
        let why = without(error, settings.password());
        let code = error.code().unwrap_or_default();
        match error.kind() {
            _ if error.is_timeout() => ConnectError::Timeout(at, self.timeout),
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

/// How much of a run id tells one run of a server from another.
const RUN: usize = 16;

/// Reads the section `replication` of INFO.
pub(super) fn is_master(replication: &str) -> bool {
    field(replication, "role") == Some("master")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
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
