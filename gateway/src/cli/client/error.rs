//! Why there is no connection, or none any more.

use std::io;
use std::time::Duration;

use fanfare_shared::code::CloseCode;
use hyper::StatusCode;
use thiserror::Error;

use crate::cli::escape::printable;

/// From connecting to the server's `welcome`.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const SUBPROTOCOL: &str = "fanfare.v1.json";

/// Why there is no connection.
#[derive(Debug, Error)]
pub(in crate::cli) enum ConnectError {
    // The cause is in the text already, in plainer words; as a source it would show twice.
    #[error("cannot connect to {endpoint}: {}; {remedy}", plain(cause))]
    Dial {
        endpoint: String,
        remedy: &'static str,
        cause: io::Error,
    },
    #[error("cannot connect to {endpoint}: {problem}; {remedy}")]
    Tls {
        endpoint: String,
        problem: String,
        remedy: &'static str,
        /// Whether trying again can help.
        may_pass: bool,
    },
    #[error("{endpoint} did not welcome us within {} seconds", CONNECT_TIMEOUT.as_secs())]
    Timeout { endpoint: String },
    #[error("{endpoint} did not answer as a WebSocket server: {problem}; is it the public port?")]
    Handshake { endpoint: String, problem: String },
    #[error("{endpoint} answered {status}; {}", reason.as_deref().unwrap_or_else(|| remedy_of(*status)))]
    Refused {
        endpoint: String,
        status: StatusCode,
        /// What the server said of it, for those statuses that a node explains.
        reason: Option<String>,
    },
    #[error("{endpoint} does not speak {SUBPROTOCOL}: {problem}")]
    Protocol { endpoint: String, problem: String },
    #[error("{endpoint}: {closed}")]
    Closed { endpoint: String, closed: Closed },
}

impl ConnectError {
    /// Whether trying again can help.
    pub(in crate::cli) fn may_pass(&self) -> bool {
        match self {
            // A node that starts, stops or is replaced gives any of the first.
            Self::Tls { may_pass, .. } => *may_pass,
            Self::Dial { .. } | Self::Timeout { .. } | Self::Handshake { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::Protocol { .. } => false,
            Self::Closed { closed, .. } => closed.reconnect(),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Closed {
    /// The close frame's code; none where the connection just ended.
    pub(in crate::cli) code: Option<u16>,
    pub(super) reason: String,
}

impl Closed {
    pub(super) fn lost(reason: impl Into<String>) -> Self {
        Self {
            code: None,
            reason: reason.into(),
        }
    }

    /// Reads a close frame's payload (RFC 6455, section 5.5.1).
    pub(super) fn from_payload(payload: &[u8]) -> Self {
        match payload.split_first_chunk::<2>() {
            Some((code, reason)) => Self {
                code: Some(u16::from_be_bytes(*code)),
                reason: printable(&String::from_utf8_lossy(reason)),
            },
            None => Self::lost("the server closed without a code"),
        }
    }

    /// Whether to come back. A code that is not Fanfare's says nothing against it.
    pub(in crate::cli) fn reconnect(&self) -> bool {
        self.known().is_none_or(CloseCode::reconnect)
    }

    fn known(&self) -> Option<CloseCode> {
        let mut codes = CloseCode::ALL.into_iter();
        codes.find(|code| Some(code.as_u16()) == self.code)
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(code) = self.code else {
            return f.write_str(&self.reason);
        };
        write!(f, "closed with {code}")?;
        if let Some(known) = self.known() {
            write!(f, " ({})", known.as_str().replace('_', " "))?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// An error of the system without its number.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => printable(&error.to_string()),
    }
}

fn remedy_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "it wants a token: --token or FANFARE_TOKEN"
        }
        StatusCode::NOT_FOUND => "is the path right? fanfare's is /ws",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            "it takes no connection now; try again later"
        }
        _ => "is it fanfare's public port?",
    }
}
