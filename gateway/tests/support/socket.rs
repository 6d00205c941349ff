//! A TCP connection to a node, and what comes back over it: responses and WebSocket frames.
//!
//! Strict about what a server may send, and free to send anything itself.

use std::io;
use std::net::SocketAddr;

pub(crate) use fanfare_socket::frame::{
    BINARY, CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, close, frame, header, text,
};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;

use crate::deadline::within;
use crate::http::Response;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The node closed its side in good order.
    Closed,
    /// The node reset the connection.
    Reset,
}

/// A connection.
pub(crate) struct Socket(fanfare_socket::Socket);

impl Socket {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_by(address, None).await
    }

    /// Connects with a receive buffer as small as the kernel makes one, so that a reader which
    /// stops reading is soon noticed.
    pub(crate) async fn connect_with_little_room(address: SocketAddr) -> Self {
        Self::connect_by(address, Some(1)).await
    }

    async fn connect_by(address: SocketAddr, receive_buffer: Option<u32>) -> Self {
        let socket = fanfare_socket::Socket::connect(address, receive_buffer);
        Self(within("a connection", socket).await.expect("a connection"))
    }

    // --- sending ---

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let taken = self.try_send(bytes).await;
        assert!(taken, "the node takes what is sent");
    }

    /// Sends what the node may not want any more; answers whether it took everything.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("bytes to be sent", self.0.send(bytes)).await.is_ok()
    }

    /// Sends each byte by itself, so that the node meets every place where a read can end.
    pub(crate) async fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(&[*byte]).await;
        }
    }

    /// Closes the sending side only, if the node has not reset the connection meanwhile.
    pub(crate) async fn finish(&mut self) {
        let _ = self.0.stream().shutdown().await;
    }

    /// Drops the connection with a reset.
    pub(crate) fn reset(mut self) {
        SockRef::from(&*self.0.stream())
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a socket that resets");
    }

    // --- receiving ---

    /// Reads an HTTP response, with as much body as it announces.
    pub(crate) async fn response(&mut self, with_body: bool) -> Response {
        let head = loop {
            match self.0.take_head() {
                Some(head) => break head,
                None => self.must_fill("a response").await,
            }
        };
        let text = String::from_utf8(head).expect("a head in ASCII");
        let mut response = Response::parse_head(text.trim_end_matches("\r\n"));
        let announced = response.header("content-length").unwrap_or("0");
        let length: usize = announced.parse().expect("a length");
        if with_body {
            while self.0.received().len() < length {
                self.must_fill("a response's body").await;
            }
            response.body = String::from_utf8(self.0.take(length)).expect("a body in UTF-8");
        }
        response
    }

    /// The next so many bytes, whatever they are.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.0.received().len() < count {
            self.must_fill("more bytes").await;
        }
        self.0.take(count)
    }

    /// Takes at most so many bytes from the kernel, for [`Socket::frame`] to look at later.
    pub(crate) async fn receive_some(&mut self, bytes: u64) {
        let received = within("some bytes", self.0.receive(bytes)).await;
        assert!(
            received.is_ok_and(|count| count > 0),
            "the connection ended"
        );
    }

    /// The next frame, which has to come.
    pub(crate) async fn frame(&mut self) -> Frame {
        match self.try_frame().await {
            Ok(frame) => frame,
            Err(end) => panic!("the connection ended ({end:?}) where a frame was awaited"),
        }
    }

    /// The next frame, or how the connection ended.
    pub(crate) async fn try_frame(&mut self) -> Result<Frame, End> {
        loop {
            match self.0.take_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(breach) => panic!("the node sent {breach}"),
            }
            match self.fill("a frame").await {
                Ok(()) => {}
                Err(End::Closed) => {
                    assert!(
                        self.0.received().is_empty(),
                        "the connection ended within a frame"
                    );
                    return Err(End::Closed);
                }
                Err(End::Reset) => return Err(End::Reset),
            }
        }
    }

    /// Reads on and drops what comes; answers how the connection ended if it did.
    pub(crate) async fn end_of_stream(&mut self) -> Option<End> {
        self.0.take(self.0.received().len());
        self.fill("the end of the connection").await.err()
    }

    /// Waits until the node has closed its side, in good order and without another byte.
    pub(crate) async fn expect_end(&mut self) {
        self.check_nothing_left();
        let end = self.fill("the end of the connection").await;
        self.check_nothing_left();
        assert_eq!(end, Err(End::Closed));
    }

    /// Waits for a close frame with `code`, passing over whatever comes before it, answers it if
    /// that is still to be done, and waits for the end.
    pub(crate) async fn expect_closed(&mut self, code: u16) -> String {
        let frame = loop {
            let frame = self.frame().await;
            if frame.opcode == CLOSE {
                break frame;
            }
        };
        let reason = String::from_utf8(frame.payload.get(2..).unwrap_or_default().to_vec())
            .expect("a reason in UTF-8");
        assert_eq!(frame.close_code(), Some(code), "{reason}");
        // The node may have closed for good by now, and then takes no more.
        let _ = self.0.send(&close(code)).await;
        self.expect_end().await;
        reason
    }

    fn check_nothing_left(&self) {
        let received = String::from_utf8_lossy(self.0.received());
        assert!(received.is_empty(), "more than expected: {received:?}");
    }

    async fn must_fill(&mut self, what: &str) {
        if let Err(end) = self.fill(what).await {
            let received = String::from_utf8_lossy(self.0.received());
            panic!("the connection ended ({end:?}) where {what} was awaited: {received:?}");
        }
    }

    async fn fill(&mut self, what: &str) -> Result<(), End> {
        match within(what, self.0.receive(u64::MAX)).await {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}
