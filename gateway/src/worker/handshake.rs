//! From an accepted socket to a connection, or to an answer in plain HTTP.
//!
//! Every step that is the peer's ends by a deadline, and sooner where another needs the place.

mod head;
mod requests;
mod source;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use fanfare_shared::{ClientId, Event, Welcome};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use self::head::{Ending, Head};
use self::source::Source;
use super::authenticate::Identified;
use super::connection::Connection;
use super::quotas::Claims;
use super::{Load, Worker, read};
use crate::dispatch;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::handshake::Upgrade;
use crate::http::places::Place;
use crate::http::response::{Response, Status};
use crate::metrics::Handshake;
use crate::panic;
use crate::session::Session;
use crate::socket::Inbound;
use crate::stream::{Stream, is_to_be_repeated};

impl Worker {
    /// Takes up a socket.
    pub(super) fn serve(&self, socket: std::net::TcpStream, place: Place, load: Load) {
        let worker = self.share();
        let certificate = self.shared.certificate.as_deref();
        let stream =
            TcpStream::from_std(socket).and_then(|stream| Stream::with(stream, certificate));
        match stream {
            Ok(stream) => {
                // A panic has been logged, and what it took is let go of.
                spawn_local(panic::contain(worker.shake_hands(stream, place, load)));
            }
            Err(error) => tracing::debug!(%error, "a socket could not be registered"),
        }
    }

    async fn shake_hands(self: Rc<Self>, stream: Stream, place: Place, load: Load) {
        let patience = self.limits().handshake_timeout;
        let accepted = Instant::now();
        let mut head = Head::new(
            self.limits().handshake_bytes,
            self.token_places(),
            self.shared.doors.entrances(),
        );
        let reading = async {
            let is_asked = self.shared.quotas.ask_for_addresses() || self.connect_hook().is_some();
            if is_asked || self.config().proxy.protocol {
                match self.source(stream.socket()).await? {
                    Source::Address(address) => head.comes_from(address, &self.config().proxy),
                    Source::Unsaid => return Ok(Ending::Respond(unsaid())),
                }
            }
            self.read_head(&stream, &mut head).await
        };
        let (read, displaced) = tokio::select! {
            biased;
            read = timeout(patience, reading) => (read.ok(), false),
            () = place.lost() => (None, true),
        };
        let read =
            read.unwrap_or_else(|| head.read_the_rest(&stream, &mut self.scratch.borrow_mut()));
        let response = match read {
            Ok(Ending::Upgrade(upgrade, shown, first)) => {
                let entered = tokio::select! {
                    biased;
                    entered = self.enter(shown, head.client()) => entered,
                    () = place.lost() => Err(displaced_while_asking()),
                };
                match entered {
                    Ok((seat, identified)) => {
                        self.shared
                            .metrics
                            .handshake_seconds
                            .observe(accepted.elapsed().as_secs_f64());
                        return seat.start(stream, upgrade, identified, first, load);
                    }
                    Err(response) => response,
                }
            }
            Ok(Ending::Respond(response)) => response,
            Ok(Ending::Request(received)) => {
                let client = head.client();
                return self
                    .answer_requests(stream, received, &place, load, client)
                    .await;
            }
            Ok(Ending::Unfinished) if displaced => {
                self.shared.metrics.handshake(Handshake::Displaced);
                // Nothing of it is unread, so that it may be closed at once: others wait.
                let message = "others needed the place before the request was here; try again";
                let response = Response::error(Status::Timeout, message.into());
                let _ = answer::start(&stream, &response.encode());
                return;
            }
            Ok(Ending::Unfinished) => {
                let message = format!("the request took longer than {} s", patience.as_secs());
                Response::error(Status::Timeout, message)
            }
            Err(error) => {
                tracing::debug!(%error, "a handshake was given up");
                return self.shared.metrics.handshake(Handshake::Aborted);
            }
        };
        self.shared
            .metrics
            .handshake(Handshake::of(response.status().as_u16()));
        let response = response.encode();
        tokio::select! {
            biased;
            answered = answer::give(&stream, &response, patience) => {
                if let Err(error) = answered {
                    tracing::debug!(%error, "the peer did not take its answer");
                }
            }
            () = place.lost() => {}
        }
    }

    /// Finds out who it is, and counts one more connection.
    async fn enter(
        &self,
        shown: Option<Credentials>,
        client: Option<IpAddr>,
    ) -> Result<(Seat, Identified), Response> {
        let mut claims = self.claim(client)?;
        let identified = self.identify(shown, client).await?;
        if let Identified::Session(Some(credential)) = &identified {
            let user = credential.identity.user.as_deref();
            self.claim_user(&mut claims, user)
                .map_err(|message| Response::error(Status::TooMany, message))?;
        }
        Ok((self.admit(claims)?, identified))
    }

    /// Counts one more connection, unless the node is full or going away.
    fn admit(&self, claims: Claims) -> Result<Seat, Response> {
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
        Ok(Seat(self.share(), claims))
    }

    /// Reads until the head is whole or refused. In TLS the handshake comes first: one step of one
    /// client at a time, which may take half a millisecond, and then all others go on. A crowd of
    /// them would keep everybody else waiting.
    async fn read_head(&self, stream: &Stream, head: &mut Head<'_>) -> io::Result<Ending> {
        loop {
            stream.readable().await?;
            if !stream.is_shaking_hands() {
                if let Some(ending) = self.read_some(stream, head)? {
                    return Ok(ending);
                }
                continue;
            }
            let _turn = self.shaking.acquire().await;
            if let Some(ending) = self.read_some(stream, head)? {
                return Ok(ending);
            }
            tokio::task::yield_now().await;
        }
    }

    fn read_some(&self, stream: &Stream, head: &mut Head<'_>) -> io::Result<Option<Ending>> {
        let mut scratch = self.scratch.borrow_mut();
        let count = match stream.try_read(&mut scratch) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if is_to_be_repeated(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if count < scratch.len() {
            stream.expect_more_later();
        }
        Ok(head.take_in(&scratch[..count]))
    }
}

/// What a client is told that waited for a word about it when others needed its place.
fn displaced_while_asking() -> Response {
    let message = "others needed the place before it was known whether you may connect; try again";
    Response::error(Status::Unavailable, message.to_owned())
}

/// What a balancer is told that does not say where its client is.
fn unsaid() -> Response {
    let message = "a header of the PROXY protocol is expected here: proxy.protocol is set, and this \
                   address is one of proxy.trusted";
    Response::error(Status::BadRequest, message.to_owned())
}

/// One of the connections that a node may have, on its worker; given back when dropped. With it what
/// it is counted by, which the connection takes.
struct Seat(Rc<Worker>, Claims);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that its worker keeps; let go of when dropped, however it ended.
struct Guest {
    connection: Rc<Connection>,
    seat: Seat,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // For one that ended by a panic: others may be about to write to it.
        self.connection.socket.kill();
        self.seat.0.end(&self.connection);
    }
}

impl Seat {
    /// Begins the WebSocket: the response, the welcome, the rooms named in the address.
    fn start(
        mut self,
        stream: Stream,
        upgrade: Upgrade,
        identified: Identified,
        first: Vec<u8>,
        load: Load,
    ) {
        let claims = std::mem::take(&mut self.1);
        let worker = &self.0;
        let door = Arc::clone(worker.shared.doors.of(&upgrade));
        let has_words = door.has_words();
        let Upgrade {
            rooms, response, ..
        } = upgrade;
        let sequence = worker.shared.clients.fetch_add(1, Ordering::Relaxed);
        let client = ClientId::new(worker.shared.node, sequence);
        let (session, refused) = match identified {
            Identified::Session(credential) => {
                let revocations = worker.hearing.revocations.borrow();
                let revoked = revocations.rooms_of(credential.as_deref());
                (Session::new(credential).without(revoked), None)
            }
            Identified::Refused { code, reason } => (Session::default(), Some((code, reason))),
        };
        let connection = worker.open(|slot| Connection::new(stream, slot, client, &door, session));
        connection.claims.replace(claims);
        let guest = Guest {
            connection,
            seat: self,
        };
        let (worker, connection) = (&guest.seat.0, &guest.connection);
        worker.shared.metrics.handshake(Handshake::Ok);
        // Rooms that are open answer at once, and so in the same write.
        worker.write_after(|| {
            // Not a frame, but the first thing to be written all the same.
            if !response.is_empty() {
                worker.enqueue(connection, response.into());
            }
            if let Some((code, reason)) = refused {
                return worker.close(connection, code, &reason);
            }
            let session = connection.session.borrow();
            let credential = session.credential().cloned();
            drop(session);
            if has_words {
                let identity = credential.as_ref().map(|credential| &credential.identity);
                let welcome = Welcome {
                    client,
                    user: identity.and_then(|identity| identity.user.as_deref()),
                    node: &worker.config().node,
                    heartbeat: worker.config().heartbeat.as_secs(),
                    max_message: worker.limits().max_message as u64,
                    session: Some(worker.authentication(credential.as_deref())),
                };
                dispatch::say(&**worker, connection, &Event::Welcome(welcome));
            }
            let mut rooms = rooms;
            if has_words {
                let auto = credential.iter().flat_map(|credential| &credential.auto);
                rooms.extend(
                    auto.filter(|room| !rooms.contains(room))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
            dispatch::open_mailbox(&**worker, &**connection);
            dispatch::join_at_once(&**worker, connection, rooms, has_words);
        });
        connection.socket.inbound.replace(Inbound::begin(first));
        // A task of its own: the handshake's is larger, and has done its work.
        spawn_local(async move {
            let run = async {
                panic::inject("connection").await;
                read::run(&guest.seat.0, &guest.connection).await;
            };
            // A panic has been logged, and what it took is let go of.
            let _ = panic::contain(run).await;
            drop((guest, load));
        });
    }
}

#[cfg(test)]
mod tests;
