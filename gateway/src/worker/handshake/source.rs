//! Where a client is.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Worker;
use crate::http::proxied::{self, MAX_HEADER, Proxied};

/// What is known of where a client is.
pub(super) enum Source {
    /// Its address, or that of a proxy in HTTP.
    Address(IpAddr),
    /// A balancer in TCP did not say what it has to.
    Unsaid,
}

impl Worker {
    /// Finds out where a client is, as far as that is known before its request: by the PROXY protocol,
    /// if a balancer speaks it.
    pub(super) async fn source(&self, stream: &TcpStream) -> io::Result<Source> {
        let proxy = &self.config().proxy;
        // A Unix socket has no address: what is behind it is on this host.
        let peer = stream.peer_addr();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| {
            peer.ip().to_canonical()
        });
        if !proxy.protocol || !proxy.trusts(peer) {
            return Ok(Source::Address(peer));
        }
        let mut bytes = vec![0; MAX_HEADER];
        loop {
            stream.readable().await?;
            let count = match recv(
                stream,
                &mut bytes[..],
                RecvFlags::DONTWAIT | RecvFlags::PEEK,
            ) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, count)) => count,
                Err(Errno::AGAIN | Errno::INTR) => 0,
                Err(error) => return Err(error.into()),
            };
            match proxied::read(&bytes[..count]) {
                Proxied::Partial => {
                    // What arrives from now on is a new event.
                    let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    let _ = stream.try_io(Interest::READABLE, seen);
                }
                Proxied::Other => return Ok(Source::Unsaid),
                Proxied::Header(size, source) => {
                    // It is there: it was seen.
                    recv(stream, &mut bytes[..size], RecvFlags::DONTWAIT)?;
                    return Ok(Source::Address(source.unwrap_or(peer)));
                }
            }
        }
    }
}
