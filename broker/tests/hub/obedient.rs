//! A backend that does as it is told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use fanfare_broker::backend::memory::Memory;
use fanfare_broker::backend::{
    Announcement, Backend, BackendError, Log, Pending, Publish, Read, Refused, Scope, Sink,
    Snapshot,
};
use fanfare_broker::{Hub, Metrics, Options};
use fanfare_shared::{Position, Publication, RoomName};
use tokio::runtime::Handle;

use crate::metrics;

/// Memory that can be made to fail, or to be silent, and notes who is subscribed.
#[derive(Default)]
pub(crate) struct Obedient {
    memory: Memory,
    sink: std::sync::OnceLock<Arc<Hub>>,
    down: AtomicBool,
    /// The part whose reads are refused, though it is ready; none where it is 0.
    unreadable: AtomicU64,
    /// Which part a room is of: 1 for all, or by the first letter of its name.
    pub(crate) parted: AtomicBool,
    /// Whether publications are kept from the hub.
    silent: AtomicBool,
    pub(crate) subscribed: Mutex<HashSet<RoomName>>,
    pub(crate) reads: Mutex<Vec<(RoomName, Read)>>,
    /// Told when a room is being closed, and waited for then: in vain, if all is well.
    pub(crate) closing: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Obedient {
    pub(crate) fn with_hub(options: Options) -> (Arc<Self>, Arc<Hub>, Metrics) {
        let (backend, metrics) = (Arc::new(Self::default()), metrics());
        let hub = Hub::new(
            options,
            Arc::clone(&backend) as Arc<dyn Backend>,
            Handle::current(),
            metrics.clone(),
        );
        let _ = backend.sink.set(Arc::clone(&hub));
        backend.memory.attach(Arc::clone(&backend) as Arc<dyn Sink>);
        (backend, hub, metrics)
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::SeqCst)
    }

    pub(crate) fn set_unreadable(&self, part: u64) {
        self.unreadable.store(part, Ordering::SeqCst);
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.lock().expect("no panic").len()
    }
}

impl Backend for Obedient {
    fn publish(&self, publish: Publish) -> Pending<Option<Position>> {
        self.memory.publish(publish)
    }

    fn forget(&self, room: &RoomName) -> Pending<()> {
        self.memory.forget(room)
    }

    fn subscribe(&self, room: &RoomName, _worker: usize) -> Pending<()> {
        if self.is_down() {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        self.subscribed
            .lock()
            .expect("no panic")
            .insert(room.clone());
        Pending::ready(Ok(()))
    }

    fn unsubscribe(&self, room: &RoomName) {
        if let Some((closing, joins)) = self.closing.lock().expect("no panic").take() {
            closing.send(()).expect("somebody waits");
            let _ = joins.recv_timeout(Duration::from_millis(50));
        }
        self.subscribed.lock().expect("no panic").remove(room);
    }

    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot> {
        self.reads
            .lock()
            .expect("no panic")
            .push((room.clone(), read));
        if self.is_down() {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        if self.unreadable.load(Ordering::SeqCst) == self.part(room) {
            return Pending::ready(Err(BackendError::Refused(Refused::Busy)));
        }
        self.memory.read(room, log, read)
    }

    fn part(&self, room: &RoomName) -> u64 {
        if self.parted.load(Ordering::SeqCst) {
            room.as_str().as_bytes()[0].into()
        } else {
            1
        }
    }

    fn ready(&self) -> bool {
        !self.is_down()
    }
}

impl Sink for Obedient {
    fn deliver(&self, publication: Arc<Publication>) {
        if !self.silent.load(Ordering::SeqCst)
            && let Some(hub) = self.sink.get()
        {
            hub.deliver(publication);
        }
    }

    fn announce(&self, _: Announcement) {}

    fn lost(&self, _: &Scope) {}

    fn restored<'a>(
        &'a self,
        _: &'a Scope,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }

    fn congested(&self) -> bool {
        false
    }
}
