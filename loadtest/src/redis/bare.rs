//! The least that can be asked of Redis: PUBLISH on one connection, the message on another. What a
//! broker adds to that is its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};

use super::{connect, write_command};

/// A publisher and a subscriber of one channel.
pub(crate) struct Bare {
    publisher: TcpStream,
    replies: BufReader<TcpStream>,
    messages: BufReader<TcpStream>,
}

/// The channel of the bare measurement.
const CHANNEL: &str = "load-bare";

impl Bare {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let (publisher, mut subscriber) = (connect(address)?, connect(address)?);
        write_command(&mut subscriber, &[b"SUBSCRIBE", CHANNEL.as_bytes()])?;
        let mut messages = BufReader::new(subscriber);
        // *3, "subscribe", the channel, :1
        for _ in 0..6 {
            messages.read_line(&mut String::new())?;
        }
        Ok(Self {
            replies: BufReader::new(publisher.try_clone()?),
            publisher,
            messages,
        })
    }

    /// Publishes and waits for the message.
    pub(crate) fn round_trip(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        write_command(
            &mut self.publisher,
            &[b"PUBLISH", CHANNEL.as_bytes(), payload],
        )?;
        // *3, "message", the channel, the payload's length, the payload.
        for _ in 0..6 {
            self.messages.read_line(&mut String::new())?;
        }
        let mut received = vec![0; payload.len() + 2];
        self.messages.read_exact(&mut received)?;
        Ok(())
    }

    /// Reads the reply to the PUBLISH, which is of no interest to the latency.
    pub(crate) fn reply(&mut self) -> anyhow::Result<()> {
        self.replies.read_line(&mut String::new())?;
        Ok(())
    }
}
