//! What lies between a node and a Redis: a relay of TCP connections that can be cut, held and
//! slowed down.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// They go through.
    Open,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Nothing goes through, nothing is closed; later everything arrives late, as after a cable was
    /// pulled for a while.
    Held(Way),
    /// Nothing goes through connections that are there already; new ones are open.
    Stuck,
    /// Each chunk waits this long.
    Slow(Duration),
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToNode,
    Both,
}

impl Path {
    /// Whether a connection that was made at a time when the path was `born` has to wait.
    fn holds(self, way: Way, born: Self) -> bool {
        match self {
            Self::Held(held) => held == Way::Both || held == way,
            Self::Stuck => born != Self::Stuck,
            _ => false,
        }
    }
}

/// A relay to one server. Gone when dropped, with its connections.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    path: watch::Sender<Path>,
    _relay: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port.
    pub(crate) async fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let path = watch::Sender::new(Path::Open);
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, server, path.subscribe()));
        Ok(Self {
            address,
            path,
            _relay: relay,
        })
    }

    pub(crate) fn set(&self, path: Path) {
        self.path.send_replace(path);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, path: watch::Receiver<Path>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of files for a moment, most probably.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(relay(client, server, path.clone()));
    }
}

async fn relay(client: TcpStream, server: SocketAddr, path: watch::Receiver<Path>) {
    let mut cut = path.clone();
    let both = async {
        let server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            end = pump(from_client, to_server, Way::ToServer, path.clone()) => end,
            end = pump(from_server, to_client, Way::ToNode, path.clone()) => end,
        }
    };
    tokio::select! {
        // Either way both sockets are closed.
        _ = both => {}
        _ = cut.wait_for(|path| *path == Path::Cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut path: watch::Receiver<Path>,
) -> std::io::Result<()> {
    let born = *path.borrow();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let path = path.wait_for(|path| !path.holds(way, born)).await;
        let path = path.map_or(Path::Cut, |path| *path);
        if let Path::Slow(delay) = path {
            sleep(delay).await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
