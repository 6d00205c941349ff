//! How a handshake is refused in plain HTTP. The connection ends with it.

use std::fmt::Write as _;

/// The status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408.
    Timeout,
    /// 426.
    UpgradeRequired,
    /// 429.
    TooMany,
    /// 431.
    HeadTooLarge,
    /// 503.
    Unavailable,
}

impl Status {
    /// The number on the status line.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.line().0
    }

    const fn line(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::UpgradeRequired => (426, "Upgrade Required"),
            Self::TooMany => (429, "Too Many Requests"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::Unavailable => (503, "Service Unavailable"),
        }
    }
}

/// A refusal, after which the connection is closed.
#[derive(Debug)]
pub struct Response {
    status: Status,
    /// Further header lines, each ending in CRLF.
    extra: &'static str,
    allow: Option<&'static str>,
    reason: String,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// What a browser may do with any answer: show it alone, and take it for nothing but what it is.
const GUARD: &str = "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
    Referrer-Policy: no-referrer\r\n";

/// What is no page loads nothing.
const OTHER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

impl Response {
    /// A refusal that says why.
    #[must_use]
    pub fn error(status: Status, message: String) -> Self {
        let extra = match status {
            Status::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Status::Unauthorized => "WWW-Authenticate: Bearer\r\n",
            Status::Unavailable | Status::TooMany => "Retry-After: 1\r\n",
            _ => "",
        };
        Self {
            status,
            extra,
            allow: None,
            reason: message,
        }
    }

    /// The refusal of a method, naming those that would do.
    #[must_use]
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("the method is not allowed here; use {allow}");
        Self {
            allow: Some(allow),
            ..Self::error(Status::MethodNotAllowed, message)
        }
    }

    /// What kind of answer it is.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Its header lines but those of every answer, each ending in CRLF.
    #[must_use]
    pub const fn extra(&self) -> &'static str {
        self.extra
    }

    /// The response as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (code, reason) = self.status.line();
        let mut head = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Content-Security-Policy: {OTHER_POLICY}\r\n{GUARD}\
             Cache-Control: no-cache\r\nConnection: close\r\n{}",
            TEXT,
            self.reason.len() + 1,
            self.extra,
        );
        if let Some(allow) = self.allow {
            // Writing to a string cannot fail.
            let _ = write!(head, "Allow: {allow}\r\n");
        }
        head.push_str("\r\n");
        head.push_str(&self.reason);
        head.push('\n');
        head.into_bytes()
    }
}
