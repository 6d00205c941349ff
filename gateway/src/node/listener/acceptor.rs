//! Accepting sockets of one port, whatever stands in the way.
//!
//! Keeps a few descriptors in hand. Where the process has no others left, whatever took them, one
//! is let go for a socket, and taken back before the next: so the port answers still.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::port::Listener;

/// How long to pause when the process is out of file descriptors or memory: connections wait in
/// the kernel's queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the log says so.
const REPEAT: Duration = Duration::from_secs(60);

/// A port's listener.
pub(crate) struct Acceptor {
    listener: Listener,
    /// What `/metrics` and the log call the port.
    port: &'static str,
    failures: IntCounter,
    spares: Vec<OwnedFd>,
    /// How many there should be.
    keep: usize,
    /// Since when the log has not been told of failures, and how many there were.
    said: Option<Instant>,
    unsaid: u64,
}

impl Acceptor {
    /// Keeps so many descriptors in hand.
    pub(crate) fn new(
        listener: Listener,
        port: &'static str,
        keep: usize,
        failures: IntCounter,
    ) -> Self {
        let mut acceptor = Self {
            listener,
            port,
            failures,
            spares: Vec::with_capacity(keep),
            keep,
            said: None,
            unsaid: 0,
        };
        acceptor.take_spares();
        acceptor
    }

    /// The next socket.
    pub(crate) async fn next(&mut self) -> TcpStream {
        self.take_spares();
        loop {
            match self.listener.accept().await {
                Ok(socket) => return socket,
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    self.complain(&error);
                    let released = is_out_of_files(&error) && self.spares.pop().is_some();
                    if !released {
                        sleep(PAUSE).await;
                        self.take_spares();
                    }
                }
            }
        }
    }

    /// Whether the last socket has a descriptor that was kept in hand: it should not have it long.
    pub(crate) fn is_short_of_files(&self) -> bool {
        self.spares.len() < self.keep
    }

    /// Each stands for any other descriptor.
    fn take_spares(&mut self) {
        while self.is_short_of_files()
            && let Ok(spare) = self.listener.as_fd().try_clone_to_owned()
        {
            self.spares.push(spare);
        }
    }

    /// Counts a failure; the log hears of the first, and then once a minute.
    fn complain(&mut self, error: &io::Error) {
        self.failures.inc();
        self.unsaid += 1;
        if self.said.is_none_or(|said| said.elapsed() >= REPEAT) {
            tracing::warn!(
                %error,
                port = self.port,
                times = self.unsaid,
                "cannot accept; trying again"
            );
            self.said = Some(Instant::now());
            self.unsaid = 0;
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// Whether `accept` failed for the one socket only, and not for the node.
fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
