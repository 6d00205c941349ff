//! The files of the public port, each in the codings that browsers take, compressed at build.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::coding::{Coding, choose};

/// A file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    pub(super) content_type: &'static str,
    /// Whether pages of other origins may load it.
    pub(super) any_origin: bool,
    content: Content,
}

/// What is in a file, once in each coding.
#[derive(Debug, Clone, Copy)]
struct Content {
    /// Names it among its versions.
    tag: &'static str,
    identity: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

mod contents {
    use super::Content;

    include!(concat!(env!("OUT_DIR"), "/contents.rs"));
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file, by its path.
pub(super) const ASSETS: [(&str, Asset); 5] = [
    ("/", asset(HTML, contents::INDEX_HTML)),
    (
        "/page.css",
        asset("text/css; charset=utf-8", contents::PAGE_CSS),
    ),
    ("/page.js", asset(SCRIPT, contents::PAGE_JS)),
    ("/transcript.js", asset(SCRIPT, contents::TRANSCRIPT_JS)),
    (
        "/client.js",
        Asset {
            any_origin: true,
            ..asset(SCRIPT, contents::CLIENT_JS)
        },
    ),
];

const fn asset(content_type: &'static str, content: Content) -> Asset {
    Asset {
        content_type,
        any_origin: false,
        content,
    }
}

impl Asset {
    /// The answer to a request with these headers.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let text = |name| request.get(name).and_then(|value| value.to_str().ok());
        let coding = choose(text(header::ACCEPT_ENCODING).unwrap_or_default());
        // Of each coding its own: they differ in every byte (RFC 9110, section 8.8.3.3).
        let tag = match coding.name() {
            None => format!("\"{}\"", self.content.tag),
            Some(name) => format!("\"{}-{name}\"", self.content.tag),
        };
        let known = text(header::IF_NONE_MATCH).is_some_and(|known| has_tag(known, &tag));
        let mut response = Response::new(if known {
            Body::empty()
        } else {
            Body::from(self.bytes(coding))
        });
        let headers = response.headers_mut();
        let fixed = HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, fixed(self.content_type));
        headers.insert(header::VARY, fixed("Accept-Encoding"));
        // A tag has hexadecimal digits, a dash and a name.
        if let Ok(tag) = HeaderValue::try_from(tag) {
            headers.insert(header::ETAG, tag);
        }
        if self.any_origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
        }
        if let Some(name) = coding.name().filter(|_| !known) {
            headers.insert(header::CONTENT_ENCODING, fixed(name));
        }
        if known {
            headers.remove(header::CONTENT_TYPE);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    }

    const fn bytes(&self, coding: Coding) -> &'static [u8] {
        match coding {
            Coding::Identity => self.content.identity,
            Coding::Gzip => self.content.gzip,
            Coding::Brotli => self.content.brotli,
        }
    }
}

/// Whether `If-None-Match` names a tag, by the weak comparison (RFC 9110, section 13.1.2).
fn has_tag(known: &str, tag: &str) -> bool {
    let mut known = known.split(',').map(str::trim);
    known.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}
