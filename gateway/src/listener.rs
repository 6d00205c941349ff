//! The public port: accepts sockets and hands each to the least loaded worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::places::Places;
use crate::worker::{Load, Order};
use crate::workers::WorkerHandle;

/// How long to pause when the process is out of file descriptors or memory: connections wait in
/// the kernel's queue meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Unsent bytes at which the kernel calls a socket full. Backpressure so reaches the outbox, where
/// the slow-consumer rule is, and not first megabytes of the kernel's buffer.
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Binds a port; its connections inherit what is set here. Errors name the address and the remedy.
pub(crate) fn bind(address: SocketAddr, backlog: u32, key: &str) -> anyhow::Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    bind().with_context(|| format!("cannot listen on {address}; set another address with `{key}`"))
}

/// Accepts until it is dropped.
pub(crate) async fn accept(
    listener: TcpListener,
    workers: Vec<WorkerHandle>,
    handshakes: Arc<Places>,
) {
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                if !is_peers_fault(&error) {
                    tracing::warn!(%error, "cannot accept; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let place = handshakes.take().await;
        let Some(worker) = workers
            .iter()
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed))
        else {
            return;
        };
        match socket.into_std() {
            Ok(socket) => {
                let order = Order::Serve(socket, place, Load::new(&worker.load));
                if worker.orders.send(order).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "a socket was gone before it was served"),
        }
    }
}

/// Whether `accept` failed for the one socket only, and not for the node.
fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_what_was_set_for_the_listener() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), 8, "listen").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT);
    }
}
