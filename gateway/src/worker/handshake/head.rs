//! A request's head as it arrives, and how its reading ends.

use std::io;
use std::net::IpAddr;

use fanfare_shared::config::Proxy;

use crate::http::credentials::{self, Credentials, Places};
use crate::http::entrance::Entrance;
use crate::http::forwarded;
use crate::http::handshake::{self, Outcome, Upgrade};
use crate::http::response::Response;
use crate::stream::Stream;

/// How the reading of a head ends.
pub(super) enum Ending {
    /// A WebSocket, what it shows for itself, and what came behind the head: the first frames, which
    /// some clients send without waiting.
    Upgrade(Upgrade, Option<Credentials>, Vec<u8>),
    /// A handshake with a fault.
    Respond(Response),
    /// No handshake, but the beginning of plain HTTP.
    Request(Vec<u8>),
    /// It was not whole when its time was over.
    Unfinished,
}

/// What has arrived of a head.
pub(super) struct Head<'a> {
    /// The most that it may be.
    limit: usize,
    /// Where to look for tokens; `None` where nobody asks for them.
    places: Option<Places<'a>>,
    /// Where a WebSocket can begin.
    entrances: &'a [Entrance],
    received: Vec<u8>,
    /// Where the client is, and by whose word that may be corrected.
    client: Option<(IpAddr, &'a Proxy)>,
}

impl<'a> Head<'a> {
    pub(super) const fn new(
        limit: usize,
        places: Option<Places<'a>>,
        entrances: &'a [Entrance],
    ) -> Self {
        Self {
            limit,
            places,
            entrances,
            received: Vec::new(),
            client: None,
        }
    }

    /// Notes where the request comes from: a client, or a proxy that says where one is.
    pub(super) const fn comes_from(&mut self, address: IpAddr, proxy: &'a Proxy) {
        self.client = Some((address, proxy));
    }

    /// Where the client is, as far as that was asked for.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client.map(|(address, _)| address)
    }

    /// Takes what was read; answers once the head is whole or refused.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Option<Ending> {
        // A head mostly comes whole, and is then looked at where it is.
        let bytes = if self.received.is_empty() {
            bytes
        } else {
            self.received.extend_from_slice(bytes);
            &self.received
        };
        match handshake::read(bytes, self.limit, self.entrances) {
            Outcome::Partial => {
                if self.received.is_empty() {
                    self.received = bytes.to_vec();
                }
                None
            }
            Outcome::Upgrade(upgrade) => {
                let (head, first) = bytes.split_at(upgrade.head);
                if let Some((address, proxy)) = &mut self.client {
                    *address = forwarded::client(head, *address, proxy);
                }
                let shown = self.places.map(|places| credentials::read(head, places));
                Some(Ending::Upgrade(upgrade, shown, first.to_vec()))
            }
            Outcome::Respond(response) => Some(Ending::Respond(response)),
            Outcome::Request => Some(Ending::Request(bytes.to_vec())),
        }
    }

    /// Reads what is there already, or a worker that is slow to look would turn away who was in
    /// time. Past tokio, which may not know yet that there is something.
    pub(super) fn read_the_rest(
        &mut self,
        stream: &Stream,
        scratch: &mut [u8],
    ) -> io::Result<Ending> {
        // What there is then is no request.
        while !stream.is_shaking_hands() {
            let count = match stream.read_now(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Some(ending) = self.take_in(&scratch[..count]) {
                return Ok(ending);
            }
        }
        Ok(Ending::Unfinished)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_head_that_is_there_is_read_before_the_runtime_knows_of_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut client = std::net::TcpStream::connect(address).expect("a connection");
        let (socket, _) = listener.accept().expect("its other end");
        socket.set_nonblocking(true).expect("a socket");
        let (mut head, mut scratch) = (Head::new(1024, None, &[]), vec![0; 16]);

        // Nothing is awaited meanwhile, so that the runtime does not look at the socket.
        let stream = TcpStream::from_std(socket).expect("a stream").into();
        let unfinished = head.read_the_rest(&stream, &mut scratch);
        assert!(matches!(unfinished, Ok(Ending::Unfinished)));
        client
            .write_all(b"GET /nowhere HTTP/1.1\r\n")
            .expect("to send");
        let unfinished = head.read_the_rest(&stream, &mut scratch);
        assert!(matches!(unfinished, Ok(Ending::Unfinished)));
        client.write_all(b"Host: x\r\n\r\n").expect("to send");
        let whole = head.read_the_rest(&stream, &mut scratch);
        assert!(matches!(whole, Ok(Ending::Request(received)) if received.ends_with(b"\r\n\r\n")));
    }
}
