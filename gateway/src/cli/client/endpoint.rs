//! Where to connect: a checked URL, and the connection to it.

use std::fmt;
use std::io;
use std::str::FromStr;

use fanfare_shared::config::Secret;
use hyper::Uri;
use tokio::net::TcpStream;

use super::error::ConnectError;

/// A `ws://` or `http://` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Endpoint {
    scheme: &'static str,
    /// An IPv6 address has its brackets.
    host: String,
    port: u16,
    /// With its query; starts with a slash.
    path: String,
    /// What is shown there, if anything.
    token: Option<Secret>,
}

impl Endpoint {
    /// Reads a `ws://` URL. Without a path, `/ws` is meant.
    pub(in crate::cli) fn ws(text: &str) -> Result<Self, String> {
        Self::parse(text, "ws", "/ws")
    }

    /// Reads an `http://` URL.
    pub(in crate::cli) fn http(text: &str) -> Result<Self, String> {
        Self::parse(text, "http", "/")
    }

    fn parse(text: &str, scheme: &'static str, default_path: &str) -> Result<Self, String> {
        let give = match scheme {
            "ws" => "give one such as ws://127.0.0.1:8080/ws",
            _ => "give one such as http://127.0.0.1:8081/readyz",
        };
        let Some((said, _)) = text.split_once("://") else {
            return Err(format!("not a URL; {give}"));
        };
        if said == "wss" || said == "https" {
            return Err(format!(
                "{said}:// (TLS) is not supported; connect to the node itself: {give}"
            ));
        }
        if said != scheme {
            return Err(format!("the scheme is not {scheme}; {give}"));
        }
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {give}"))?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("no host; {give}"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(format!("a user has no place in it; {give}"));
        }
        // `Uri` takes a port that is no number for none.
        let port = match authority[host.len()..].strip_prefix(':') {
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
            host: host.to_owned(),
            port,
            path,
            token: None,
        })
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
        format!("{}:{}", self.host, self.port)
    }

    /// The path with its query.
    pub(in crate::cli) fn path(&self) -> &str {
        &self.path
    }

    /// Connects.
    pub(in crate::cli) async fn dial(&self) -> Result<TcpStream, ConnectError> {
        let connected = TcpStream::connect(self.authority()).await;
        let stream = connected.map_err(|cause| ConnectError::Dial {
            endpoint: self.to_string(),
            remedy: match cause.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "is fanfare running there? start it with `fanfare`"
                }
                _ => "is the address right?",
            },
            cause,
        })?;
        // Publications are small and should leave at once; without it they are only slower.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ws(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme,
            host,
            port,
            path,
            token: _,
        } = self;
        write!(f, "{scheme}://{host}:{port}{path}")
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
        ] {
            let endpoint = Endpoint::ws(text).expect(text);
            assert_eq!(endpoint.to_string(), whole);
        }
        let endpoint = Endpoint::http("http://h:8081").expect("a URL");
        assert_eq!(endpoint.to_string(), "http://h:8081/");
    }

    #[test]
    fn other_urls_are_refused_with_what_is_wrong() {
        for (text, wrong) in [
            ("", "not a URL"),
            ("localhost:8080", "not a URL"),
            ("http://h/ws", "the scheme is not ws"),
            ("wss://h/ws", "TLS"),
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
