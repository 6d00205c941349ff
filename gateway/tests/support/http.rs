//! Plain HTTP as tests speak it: one request, one answer, read to the end of the connection.

use std::net::SocketAddr;

use crate::socket::Socket;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// Reads a head, without its empty line.
    pub(crate) fn parse_head(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {line:?}"));
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a header line");
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        Self {
            status,
            headers,
            body: String::new(),
        }
    }

    /// The one value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(given, _)| given == name);
        let value = found.next().map(|(_, value)| &**value);
        assert!(found.next().is_none(), "{name} is there twice: {self:?}");
        value
    }
}

/// Sends a request as it is and reads the answer, after which the connection has to end.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> Response {
    let mut socket = Socket::connect(address).await;
    socket.send(request.as_bytes()).await;
    let response = socket.response(!request.starts_with("HEAD ")).await;
    socket.expect_end().await;
    response
}

/// Asks for a page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, &request).await
}
