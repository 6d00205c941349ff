//! A WebSocket to a node: the handshake, frames, pings; strict, since a broken frame is a finding.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use fanfare_shared::frame::{self, Opcode, parse_header};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::wire::{Event, Format};

/// From connecting to the welcome; a node that is stopped takes longer.
const OPEN: Duration = Duration::from_secs(4);
/// The socket's receive buffer: small, so that who does not read is noticed soon.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// A response's head is longer only from something that is no node.
const MAX_HEAD: usize = 16 * 1024;
/// The masking key (RFC 6455, section 5.3): no proxy is to be protected here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An open WebSocket that was welcomed.
pub(crate) struct Socket {
    /// What the node calls the connection.
    pub(crate) client: String,
    /// When anything came last, a ping included.
    pub(crate) heard: Instant,
    stream: TcpStream,
    format: Format,
    incoming: BytesMut,
    /// Frames that are still to be written.
    outgoing: BytesMut,
}

/// How a connection ended: the close frame's code, where there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed(pub(crate) Option<u16>);

impl Socket {
    /// Connects, shakes hands and waits for the welcome; gives up after [`OPEN`].
    pub(crate) async fn open(node: SocketAddr, format: Format) -> anyhow::Result<Self> {
        timeout(OPEN, Self::open_unhurried(node, format)).await?
    }

    async fn open_unhurried(node: SocketAddr, format: Format) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let mut stream = socket.connect(node).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {node}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {}\r\n\r\n",
            format.subprotocol()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut incoming = BytesMut::new();
        let head = loop {
            if let Some(end) = incoming.windows(4).position(|four| four == b"\r\n\r\n") {
                break incoming.split_to(end + 4);
            }
            ensure!(incoming.len() < MAX_HEAD, "a response without an end");
            let read = stream.read_buf(&mut incoming).await?;
            ensure!(read > 0, "closed in the handshake");
        };
        ensure!(head.starts_with(b"HTTP/1.1 101 "), "refused");
        let mut socket = Self {
            client: String::new(),
            heard: Instant::now(),
            stream,
            format,
            incoming,
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
            Format::Json => Opcode::Text,
            Format::MsgPack => Opcode::Binary,
        };
        self.queue(opcode, &payload);
        while !self.outgoing.is_empty() {
            self.stream.write_buf(&mut self.outgoing).await?;
        }
        Ok(())
    }

    /// The next event, or how the connection ended; an error is a breach of the protocol. Cancel
    /// safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Result<Event, Closed>> {
        loop {
            while let Some((opcode, payload)) = self.take_frame()? {
                match opcode {
                    Opcode::Text | Opcode::Binary => {
                        let event = self.format.decode(&payload);
                        return event.map(Ok).with_context(|| {
                            format!("cannot read {:?}", String::from_utf8_lossy(&payload))
                        });
                    }
                    Opcode::Ping => self.queue(Opcode::Pong, &payload),
                    Opcode::Close => {
                        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                        return Ok(Err(Closed(code)));
                    }
                    Opcode::Pong => {}
                    Opcode::Continuation => bail!("a fragment without a beginning"),
                }
            }
            let ended = if self.outgoing.is_empty() {
                let read = self.stream.read_buf(&mut self.incoming).await;
                self.heard = Instant::now();
                read.map_or(true, |read| read == 0)
            } else {
                self.stream.write_buf(&mut self.outgoing).await.is_err()
            };
            if ended {
                return Ok(Err(Closed(None)));
            }
        }
    }

    fn take_frame(&mut self) -> anyhow::Result<Option<(Opcode, BytesMut)>> {
        let Some(header) = parse_header(&self.incoming)? else {
            return Ok(None);
        };
        ensure!(header.mask.is_none(), "a masked frame from a server");
        ensure!(header.fin, "a fragment, which this server never sends");
        let length = usize::try_from(header.len)?;
        if self.incoming.len() < header.size + length {
            return Ok(None);
        }
        self.incoming.advance(header.size);
        Ok(Some((header.opcode, self.incoming.split_to(length))))
    }

    /// Masks a frame and puts it last in what is to be written (RFC 6455, section 5.1).
    fn queue(&mut self, opcode: Opcode, payload: &[u8]) {
        let bare = frame::frame(opcode, payload);
        let header = bare.len() - payload.len();
        self.outgoing.extend_from_slice(&[bare[0], bare[1] | 0x80]);
        self.outgoing.extend_from_slice(&bare[2..header]);
        self.outgoing.extend_from_slice(&MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        self.outgoing.extend(masked.map(|(byte, key)| byte ^ key));
    }
}
