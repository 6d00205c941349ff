//! A client of `/ws` over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use fanfare_socket::frame::{self, CLOSE, Frame, PING, TEXT};
use fanfare_socket::handshake;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use crate::deadline::within;
use crate::node::Node;

/// A connection over TLS, and what came over it that nobody has taken yet.
pub(super) struct Wss<S = TcpStream> {
    pub(super) stream: TlsStream<S>,
    received: BytesMut,
}

impl Wss {
    /// Opens a WebSocket.
    pub(super) async fn open(node: &Node, authority: &Authority, path: &str) -> Self {
        Self::speaking(node, authority, &[&TLS12, &TLS13], path).await
    }

    /// Opens a WebSocket by one of these versions of TLS.
    pub(super) async fn speaking(
        node: &Node,
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        path: &str,
    ) -> Self {
        let mut opened = Self::connect(node.public, authority.client(versions)).await;
        opened.upgrade(path).await;
        opened
    }

    /// Opens a WebSocket, with as little room for what comes as the kernel gives.
    pub(super) async fn with_little_room(node: &Node, authority: &Authority, path: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1).expect("a small buffer");
        let stream = within("a connection", socket.connect(node.public)).await;
        let config = authority.client(&[&TLS13]);
        let shaken = Self::over(stream.expect("a connection"), config).await;
        let mut opened = shaken.expect("a handshake");
        opened.upgrade(path).await;
        opened
    }

    /// Shakes hands.
    pub(super) async fn connect(address: SocketAddr, config: ClientConfig) -> Self {
        Self::try_connect(address, config)
            .await
            .expect("a handshake")
    }

    /// The same where it may be refused.
    pub(super) async fn try_connect(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        Self::over(stream, config).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wss<S> {
    /// Shakes hands over a connection.
    pub(super) async fn over(stream: S, config: ClientConfig) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
        Ok(Self {
            stream: within("a handshake", connected).await?,
            received: BytesMut::new(),
        })
    }

    /// Asks for a WebSocket.
    pub(super) async fn upgrade(&mut self, path: &str) {
        let request = handshake::request("localhost", path, "");
        self.write(request.as_bytes()).await;
        let head = self.head().await;
        assert!(
            handshake::is_accepted(&head),
            "{:?}",
            String::from_utf8_lossy(&head)
        );
    }

    /// The head of a response.
    pub(super) async fn head(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = handshake::head_len(&self.received) {
                return self.received.split_to(len).to_vec();
            }
            assert!(self.fill().await > 0, "the connection ended");
        }
    }

    /// The next so many bytes.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.fill().await > 0, "the connection ended");
        }
        self.received.split_to(count).to_vec()
    }

    /// What was agreed on by ALPN.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.expect("to send");
    }

    /// Sends bytes that may not be wanted.
    pub(super) async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("bytes to be sent", written).await
    }

    /// Sends a command.
    pub(super) async fn send(&mut self, command: &Value) {
        self.write(&frame::text(&command.to_string())).await;
    }

    /// The next frame; none where the node has closed in good order.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(place) = frame::find(&self.received).expect("a frame") {
                let bytes = self.received.split_to(place.payload.end);
                return Some(Frame {
                    fin: place.fin,
                    opcode: place.opcode,
                    payload: bytes[place.payload].to_vec(),
                });
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> Value {
        loop {
            let frame = self.frame().await.expect("an event");
            match frame.opcode {
                TEXT => return serde_json::from_slice(&frame.payload).expect("JSON"),
                PING => {}
                _ => panic!("opcode {} where an event was awaited", frame.opcode),
            }
        }
    }

    /// The next event of a type; passes over others.
    pub(super) async fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// Waits for a close frame, and for the end of TLS (RFC 8446, section 6.1).
    pub(super) async fn expect_closed(&mut self, code: u16) {
        loop {
            let frame = self.frame().await.expect("a close frame");
            if frame.opcode == CLOSE {
                assert_eq!(frame.close_code(), Some(code));
                break;
            }
        }
        // The node may have closed for good by now.
        let _ = self.stream.write_all(&frame::close(code)).await;
        let _ = self.stream.flush().await;
        assert!(self.frame().await.is_none());
    }

    /// Reads on; 0 at the end of TLS, where an end without its goodbye is a failure.
    async fn fill(&mut self) -> usize {
        self.try_fill().await.expect("no end but a proper one")
    }

    /// Reads on, or says how the connection failed.
    pub(super) async fn try_fill(&mut self) -> io::Result<usize> {
        let read = self.stream.read_buf(&mut self.received);
        within("more bytes", read).await
    }

    /// What has come and was not taken.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }
}
