//! A connection to a server: bytes out as they are given, frames back.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::frame::{self, Breach, Frame};
use crate::handshake;

/// A connection, and what came over it that nobody has taken yet.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    received: BytesMut,
}

impl Socket {
    /// Connects. A small `receive_buffer`, in bytes, makes a reader that stops reading soon
    /// noticed; without one, the kernel decides.
    pub async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(size) = receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: BytesMut::new(),
        })
    }

    /// The connection itself.
    pub const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes. Not cancel safe.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends some bytes from the front of `bytes`, and takes them off it. Cancel safe.
    pub async fn send_some(&mut self, bytes: &mut BytesMut) -> io::Result<()> {
        self.stream.write_buf(bytes).await?;
        Ok(())
    }

    /// What was received and not taken.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Receives more, at most `most` bytes; answers how many, and 0 at the end. Cancel safe.
    pub async fn receive(&mut self, most: u64) -> io::Result<usize> {
        let mut stream = (&mut self.stream).take(most);
        stream.read_buf(&mut self.received).await
    }

    /// Takes the first `count` bytes of what was received.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.received.split_to(count).to_vec()
    }

    /// Takes the head of a response, its empty line included, once all of it is there.
    pub fn take_head(&mut self) -> Option<Vec<u8>> {
        let len = handshake::head_len(&self.received)?;
        Some(self.take(len))
    }

    /// Takes the next frame, once all of it is there.
    pub fn take_frame(&mut self) -> Result<Option<Frame>, Breach> {
        let Some(place) = frame::find(&self.received)? else {
            return Ok(None);
        };
        let bytes = self.received.split_to(place.payload.end);
        Ok(Some(Frame {
            fin: place.fin,
            opcode: place.opcode,
            payload: bytes[place.payload].to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::frame::{PING, TEXT};

    #[tokio::test]
    async fn a_head_and_frames_are_taken_as_they_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut socket = Socket::connect(address, Some(1)).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut bytes = BytesMut::from(&b"request"[..]);
        while !bytes.is_empty() {
            socket.send_some(&mut bytes).await.unwrap();
        }
        let mut request = [0; 7];
        server.read_exact(&mut request).await.unwrap();
        server
            .write_all(b"head\r\n\r\n\x81\x02hi\x89\0")
            .await
            .unwrap();
        drop(server);
        let mut heads = Vec::new();
        let mut frames = Vec::new();
        // One byte at a time: each is the last of something, or nothing.
        while socket.receive(1).await.unwrap() > 0 {
            if heads.is_empty() {
                heads.extend(socket.take_head());
            } else {
                frames.extend(socket.take_frame().unwrap());
            }
        }
        assert_eq!(heads, [b"head\r\n\r\n"]);
        let frame = |opcode, payload: &[u8]| Frame {
            fin: true,
            opcode,
            payload: payload.to_vec(),
        };
        assert_eq!(frames, [frame(TEXT, b"hi"), frame(PING, b"")]);
        assert!(socket.received().is_empty());
    }
}
