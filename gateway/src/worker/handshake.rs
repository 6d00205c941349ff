//! From an accepted socket to a connection, or to an answer in plain HTTP.

use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fanfare_shared::codec::Format;
use fanfare_shared::{ClientId, Event, Welcome};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{Load, Worker};
use crate::connection::{self, Connection};
use crate::handshake::{self, Outcome, Upgrade};
use crate::http::{Response, Status};
use crate::metrics::Handshake;
use crate::session;

/// How long the peer may take to read a plain HTTP answer and close.
const LINGER: Duration = Duration::from_secs(2);

impl Worker {
    /// Takes up a socket.
    pub(super) fn serve(
        &self,
        socket: std::net::TcpStream,
        permit: OwnedSemaphorePermit,
        load: Load,
    ) {
        let worker = self.share();
        match TcpStream::from_std(socket) {
            Ok(stream) => {
                spawn_local(async move {
                    worker.shake_hands(stream, load).await;
                    drop(permit);
                });
            }
            Err(error) => tracing::warn!(%error, "a socket could not be registered"),
        }
    }

    async fn shake_hands(self: Rc<Self>, stream: TcpStream, load: Load) {
        let patience = self.limits().handshake_timeout;
        let accepted = Instant::now();
        let (outcome, first) = match timeout(patience, self.read_head(&stream)).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => return self.shared.metrics.handshake(Handshake::Aborted),
            Err(_) => {
                let message = format!("the request took longer than {} s", patience.as_secs());
                (
                    Outcome::Respond(Response::error(Status::Timeout, message)),
                    Vec::new(),
                )
            }
        };
        let response = match outcome {
            Outcome::Upgrade(upgrade) => match self.admit() {
                Ok(()) => {
                    self.shared
                        .metrics
                        .handshake_seconds
                        .observe(accepted.elapsed().as_secs_f64());
                    return self.start(stream, upgrade, first, load);
                }
                Err(response) => response,
            },
            Outcome::Respond(response) => response,
            Outcome::Partial => return,
        };
        self.shared
            .metrics
            .handshake(Handshake::of(response.status()));
        let answered = timeout(LINGER, respond(&stream, &response.encode(), &self)).await;
        if let Ok(Err(error)) = answered {
            tracing::debug!(%error, "the peer went away before its answer was read");
        }
    }

    /// Counts one more connection, unless the node is full or going away.
    fn admit(&self) -> Result<(), Response> {
        let limit = self.limits().connections;
        if self.draining.get() {
            let message = "the node is shutting down; another one will take you".into();
            return Err(Response::error(Status::Unavailable, message));
        }
        if self.shared.connections.fetch_add(1, Ordering::Relaxed) >= limit {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            let message = format!("the node has its {limit} connections (limits.connections)");
            return Err(Response::error(Status::Unavailable, message));
        }
        Ok(())
    }

    /// Reads until the head is whole or refused; answers also what came behind it: the first
    /// frames, which some clients send without waiting.
    async fn read_head(&self, stream: &TcpStream) -> io::Result<(Outcome, Vec<u8>)> {
        let limit = self.limits().handshake_bytes;
        let mut received = Vec::new();
        loop {
            stream.readable().await?;
            let mut scratch = self.scratch.borrow_mut();
            let count = match stream.try_read(&mut scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            if count < scratch.len() {
                connection::expect_more_later(stream);
            }
            // A head mostly comes whole, and is then looked at where it is.
            let bytes = if received.is_empty() {
                &scratch[..count]
            } else {
                received.extend_from_slice(&scratch[..count]);
                &received
            };
            match handshake::read(bytes, limit) {
                Outcome::Partial => received = bytes.to_vec(),
                Outcome::Upgrade(upgrade) => {
                    let first = bytes[upgrade.head..].to_vec();
                    return Ok((Outcome::Upgrade(upgrade), first));
                }
                refused @ Outcome::Respond(_) => return Ok((refused, Vec::new())),
            }
        }
    }

    /// Begins the WebSocket: the response, the welcome, the rooms named in the address.
    fn start(self: Rc<Self>, stream: TcpStream, upgrade: Upgrade, first: Vec<u8>, load: Load) {
        let Upgrade {
            format,
            rooms,
            echo,
            response,
            ..
        } = upgrade;
        let sequence = self.shared.clients.fetch_add(1, Ordering::Relaxed);
        let client = ClientId::new(self.shared.node, sequence);
        let connection = self.open(|slot| Connection::new(stream, slot, client, format, echo));
        self.shared.metrics.handshake(Handshake::Ok);
        // Rooms that are open answer at once, and so in the same write.
        self.write_after(|| {
            // Not a frame, but the first thing to be written all the same.
            self.send(&connection, response.into());
            if format != Format::Plain {
                let welcome = Welcome {
                    client,
                    user: None,
                    node: &self.config().node,
                    heartbeat: self.config().heartbeat.as_secs(),
                    max_message: self.limits().max_message as u64,
                };
                session::say(&self, &connection, &Event::Welcome(welcome));
            }
            session::join_at_once(&self, &connection, rooms);
        });
        // A task of its own: the handshake's is larger, and has done its work.
        spawn_local(async move {
            connection::run(&self, &connection, first).await;
            self.end(&connection);
            drop(load);
        });
    }
}

/// Writes an answer and waits until the peer has closed, so that no reset overtakes it.
async fn respond(stream: &TcpStream, mut answer: &[u8], worker: &Worker) -> io::Result<()> {
    while !answer.is_empty() {
        stream.writable().await?;
        match stream.try_write(answer) {
            Ok(count) => answer = &answer[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    SockRef::from(stream).shutdown(Shutdown::Write)?;
    loop {
        stream.readable().await?;
        match stream.try_read(&mut worker.scratch.borrow_mut()) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
