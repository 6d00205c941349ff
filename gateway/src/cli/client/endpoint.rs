//! Where to connect: a checked URL, and the connection to it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use fanfare_shared::config::{Listen, Secret};
use hyper::Uri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::error::ConnectError;
use super::tls::{Trust, explain};

/// A connection, whatever carries it.
pub(in crate::cli) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A URL, taken apart.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Endpoint {
    scheme: &'static str,
    place: Place,
    /// With its query; starts with a slash.
    path: String,
    /// What is shown there, if anything.
    token: Option<Secret>,
    /// Whose certificates are trusted; without an answer the public authorities'.
    trust: Option<Trust>,
}

/// Where a node listens.
#[derive(Debug, Clone)]
enum Place {
    Host {
        /// An IPv6 address has its brackets.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads a `ws://` or `wss://` URL, or `unix:` and a path. Without a path in it, `/ws` is meant.
    pub(in crate::cli) fn ws(text: &str) -> Result<Self, String> {
        let give = "give one such as ws://127.0.0.1:8080/ws";
        Self::parse(text, ["ws", "wss"], ["/ws"; 2], give)
    }

    /// Reads an `http://` or `https://` URL, or `unix:` and a path, where `/readyz` is meant.
    pub(in crate::cli) fn http(text: &str) -> Result<Self, String> {
        let give = "give one such as http://127.0.0.1:8081/readyz";
        Self::parse(text, ["http", "https"], ["/", "/readyz"], give)
    }

    /// Reads an `http://` or `https://` URL that the paths of the API come behind, or `unix:` and a path.
    pub(in crate::cli) fn api(text: &str) -> Result<Self, String> {
        let give = "give one such as http://127.0.0.1:8081";
        let endpoint = Self::parse(text, ["http", "https"], ["/"; 2], give)?;
        if endpoint.path.contains('?') {
            return Err(format!("a query has no place in it; {give}"));
        }
        Ok(endpoint)
    }

    /// The same place with this path behind its own.
    pub(in crate::cli) fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path.trim_end_matches('/'))
    }

    /// A Unix socket, whose node may speak TLS there.
    pub(in crate::cli) fn unix(socket: PathBuf, path: &str, is_tls: bool) -> Self {
        Self {
            scheme: if is_tls { "wss" } else { "ws" },
            place: Place::Unix(socket),
            path: path.to_owned(),
            token: None,
            trust: None,
        }
    }

    fn parse(
        text: &str,
        schemes: [&'static str; 2],
        [default_path, unix_path]: [&str; 2],
        give: &str,
    ) -> Result<Self, String> {
        if text.starts_with("unix:") {
            return match text.parse()? {
                Listen::Unix(socket) => Ok(Self::unix(socket, unix_path, false)),
                Listen::Tcp(_) => Err(format!("not a URL; {give}")),
            };
        }
        let Some((said, _)) = text.split_once("://") else {
            return Err(format!("not a URL; {give}"));
        };
        let Some(scheme) = schemes.into_iter().find(|scheme| *scheme == said) else {
            let [plain, tls] = schemes;
            return Err(format!("the scheme is not {plain} or {tls}; {give}"));
        };
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {give}"))?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("no host; {give}"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(format!("a user has no place in it; {give}"));
        }
        // `Uri` takes a port that is no number for none.
        let port = match authority[host.len()..].strip_prefix(':') {
            None | Some("") if is_tls(scheme) => 443,
            None | Some("") => 80,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("the port is not a number from 1 to 65535; {give}")),
            },
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let path = match path {
            "" | "/" => default_path.to_owned(),
            path if path.starts_with('?') => format!("{default_path}{path}"),
            path => path.to_owned(),
        };
        Ok(Self {
            scheme,
            place: Place::Host {
                host: host.to_owned(),
                port,
            },
            path,
            token: None,
            trust: None,
        })
    }

    /// The same where these certificates are trusted.
    pub(in crate::cli) fn trusting(self, trust: Trust) -> Self {
        Self {
            trust: Some(trust),
            ..self
        }
    }

    /// The same with a token to show there.
    pub(in crate::cli) fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }

    /// What is shown there, if anything.
    pub(in crate::cli) const fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// What stands in the `Host` header.
    pub(in crate::cli) fn authority(&self) -> String {
        match &self.place {
            Place::Host { host, port } => format!("{host}:{port}"),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }

    /// The path with its query.
    pub(in crate::cli) fn path(&self) -> &str {
        &self.path
    }

    /// Connects, and shakes hands where TLS is spoken.
    pub(in crate::cli) async fn dial(&self) -> Result<Box<dyn Duplex>, ConnectError> {
        let failed = |cause: io::Error| ConnectError::Dial {
            endpoint: self.to_string(),
            remedy: match cause.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "is fanfare running there? start it with `fanfare`"
                }
                _ => "is the address right?",
            },
            cause,
        };
        let stream: Box<dyn Duplex> = match &self.place {
            Place::Host { .. } => {
                let stream = TcpStream::connect(self.authority()).await.map_err(failed)?;
                // Publications are small and should leave at once; without it they are only slower.
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
        };
        if !is_tls(self.scheme) {
            return Ok(stream);
        }
        self.encrypt(stream).await
    }

    async fn encrypt(&self, stream: Box<dyn Duplex>) -> Result<Box<dyn Duplex>, ConnectError> {
        let tls = |(problem, remedy, may_pass)| ConnectError::Tls {
            endpoint: self.to_string(),
            problem,
            remedy,
            may_pass,
        };
        let of_text = |problem: String| tls((problem, "is the address right?", false));
        let trust = match &self.trust {
            Some(trust) => trust.clone(),
            None => Trust::authorities(None).map_err(of_text)?,
        };
        let host = match &self.place {
            Place::Host { host, .. } => host.trim_start_matches('[').trim_end_matches(']'),
            Place::Unix(_) => "localhost",
        };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| of_text(error.to_string()))?;
        let connected = TlsConnector::from(trust.0).connect(name, stream).await;
        Ok(Box::new(connected.map_err(|error| tls(explain(&error)))?))
    }
}

/// Whether a scheme means TLS.
fn is_tls(scheme: &str) -> bool {
    matches!(scheme, "wss" | "https")
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ws(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Host { host, port } => {
                write!(f, "{}://{host}:{port}{}", self.scheme, self.path)
            }
            Place::Unix(socket) => Listen::Unix(socket.clone()).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_completed() {
        for (text, whole) in [
            ("ws://127.0.0.1:8080/ws", "ws://127.0.0.1:8080/ws"),
            ("ws://h", "ws://h:80/ws"),
            ("ws://h:9/", "ws://h:9/ws"),
            ("ws://[::1]:8080/ws?room=a", "ws://[::1]:8080/ws?room=a"),
            ("ws://h?token=x", "ws://h:80/ws?token=x"),
            ("ws://h:1/a/b", "ws://h:1/a/b"),
            ("wss://h", "wss://h:443/ws"),
            ("wss://h:8443/ws?room=a", "wss://h:8443/ws?room=a"),
            ("unix:/run/f.sock", "unix:/run/f.sock"),
        ] {
            let endpoint = Endpoint::ws(text).expect(text);
            assert_eq!(endpoint.to_string(), whole);
        }
        let endpoint = Endpoint::http("http://h:8081").expect("a URL");
        assert_eq!(endpoint.to_string(), "http://h:8081/");
    }

    #[test]
    fn the_paths_of_the_api_come_behind_that_of_the_url() {
        for (text, whole) in [
            ("http://h:8081", "/v1/rooms"),
            ("https://h/", "/v1/rooms"),
            ("https://h/fanfare/", "/fanfare/v1/rooms"),
            ("unix:/run/f.sock", "/v1/rooms"),
        ] {
            assert_eq!(Endpoint::api(text).expect(text).below("/v1/rooms"), whole);
        }
        for (text, wrong) in [
            ("ws://h", "the scheme is not http"),
            ("http://h?a", "a query"),
        ] {
            let problem = Endpoint::api(text).expect_err(text);
            assert!(problem.contains(wrong), "{text}: {problem}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_what_is_wrong() {
        for (text, wrong) in [
            ("", "not a URL"),
            ("localhost:8080", "not a URL"),
            ("http://h/ws", "the scheme is not ws"),
            ("wss:///ws", "give"),
            ("unix:f.sock", "absolute path"),
            ("ws://", "give"),
            ("ws://:8080/ws", "give"),
            ("ws://h:99999/ws", "port"),
            ("ws://h:0/ws", "the port"),
            ("ws://h:x/ws", "port"),
            ("ws://u:p@h/ws", "a user"),
            ("ws://a b/ws", "give"),
            ("ws://h/\u{7f}", "give"),
        ] {
            let problem = Endpoint::ws(text).expect_err(text);
            assert!(problem.contains(wrong), "{text}: {problem}");
            assert_eq!(problem.lines().count(), 1);
        }
    }
}
