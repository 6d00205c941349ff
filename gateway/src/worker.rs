//! A worker: one thread that owns its connections and its part of the hub.
//!
//! Everything here runs on that thread, so nothing needs a lock. The worker takes sockets from
//! the listener, posts from the hub's inbox, and writes what both left in the outboxes.

mod around;
mod authenticate;
mod claim;
mod commands;
mod connection;
mod deliver;
mod drain;
mod encode;
mod fanout;
#[cfg(test)]
pub(crate) mod fixture;
mod flush;
mod handshake;
mod heartbeat;
mod inbound;
mod quotas;
mod rates;
mod read;
mod send;
mod shared;
mod shed;
mod throttle;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use fanfare_broker::{Backlog, Members};
use fanfare_shared::Identity;
use fanfare_shared::code::CloseCode;
use fanfare_shared::config::{Config, Limits};
use slab::Slab;
use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, spawn_local};

use self::connection::Connection;
pub(crate) use self::quotas::Quotas;
use self::rates::Rates;
use self::send::Sender;
use self::shared::SCRATCH_BYTES;
pub(crate) use self::shared::Shared;
use crate::dispatch::turn::{self, APPEND, CLOSE, Turn};
use crate::dispatch::{self, Hearing};
use crate::http::places::Place;
use crate::metrics::Tally;
use crate::panic;
use crate::socket::Socket;

/// How many connections are looked at before it is asked whether others should go on.
const LOOKS_PER_TURN: usize = 256;

/// What the rest of the node may ask of a worker.
pub(crate) enum Control {
    /// Serve a socket. The place bounds the handshakes under way.
    Serve(std::net::TcpStream, Place, Load),
    /// Close every connection as the configuration says, and end when they are gone or the time
    /// is up.
    Drain,
}

/// One socket's share in a worker's load, for the listener to choose the least loaded.
pub(crate) struct Load(Arc<AtomicUsize>);

impl Load {
    pub(crate) fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One thread's connections.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    connections: RefCell<Slab<Rc<Connection>>>,
    members: RefCell<Members<usize>>,
    /// Whose the connections without a token are: nobody's.
    anonymous: Arc<Identity>,
    /// Connections that were given publications, to be written when their batch is done.
    delivered: RefCell<Vec<Rc<Connection>>>,
    /// Connections that were told something else, which does not wait for a batch.
    answered: RefCell<Vec<Rc<Connection>>>,
    /// Wakes the task that writes to those.
    flusher: Cell<Option<Waker>>,
    /// Lent to whichever connection is being read.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Writes a publication to those who have nothing else to be written.
    sender: RefCell<Sender>,
    tally: Tally,
    /// What the outboxes hold together.
    backlog: Backlog,
    /// How much that may be.
    backlog_share: usize,
    /// How much it may be before the slowest are shed: the share, or what could not be shed.
    shed_above: Cell<usize>,
    /// Whether they are being shed.
    shedding: Cell<bool>,
    /// What the connections hold of their peers' unfinished input, in bytes.
    inbound: Cell<usize>,
    /// How much that may be.
    inbound_share: usize,
    /// What this worker last added to the node's gauge of it.
    inbound_gauged: Cell<i64>,
    /// Wakes who makes room when it is more.
    inbound_full: Notify,
    /// Wakes the readers when it is no longer.
    inbound_freed: Notify,
    draining: Cell<bool>,
    /// Wakes those who end with the drain's beginning.
    drain_began: Notify,
    /// What each connection may send; none where nothing bounds that.
    rates: Option<Rates>,
    /// What concerns all nodes.
    hearing: Hearing,
    /// Wakes the handshakes that wait until it is known what is revoked.
    informed: Notify,
    /// Encodes long answers one at a time.
    encoding: Semaphore,
    /// Takes one step of a TLS handshake at a time.
    shaking: Semaphore,
    /// What was done since others could.
    turn: Turn,
    /// What this worker last added to the node's gauges of outboxes and backlog.
    surveyed: Cell<(i64, i64)>,
    /// Wakes the stop when the last connection is gone.
    emptied: Notify,
    this: Weak<Self>,
}

/// Runs a worker on the current thread until nobody controls it any more.
///
/// Tells `built` about its runtime, which runs from then on, and begins with `shared`. Sends to
/// `ended` if it failed, and drops it when it was told to drain and has, or the time was up.
pub(crate) fn run(
    index: usize,
    built: oneshot::Sender<io::Result<Handle>>,
    shared: oneshot::Receiver<Arc<Shared>>,
    mut controls: mpsc::Receiver<Control>,
    ended: mpsc::Sender<()>,
) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    // Whoever asked may have gone.
    let _ = built.send(match &runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(error.kind().into()),
    });
    let Ok(runtime) = runtime else { return };
    let mut ended = Some(ended);
    runtime.block_on(async {
        let Ok(shared) = shared.await else { return };
        let worker = Worker::new(index, shared);
        dispatch::listen(&*worker);
        // Without any of these the worker is of no use.
        let mut duties = JoinSet::new();
        duties.spawn_local(async {
            panic::inject("worker").await;
            pending::<()>().await;
        });
        duties.spawn_local(Rc::clone(&worker).fan_out());
        duties.spawn_local(Rc::clone(&worker).write_replies());
        duties.spawn_local(Rc::clone(&worker).keep_alive());
        duties.spawn_local(Rc::clone(&worker).bound_inbound());
        loop {
            tokio::select! {
                control = controls.recv() => match control {
                    Some(Control::Serve(socket, place, load)) => worker.serve(socket, place, load),
                    // Meanwhile handshakes are answered with 503.
                    Some(Control::Drain) => if let Some(ended) = ended.take() {
                        spawn_local(Rc::clone(&worker).drain(ended));
                    },
                    None => return,
                },
                Some(ended_early) = duties.join_next() => {
                    tracing::error!(worker = index, ?ended_early, "a worker failed");
                    panic::note(format!("worker-{index} ended unasked"));
                    if let Some(ended) = ended.take() {
                        let _ = ended.send(()).await;
                    }
                    return;
                }
            }
        }
    });
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        let backlog_share = shared.backlog_share();
        let inbound_share = shared.inbound_share();
        let io_uring = shared.config.io_uring;
        let has_tokens = shared.tokens.is_some();
        let rates = Rates::new(&shared.config.limits);
        Rc::new_cyclic(|this| Self {
            index,
            tally: shared.metrics.tally(),
            shared,
            connections: RefCell::default(),
            members: RefCell::default(),
            anonymous: Arc::default(),
            delivered: RefCell::default(),
            answered: RefCell::default(),
            flusher: Cell::new(None),
            sender: RefCell::new(Sender::new(io_uring)),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            backlog: Backlog::default(),
            backlog_share,
            shed_above: Cell::new(backlog_share),
            shedding: Cell::new(false),
            inbound: Cell::new(0),
            inbound_share,
            inbound_gauged: Cell::new(0),
            inbound_full: Notify::new(),
            inbound_freed: Notify::new(),
            draining: Cell::new(false),
            drain_began: Notify::new(),
            rates,
            hearing: Hearing::new(has_tokens),
            informed: Notify::new(),
            encoding: Semaphore::new(1),
            shaking: Semaphore::new(1),
            turn: Turn::default(),
            surveyed: Cell::default(),
            emptied: Notify::new(),
            this: this.clone(),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    // --- turns ---

    /// Counts the work for a message that was read.
    pub(crate) fn charge_read(&self, bytes: usize) {
        self.turn.charge_read(bytes);
    }

    /// Whether it is time for others to go on.
    pub(crate) fn is_turn_spent(&self) -> bool {
        self.turn.is_spent()
    }

    /// Lets others go on, if it is time to.
    pub(crate) async fn pause(&self) {
        self.turn.pause().await;
    }

    /// Another handle on this worker, for a task of its thread.
    #[allow(clippy::expect_used, reason = "`self` is inside an `Rc` that is alive")]
    pub(crate) fn share(&self) -> Rc<Self> {
        self.this
            .upgrade()
            .expect("a worker is only ever used through its Rc")
    }

    // --- connections ---

    /// Takes up a connection whose handshake is done. `make` is told where it will be kept.
    fn open(&self, make: impl FnOnce(usize) -> Rc<Connection>) -> Rc<Connection> {
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let connection = make(entry.key());
        entry.insert(Rc::clone(&connection));
        self.tally.opened.inc();
        self.shared.metrics.connections.inc();
        connection
    }

    /// Looks at every connection, taking turns with everything else: some that come or go meanwhile
    /// are left out.
    async fn each_connection(&self, mut look: impl FnMut(&Rc<Connection>)) {
        let mut places = 0..0;
        while places.end < self.connections.borrow().capacity() {
            places = places.end..places.end + LOOKS_PER_TURN;
            self.connections_at(&places).iter().for_each(&mut look);
            self.turn.charge(LOOKS_PER_TURN * APPEND);
            self.turn.pause().await;
        }
    }

    fn connections_at(&self, places: &Range<usize>) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        let found = places.clone().filter_map(|slot| connections.get(slot));
        found.map(Rc::clone).collect()
    }

    /// Lets go of a connection that has ended.
    fn end(&self, connection: &Connection) {
        dispatch::leave_all(self, connection);
        self.end_inbound(connection);
        self.connections.borrow_mut().try_remove(connection.slot);
        self.shared
            .metrics
            .closed(connection.socket.reason(), connection.opened.elapsed());
        if self.connections.borrow().is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Closes a connection by the closing handshake.
    pub(crate) fn close(&self, connection: &Rc<Connection>, code: CloseCode, reason: &str) {
        if Socket::start_close(connection, code, reason, self.limits().close_timeout) {
            tracing::debug!(client = %connection.client, code = code.as_u16(), reason, "closing");
            dispatch::leave_all(self, connection);
            self.turn.charge(CLOSE);
            self.mark_answered(connection);
        }
    }

    /// Answers a peer's close frame.
    pub(crate) fn answer_close(&self, connection: &Rc<Connection>, code: Option<u16>) {
        Socket::answer_close(connection, code, self.limits().close_timeout);
        dispatch::leave_all(self, connection);
        self.mark_answered(connection);
    }
}
