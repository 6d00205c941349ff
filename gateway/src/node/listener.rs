//! The public port: accepts sockets and hands each to the least loaded worker.
//!
//! Never waits for one worker, nor for a client: what cannot be handed on is answered 503.

mod acceptor;
mod port;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_shared::config::Limits;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

pub(crate) use self::acceptor::Acceptor;
pub(crate) use self::port::{Access, Listener, bind};
use super::workers::WorkerHandle;
use crate::http::answer;
use crate::http::places::Places;
use crate::http::response::{Response, Status};
use crate::metrics::{Handshake, Metrics, Waiting};
use crate::nofile;
use crate::stream::Stream;
use crate::worker::{Control, Load};

/// For how long no worker may take a socket before clients are refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon to look again for a worker that does.
const LOOK: Duration = Duration::from_millis(1);

/// How many connections a socket weighs that a worker has not looked at: one that does not get
/// round to looking should not get more.
const WAITING: usize = 16;

/// Where accepted sockets go.
pub(crate) struct Dispatcher {
    workers: Vec<WorkerHandle>,
    /// How many sockets of clients there may be: connections and handshakes.
    sockets: usize,
    handshakes: Arc<Places>,
    refusals: Arc<Places>,
    /// Since when no worker takes another socket.
    behind: Option<Instant>,
    /// Whether clients speak TLS.
    in_tls: bool,
    metrics: Metrics,
}

/// Accepts until it is dropped.
pub(crate) async fn accept(listener: Listener, mut dispatcher: Dispatcher) {
    let failures = dispatcher.metrics.accept_failures("public");
    let mut acceptor = Acceptor::new(listener, "public", 1, failures);
    loop {
        let socket = acceptor.next().await;
        if acceptor.is_short_of_files() {
            dispatcher
                .refuse(socket, "the node has no open files left")
                .await;
        } else {
            dispatcher.pass(socket).await;
        }
    }
}

impl Dispatcher {
    pub(crate) fn new(workers: Vec<WorkerHandle>, limits: &Limits, metrics: Metrics) -> Self {
        Self {
            workers,
            sockets: limits.connections + limits.handshakes,
            handshakes: metrics.places(Waiting::Handshakes, limits.handshakes),
            refusals: metrics.places(Waiting::Refusals, nofile::refusals()),
            behind: None,
            in_tls: false,
            metrics,
        }
    }

    /// The same where clients speak TLS.
    pub(crate) fn in_tls(self, in_tls: bool) -> Self {
        Self { in_tls, ..self }
    }

    /// Hands a socket to a worker, or refuses it.
    async fn pass(&mut self, socket: TcpStream) {
        let open: usize = self.workers.iter().map(WorkerHandle::sockets).sum();
        if open >= self.sockets {
            return self
                .refuse(socket, "the node has as many sockets as it may")
                .await;
        }
        let place = self.handshakes.take().await;
        let chosen = choose(&self.workers, &mut self.behind).await;
        let Some((order, load)) = chosen else {
            drop(place);
            return self
                .refuse(socket, "the node is behind with its work")
                .await;
        };
        match socket.into_std() {
            Ok(socket) => order.send(Control::Serve(socket, place, load)),
            Err(error) => tracing::debug!(%error, "a socket was gone before it was served"),
        }
    }

    /// Answers 503 without a worker. In TLS the answer would take a handshake, which is the work
    /// that nobody has time for: the socket is closed.
    async fn refuse(&self, socket: TcpStream, why: &str) {
        self.metrics.handshake(Handshake::Unavailable);
        if self.in_tls {
            return;
        }
        let socket = Stream::from(socket);
        let place = self.refusals.take().await;
        let answer = Response::error(Status::Unavailable, why.to_owned()).encode();
        let Ok(sent) = answer::start(&socket, &answer) else {
            return;
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = answer::finish(&socket, &answer[sent..], answer::LINGER) => {}
                () = place.lost() => {}
            }
        });
        // One that lost its place lets go of its descriptor before another is taken.
        yield_now().await;
    }
}

/// The least loaded worker that takes another socket. One that is stuck is passed over; while all
/// have their hands full, the kernel's queue waits, but not for ever: `behind` says since when.
async fn choose<'a>(
    workers: &'a [WorkerHandle],
    behind: &mut Option<Instant>,
) -> Option<(mpsc::Permit<'a, Control>, Load)> {
    loop {
        let worker = workers
            .iter()
            .filter(|worker| worker.controls.capacity() > 0 && !worker.controls.is_closed())
            .min_by_key(|worker| worker.sockets() + WAITING * worker.waiting());
        if let Some(worker) = worker
            && let Ok(order) = worker.controls.try_reserve()
        {
            *behind = None;
            return Some((order, Load::new(&worker.load)));
        }
        if behind.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return None;
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use prometheus::Registry;
    use socket2::SockRef;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::port::NOTSENT_LOWAT;
    use super::*;

    /// A worker with room for so many sockets, and where they arrive.
    fn worker(room: usize) -> (WorkerHandle, mpsc::Receiver<Control>) {
        let (controls, received) = mpsc::channel(room);
        let load = Arc::default();
        (WorkerHandle { controls, load }, received)
    }

    fn local(backlog: u32) -> Listener {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        bind(&address.into(), backlog, "listen", Access::Anyone)
            .unwrap()
            .0
    }

    /// A port, and clients that connected to it.
    async fn open(workers: Vec<WorkerHandle>, limits: &Limits, clients: usize) -> Vec<TcpStream> {
        let listener = local(64);
        let address = listener.address().tcp().unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let dispatcher = Dispatcher::new(workers, limits, metrics);
        tokio::spawn(accept(listener, dispatcher));
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(TcpStream::connect(address).await.unwrap());
        }
        connected
    }

    async fn answer_to(client: &mut TcpStream) -> String {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        let read = timeout(Duration::from_secs(30), read).await;
        read.expect("an answer").expect("no reset");
        answer
    }

    #[tokio::test]
    async fn a_worker_that_takes_nothing_keeps_nobody_from_the_others() {
        let (stuck, _never_looked_at) = worker(2);
        let (busy, mut received) = worker(8);
        let busy_load = Arc::clone(&busy.load);
        let _clients = open(vec![stuck, busy], &Limits::default(), 40).await;
        let mut served = Vec::new();
        while served.len() < 38 {
            let next = timeout(Duration::from_secs(30), received.recv()).await;
            served.push(next.expect("another socket"));
        }
        assert_eq!(busy_load.load(std::sync::atomic::Ordering::Relaxed), 38);
    }

    #[tokio::test]
    async fn where_no_worker_takes_another_clients_are_told_503() {
        let (stuck, _never_looked_at) = worker(1);
        let (too, _neither) = worker(1);
        let mut clients = open(vec![stuck, too], &Limits::default(), 6).await;
        for client in &mut clients[2..] {
            let answer = answer_to(client).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("Retry-After: 1"), "{answer}");
        }
    }

    #[tokio::test]
    async fn more_sockets_than_the_node_may_have_are_told_503_at_once() {
        let (worker, mut received) = worker(64);
        let limits = Limits {
            connections: 2,
            handshakes: 1,
            ..Limits::default()
        };
        let mut clients = open(vec![worker], &limits, 60).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(received.recv().await.expect("a socket"));
        }
        for client in &mut clients[3..] {
            let answer = answer_to(client).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
        assert!(received.is_empty());
    }

    #[tokio::test]
    async fn accepted_sockets_inherit_what_was_set_for_the_listener() {
        let listener = local(8);
        let address = listener.address().tcp().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let accepted = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT);
    }
}
