//! A Redis of the run's own, and the least that can be asked of it: PUBLISH on one connection,
//! the message on another. What a broker adds to that is its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::child::Dependent;
use crate::usage::Process;

/// A Redis that ends with this value.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    _child: Dependent,
}

impl Redis {
    /// Starts `redis-server` on a free port, without persistence.
    pub(crate) fn start() -> anyhow::Result<Self> {
        // Free a moment ago, and so most probably still.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut child = Dependent::spawn(&mut command)
            .context("cannot start redis-server; is it installed?")?;
        let process = Process::open(child.process().id())?;
        let redis = Self {
            address,
            process,
            _child: child,
        };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(redis);
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("redis-server does not listen on {address}");
    }

    /// As a configuration names it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

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
        let connect = || -> anyhow::Result<TcpStream> {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            Ok(stream)
        };
        let (publisher, mut subscriber) = (connect()?, connect()?);
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

fn write_command(stream: &mut TcpStream, words: &[&[u8]]) -> anyhow::Result<()> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(stream.write_all(&bytes)?)
}
