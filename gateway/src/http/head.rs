//! Heads in the form in which others have them: of a request that hyper has read, and of a response
//! that it is to write.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};

/// The most headers of a response that is written here.
const MAX_HEADERS: usize = 16;

/// A request's head as it could have come.
pub(crate) fn of_request<B>(request: &Request<B>) -> Vec<u8> {
    let target = request.uri();
    let line = format!("{} {target} {:?}\r\n", request.method(), request.version());
    let mut head = line.into_bytes();
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A response of these bytes, which were made here.
pub(crate) fn response(bytes: &[u8]) -> Response<Body> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(bytes) else {
        debug_assert!(false, "a response that was made here");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let mut builder = Response::builder().status(parsed.code.unwrap_or(500));
    for header in parsed.headers.iter() {
        builder = builder.header(header.name, header.value);
    }
    builder
        .body(Body::from(bytes[head..].to_vec()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::Doors;
    use crate::http::handshake::{self, Outcome};
    use crate::http::response as answers;

    #[test]
    fn a_head_that_was_read_is_one_that_can_be_read_again() {
        let request = Request::get("/ws?room=a%20b")
            .header("host", "a")
            .header("upgrade", "websocket")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        let head = of_request(&request);
        let Outcome::Upgrade(upgrade) = handshake::read(&head, 1024, Doors::default().entrances())
        else {
            panic!("{}", String::from_utf8_lossy(&head));
        };
        assert_eq!(
            (upgrade.head, upgrade.rooms[0].as_str()),
            (head.len(), "a b")
        );
        let response = response(&upgrade.response);
        assert_eq!(response.status(), 101);
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_refusal_is_the_same_wherever_it_is_written() {
        let refusal = answers::Response::method_not_allowed("GET").encode();
        let response = response(&refusal);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET");
        assert_eq!(response.headers()["connection"], "close");
    }
}
