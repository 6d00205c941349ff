//! A WebSocket to a node: the handshake, frames, pings; strict, since a broken frame is a finding.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use fanfare_socket::{frame, handshake};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::wire::{Event, Format};

/// From connecting to the welcome; a node that is stopped takes longer.
const OPEN: Duration = Duration::from_secs(4);
/// The socket's receive buffer: small, so that who does not read is noticed soon.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// A response's head is longer only from something that is no node.
const MAX_HEAD: usize = 16 * 1024;

/// An open WebSocket that was welcomed.
pub(crate) struct Socket {
    /// What the node calls the connection.
    pub(crate) client: String,
    /// When anything came last, a ping included.
    pub(crate) heard: Instant,
    socket: fanfare_socket::Socket,
    format: Format,
    /// Frames that are still to be written.
    outgoing: BytesMut,
}

/// How a connection ended: the close frame's code, where there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed(pub(crate) Option<u16>);

impl Socket {
    /// Connects, shakes hands and waits for the welcome; gives up after [`OPEN`].
    pub(crate) async fn open(node: SocketAddr, format: Format) -> anyhow::Result<Self> {
        Self::open_with(node, format, None).await
    }

    /// The same with a token.
    pub(crate) async fn open_with(
        node: SocketAddr,
        format: Format,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        timeout(OPEN, Self::open_unhurried(node, format, token)).await?
    }

    async fn open_unhurried(
        node: SocketAddr,
        format: Format,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut socket = fanfare_socket::Socket::connect(node, Some(RECEIVE_BUFFER)).await?;
        let mut extra = format!("Sec-WebSocket-Protocol: {}\r\n", format.subprotocol());
        if let Some(token) = token {
            extra += &format!("Authorization: Bearer {token}\r\n");
        }
        let request = handshake::request(&node.to_string(), "/ws", &extra);
        socket.send(request.as_bytes()).await?;
        let head = loop {
            if let Some(head) = socket.take_head() {
                break head;
            }
            let so_far = socket.received().len();
            ensure!(so_far < MAX_HEAD, "a response without an end");
            let read = socket.receive(u64::MAX).await?;
            ensure!(read > 0, "closed in the handshake");
        };
        ensure!(handshake::is_accepted(&head), "refused");
        let mut socket = Self {
            client: String::new(),
            heard: Instant::now(),
            socket,
            format,
            outgoing: BytesMut::new(),
        };
        match socket.next().await {
            Ok(Ok(Event::Welcome { client })) => {
                socket.client = client;
                Ok(socket)
            }
            Ok(Err(closed)) => bail!("closed instead of welcomed: {closed:?}"),
            other => bail!("not welcomed: {other:?}"),
        }
    }

    /// Sends a command. Not cancel safe.
    pub(crate) async fn send(&mut self, command: &Value) -> anyhow::Result<()> {
        let payload = self.format.encode(command)?;
        let opcode = match self.format {
            Format::Json => frame::TEXT,
            Format::MsgPack => frame::BINARY,
        };
        self.queue(opcode, &payload);
        while !self.outgoing.is_empty() {
            self.socket.send_some(&mut self.outgoing).await?;
        }
        Ok(())
    }

    /// The next event, or how the connection ended; an error is a breach of the protocol. Cancel
    /// safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Result<Event, Closed>> {
        loop {
            while let Some(frame) = self.socket.take_frame()? {
                ensure!(frame.fin, "a fragment, which this server never sends");
                let payload = frame.payload;
                match frame.opcode {
                    frame::TEXT | frame::BINARY => {
                        let event = self.format.decode(&payload);
                        return event.map(Ok).with_context(|| {
                            format!("cannot read {:?}", String::from_utf8_lossy(&payload))
                        });
                    }
                    frame::PING => self.queue(frame::PONG, &payload),
                    frame::CLOSE => return Ok(Err(Closed(frame::close_code(&payload)))),
                    frame::PONG => {}
                    _ => bail!("a fragment without a beginning"),
                }
            }
            let ended = if self.outgoing.is_empty() {
                let read = self.socket.receive(u64::MAX).await;
                self.heard = Instant::now();
                read.map_or(true, |read| read == 0)
            } else {
                self.socket.send_some(&mut self.outgoing).await.is_err()
            };
            if ended {
                return Ok(Err(Closed(None)));
            }
        }
    }

    /// Puts a frame last in what is to be written.
    fn queue(&mut self, opcode: u8, payload: &[u8]) {
        let frame = frame::frame(frame::FIN | opcode, payload);
        self.outgoing.extend_from_slice(&frame);
    }
}
