//! A Redis of the run's own, what to compare a broker on it with ([`bare`] latency, [`benchmark`]ed
//! throughput), and a [`tap`] on the way to it.

pub(crate) mod bare;
pub(crate) mod benchmark;
pub(crate) mod tap;

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::child::Dependent;
use crate::usage::Process;

/// The setting that names a node's Redis.
const URL: &str = "FANFARE_REDIS__URL";

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

    /// What tells a node to use it.
    pub(crate) fn setting(&self) -> (&'static str, String) {
        (URL, format!("redis://{}", self.address))
    }

    /// Sends a command and answers the reply's first line; of an array its first element's, of a
    /// bulk string its text.
    pub(crate) fn ask(&self, words: &[&[u8]]) -> anyhow::Result<String> {
        let mut stream = connect(self.address)?;
        write_command(&mut stream, words)?;
        let mut replies = BufReader::new(stream);
        let mut line = String::new();
        replies.read_line(&mut line)?;
        if line.starts_with('*') {
            line.clear();
            replies.read_line(&mut line)?;
        }
        if let Some(len) = line.strip_prefix('$') {
            let mut text = vec![0; len.trim().parse()?];
            replies.read_exact(&mut text)?;
            return Ok(String::from_utf8(text)?);
        }
        ensure!(!line.starts_with('-'), "Redis refuses: {}", line.trim());
        Ok(line.trim().to_owned())
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn write_command(mut stream: impl Write, words: &[&[u8]]) -> anyhow::Result<()> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(stream.write_all(&bytes)?)
}
