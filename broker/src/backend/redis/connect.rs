//! Opens connections to the server, and says in one line what is wrong where that fails.

mod error;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisError, TlsCertificates, Value,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Options;
use super::run::{Run, field};

pub use error::ConnectError;

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

/// Where a server is, and how to speak with it.
#[derive(Clone)]
pub(super) struct Server {
    client: Client,
    /// For messages and metrics: host and port, or the path; and the database, unless it is 0.
    pub(super) address: String,
    options: Arc<Options>,
    /// Who gave the address.
    source: Source,
}

/// Who gave a server's address, and so has to be looked at where it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Url,
    Sentinel,
}

impl Server {
    /// Reads an address, which stands in this key of the configuration.
    pub(super) fn new(
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
            _ => Client::open(info).map_err(|error| {
                ConnectError::Unreachable(address.clone(), without(&error, None))
            })?,
        };
        Ok(Self {
            client,
            address,
            options: Arc::clone(options),
            source,
        })
    }

    /// The host in the address.
    pub(super) fn host(&self) -> Result<String, ConnectError> {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Ok(host.clone()),
            _ => Err(ConnectError::NoHost(self.address.clone())),
        }
    }

    /// Another server, named by a sentinel, to be spoken with like this one: credentials,
    /// database, and whether through TLS.
    pub(super) fn named_by_sentinel(&self, host: &str, port: u16) -> Result<Self, ConnectError> {
        self.at(host, port, Source::Sentinel)
    }

    fn at(&self, host: &str, port: u16, source: Source) -> Result<Self, ConnectError> {
        let info = self.client.get_connection_info().clone();
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

    /// Opens a connection; `push` is called with all that the server says unasked.
    ///
    /// A request waits at most as long as connecting may take, until that is
    /// [raised](MultiplexedConnection::set_response_timeout).
    pub(super) async fn open(
        &self,
        push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.connect_timeout))
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
            .arg(format!("fanfare:{}", self.options.node))
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
    ) -> Result<Run, ConnectError> {
        let (server, replication): (String, String) = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("replication")
            .query_async(connection)
            .await
            .map_err(|error| self.explain(&error))?;
        let mode = field(&server, "redis_mode").unwrap_or("standalone");
        let remedy = match mode {
            "sentinel" => Some("name it in redis.sentinels, and in redis.url the master's name"),
            "cluster" => Some("which is not supported yet; give a single master"),
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
                Source::Sentinel => ConnectError::NotPromoted(at, master),
            });
        }
        Run::read(&server, &replication).ok_or_else(|| ConnectError::NotRedis(self.address.clone()))
    }

    /// Says what an error means to whoever runs the node.
    pub(super) fn explain(&self, error: &RedisError) -> ConnectError {
        let at = self.address.clone();
        let settings = self.client.get_connection_info().redis_settings();
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
