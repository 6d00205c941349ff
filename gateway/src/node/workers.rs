//! The node's workers: a thread each, and how the rest of the node reaches them.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::worker::{self, Control, Shared};

/// How many sockets may wait for a worker to look at them; more wait in the kernel's queue.
const CONTROLS: usize = 64;

/// How the rest of the node reaches a worker.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub(crate) controls: mpsc::Sender<Control>,
    /// How many sockets it has.
    pub(crate) load: Arc<AtomicUsize>,
}

impl WorkerHandle {
    /// How many sockets it has, those included that it has not looked at.
    pub(crate) fn sockets(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// How many sockets it has not looked at.
    pub(crate) fn waiting(&self) -> usize {
        self.controls.max_capacity() - self.controls.capacity()
    }
}

/// Threads that wait for what they are to serve; dropped, they end.
pub(crate) struct Workers {
    handles: Vec<WorkerHandle>,
    waiting: Vec<oneshot::Sender<Arc<Shared>>>,
    runtimes: Vec<Handle>,
    ended: mpsc::Receiver<()>,
}

impl Workers {
    /// Starts `count` threads, each with a runtime.
    pub(crate) async fn spawn(count: usize) -> anyhow::Result<Self> {
        let (ended, all_ended) = mpsc::channel(1);
        let mut workers = Self {
            handles: Vec::new(),
            waiting: Vec::new(),
            runtimes: Vec::new(),
            ended: all_ended,
        };
        for index in 0..count {
            let (controls, received) = mpsc::channel(CONTROLS);
            let (start, shared) = oneshot::channel();
            let (built, runtime) = oneshot::channel();
            let ended = ended.clone();
            thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(index, built, shared, received, ended))
                .context("cannot start a worker thread")?;
            let runtime = runtime.await.context("a worker thread ended")?;
            workers
                .runtimes
                .push(runtime.context("cannot start a worker's runtime")?);
            workers.waiting.push(start);
            workers.handles.push(WorkerHandle {
                controls,
                load: Arc::default(),
            });
        }
        Ok(workers)
    }

    /// Where the backend belongs: with a single worker, on its thread, since handing each outcome to
    /// another and back would only take longer; with several, on a thread of its own, lest it wait
    /// for the fan-out of one and slow it down. On one and not on several, whose waking each other
    /// costs more than what there is to do. What it receives is another matter: see
    /// [`Workers::runtimes`].
    pub(crate) fn home_of_backend(&self) -> anyhow::Result<Handle> {
        match &self.runtimes[..] {
            [only] => Ok(only.clone()),
            _ => spawn_runtime("backend"),
        }
    }

    /// Where what the other nodes publish is received: on the threads of those who hand it on. Which
    /// number each has, it has in the hub, too.
    pub(crate) fn runtimes(&self) -> &[Handle] {
        &self.runtimes
    }

    /// Has all of them begin. The receiver hears of one that failed, and ends when all have
    /// drained.
    pub(crate) fn start(self, shared: &Arc<Shared>) -> (Vec<WorkerHandle>, mpsc::Receiver<()>) {
        for worker in self.waiting {
            // One that is gone has said so through `ended`.
            let _ = worker.send(Arc::clone(shared));
        }
        (self.handles, self.ended)
    }
}

/// Starts a thread for what is spawned on the answer, until the process ends.
fn spawn_runtime(name: &str) -> anyhow::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .with_context(|| format!("cannot start the {name}'s runtime"))?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))
        .with_context(|| format!("cannot start the {name}'s thread"))?;
    Ok(handle)
}
