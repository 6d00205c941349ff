//! The few plain HTTP answers of the public port: the page, the client, and refusals.
//!
//! Each closes its connection: whoever wants more than these two small files wants a web server.

use std::fmt::Write as _;

/// The status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
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
            Self::Ok => (200, "OK"),
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::UpgradeRequired => (426, "Upgrade Required"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::Unavailable => (503, "Service Unavailable"),
        }
    }
}

/// A response, after which the connection is closed.
#[derive(Debug)]
pub struct Response {
    status: Status,
    content_type: &'static str,
    /// Further header lines, each ending in CRLF.
    extra: &'static str,
    allow: Option<&'static str>,
    body: Body,
    /// Whether the body is sent, and not only its length.
    with_body: bool,
}

#[derive(Debug)]
enum Body {
    Asset(&'static str),
    Message(String),
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Anyone's page may load the client.
const ANY_ORIGIN: &str = "Access-Control-Allow-Origin: *\r\n";

const HTML: &str = "text/html; charset=utf-8";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What a browser may do with any answer: show it alone, and take it for nothing but what it is.
const GUARD: &str = "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
    Referrer-Policy: no-referrer\r\n";

/// What the page may load: its own files, and connections to nodes, also to one that its visitor has
/// chosen.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is no page loads nothing.
const OTHER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The file at a path of the public port, if there is one.
#[must_use]
pub fn asset(path: &str) -> Option<Response> {
    let (content_type, extra, body) = match path {
        "/" => (HTML, "", include_str!("../../web/index.html")),
        "/page.css" => (
            "text/css; charset=utf-8",
            "",
            include_str!("../../web/page.css"),
        ),
        "/page.js" => (SCRIPT, "", include_str!("../../web/page.js")),
        "/transcript.js" => (SCRIPT, "", include_str!("../../web/transcript.js")),
        "/client.js" => (SCRIPT, ANY_ORIGIN, include_str!("../../client/client.js")),
        _ => return None,
    };
    Some(Response {
        status: Status::Ok,
        content_type,
        extra,
        allow: None,
        body: Body::Asset(body),
        with_body: true,
    })
}

impl Response {
    /// A refusal that says why.
    #[must_use]
    pub fn error(status: Status, message: String) -> Self {
        let extra = match status {
            Status::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Status::Unauthorized => "WWW-Authenticate: Bearer\r\n",
            Status::Unavailable => "Retry-After: 1\r\n",
            _ => "",
        };
        let body = Body::Message(message);
        Self {
            status,
            content_type: TEXT,
            extra,
            allow: None,
            body,
            with_body: true,
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

    /// The same as the answer to HEAD.
    #[must_use]
    pub fn without_body(self) -> Self {
        Self {
            with_body: false,
            ..self
        }
    }

    /// What kind of answer it is.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether there is anything to read.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.with_body && !self.text().is_empty()
    }

    /// The response as it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (code, reason) = self.status.line();
        let end = if matches!(self.body, Body::Message(_)) {
            "\n"
        } else {
            ""
        };
        let body = self.text();
        let policy = match self.content_type {
            HTML => PAGE_POLICY,
            _ => OTHER_POLICY,
        };
        let mut head = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Content-Security-Policy: {policy}\r\n{GUARD}\
             Cache-Control: no-cache\r\nConnection: close\r\n{}",
            self.content_type,
            body.len() + end.len(),
            self.extra,
        );
        if let Some(allow) = self.allow {
            // Writing to a string cannot fail.
            let _ = write!(head, "Allow: {allow}\r\n");
        }
        head.push_str("\r\n");
        if self.with_body {
            head.push_str(body);
            head.push_str(end);
        }
        head.into_bytes()
    }

    fn text(&self) -> &str {
        match &self.body {
            Body::Asset(text) => text,
            Body::Message(text) => text,
        }
    }
}
