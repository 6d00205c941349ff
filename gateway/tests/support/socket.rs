//! A TCP connection to a node, and what comes back over it: responses and WebSocket frames.
//!
//! Strict about what a server may send, and free to send anything itself.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::deadline::within;
use crate::http::Response;

/// The bit of the last frame of a message.
pub(crate) const FIN: u8 = 0x80;
/// The opcodes of RFC 6455, section 5.2.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// The masking key of every frame: the RFC's own example.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as it was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame, if it has one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, CLOSE, "not a close frame: {self:?}");
        let code = self.payload.first_chunk()?;
        Some(u16::from_be_bytes(*code))
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The node closed its side in good order.
    Closed,
    /// The node reset the connection.
    Reset,
}

/// A masked frame. `first` is its first byte: [`FIN`] or not, reserved bits, the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// The header of a masked frame that claims to carry `len` bytes.
pub(crate) fn header(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    #[allow(clippy::cast_possible_truncation, reason = "each arm's range fits")]
    match len {
        0..126 => header.push(0x80 | len as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(len.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// A whole text message.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

/// A close frame with a code and no reason.
pub(crate) fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

/// A connection.
pub(crate) struct Socket {
    stream: TcpStream,
    /// Received and not yet looked at.
    received: Vec<u8>,
}

impl Socket {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_by(address, TcpSocket::new_v4().expect("a socket")).await
    }

    /// Connects with a receive buffer as small as the kernel makes one, so that a reader which
    /// stops reading is soon noticed.
    pub(crate) async fn connect_with_little_room(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1).expect("a small buffer");
        Self::connect_by(address, socket).await
    }

    async fn connect_by(address: SocketAddr, socket: TcpSocket) -> Self {
        let stream = within("a connection", socket.connect(address)).await;
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    // --- sending ---

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("bytes to be sent", self.stream.write_all(bytes))
            .await
            .expect("the node takes what is sent");
    }

    /// Sends what the node may not want any more; answers whether it took everything.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("bytes to be sent", self.stream.write_all(bytes))
            .await
            .is_ok()
    }

    /// Sends each byte by itself, so that the node meets every place where a read can end.
    pub(crate) async fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(&[*byte]).await;
        }
    }

    /// Closes the sending side only, if the node has not reset the connection meanwhile.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Drops the connection with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a socket that resets");
    }

    // --- receiving ---

    /// Reads an HTTP response, with as much body as it announces.
    pub(crate) async fn response(&mut self, with_body: bool) -> Response {
        let head = loop {
            match find(&self.received, b"\r\n\r\n") {
                Some(at) => break at,
                None => self.must_fill("a response").await,
            }
        };
        let text = String::from_utf8(self.take(head)).expect("a head in ASCII");
        self.take(4);
        let mut response = Response::parse_head(&text);
        let announced = response.header("content-length").unwrap_or("0");
        let length: usize = announced.parse().expect("a length");
        if with_body {
            while self.received.len() < length {
                self.must_fill("a response's body").await;
            }
            response.body = String::from_utf8(self.take(length)).expect("a body in UTF-8");
        }
        response
    }

    /// Takes at most so many bytes from the kernel, for [`Socket::frame`] to look at later.
    pub(crate) async fn receive_some(&mut self, bytes: u64) {
        let mut stream = (&mut self.stream).take(bytes);
        let received = within("some bytes", stream.read_buf(&mut self.received)).await;
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
            if let Some((frame, size)) = parse(&self.received) {
                self.take(size);
                return Ok(frame);
            }
            match self.fill("a frame").await {
                Ok(()) => {}
                Err(End::Closed) => {
                    assert!(
                        self.received.is_empty(),
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
        self.received.clear();
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
        let _ = self.stream.write_all(&close(code)).await;
        self.expect_end().await;
        reason
    }

    fn check_nothing_left(&self) {
        let received = String::from_utf8_lossy(&self.received);
        assert!(received.is_empty(), "more than expected: {received:?}");
    }

    async fn must_fill(&mut self, what: &str) {
        if let Err(end) = self.fill(what).await {
            let received = String::from_utf8_lossy(&self.received);
            panic!("the connection ended ({end:?}) where {what} was awaited: {received:?}");
        }
    }

    async fn fill(&mut self, what: &str) -> Result<(), End> {
        match within(what, self.stream.read_buf(&mut self.received)).await {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => panic!("{what}: {error}"),
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.received.drain(..count).collect()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Takes a frame from the front, if it is all there, and answers its size. Checks what section 5.2
/// demands of a server that agreed to no extension.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (fin, reserved, opcode) = (first & FIN != 0, first & 0x70, first & 0x0f);
    assert_eq!(reserved, 0, "reserved bits");
    assert!(matches!(opcode, 0..=2 | 8..=10), "opcode {opcode}");
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (len, size) = match second & 0x7f {
        126 => {
            let len = u16::from_be_bytes(*rest.first_chunk()?);
            assert!(len >= 126, "not the shortest form");
            (u64::from(len), 4)
        }
        127 => {
            let len = u64::from_be_bytes(*rest.first_chunk()?);
            assert!(len > 0xffff, "not the shortest form");
            (len, 10)
        }
        len => (u64::from(len), 2),
    };
    assert!(
        opcode < CLOSE || (fin && len < 126),
        "a control frame too long or fragmented"
    );
    let end = size + usize::try_from(len).expect("a frame that fits into memory");
    let payload = bytes.get(size..end)?.to_vec();
    Some((
        Frame {
            fin,
            opcode,
            payload,
        },
        end,
    ))
}
