//! A way to Redis that counts what Redis sends along it: publications by their stamps, and bytes.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, thread};

use super::URL;
use crate::stamp::{self, Stamp};

/// Bytes taken at once.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A forwarder in front of a Redis. It serves until the process ends.
pub(crate) struct Tap {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    publications: AtomicU64,
    bytes: AtomicU64,
}

impl Tap {
    /// Taps the way to `redis`.
    pub(crate) fn on(redis: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without its counterpart the connection ends here, and the node says so.
                if let Ok(server) = TcpStream::connect(redis) {
                    join(client, server, &counted);
                }
            }
        });
        Ok(Self { address, counts })
    }

    /// What tells a node to use it.
    pub(crate) fn setting(&self) -> (&'static str, String) {
        (URL, format!("redis://{}", self.address))
    }

    /// How many publications Redis has sent, and how many bytes of all kinds.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.counts.publications), of(&self.counts.bytes))
    }
}

/// Forwards both ways, on two threads that end with either side.
fn join(client: TcpStream, server: TcpStream, counts: &Arc<Counts>) {
    // Where a socket refuses, latency suffers, not the count.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(mut to_server), Ok(mut from_client)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let counts = Arc::clone(counts);
    thread::spawn(move || count(server, client, &counts));
}

fn count(mut from: TcpStream, mut to: TcpStream, counts: &Counts) {
    let mut scratch = vec![0; SCRATCH_BYTES];
    // What may be the beginning of a stamp whose rest has not come.
    let mut kept = 0;
    while let Ok(count @ 1..) = from.read(&mut scratch[kept..]) {
        let end = kept + count;
        if to.write_all(&scratch[kept..end]).is_err() {
            break;
        }
        let mut at = 0;
        while let Some((_, found)) = Stamp::find(&scratch[at..end], 0) {
            counts.publications.fetch_add(1, Ordering::Relaxed);
            at += found + stamp::LEN;
        }
        counts.bytes.fetch_add(count as u64, Ordering::Relaxed);
        let rest = at.max(end.saturating_sub(stamp::LEN - 1));
        scratch.copy_within(rest..end, 0);
        kept = end - rest;
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_in_two_pieces_counts_once() {
        let redis = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tap = Tap::on(redis.local_addr().unwrap()).unwrap();
        let mut node = TcpStream::connect(tap.address).unwrap();
        let (mut redis, _) = redis.accept().unwrap();
        let stamp = Stamp {
            room: 1,
            seq: 2,
            due: 3,
        };
        let sent = [b"+OK\r\n", &stamp.payload(100)[..], b"\r\n"].concat();
        let mut received = vec![0; 20];
        redis.write_all(&sent[..20]).unwrap();
        node.read_exact(&mut received).unwrap();
        assert_eq!(tap.counts().0, 0);
        redis.write_all(&sent[20..]).unwrap();
        redis.write_all(&sent).unwrap();
        redis.shutdown(Shutdown::Write).unwrap();
        node.read_to_end(&mut received).unwrap();
        assert_eq!(received, [&sent[..], &sent].concat());
        assert_eq!(tap.counts(), (2, 2 * sent.len() as u64));
    }
}
