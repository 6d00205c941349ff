//! A sink that keeps what it was told, and lets tests wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_broker::backend::{Announcement, Scope, Sink};
use fanfare_shared::{Publication, RoomName};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a test waits for what has to come. Generous: it is reached only when it does not.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Asks again until the answer is as wanted, for what only time brings about.
pub(crate) async fn eventually<T, F: Future<Output = T>>(
    what: &str,
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// What a sink was told, in order.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Delivered(Arc<Publication>),
    /// With those of the rooms watched that are concerned.
    Lost(Vec<RoomName>),
    /// Likewise.
    Restored(Vec<RoomName>),
}

/// Keeps what it was told.
#[derive(Default)]
pub(crate) struct Recording {
    events: Mutex<Vec<Event>>,
    announced: Mutex<Vec<Announcement>>,
    watched: OnceLock<Vec<RoomName>>,
    changed: watch::Sender<()>,
    congested: AtomicBool,
    panics: AtomicBool,
}

impl Recording {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The texts that were published to a room and delivered, in order.
    pub(crate) fn texts(&self, room: &str) -> Vec<String> {
        self.delivered(room)
            .iter()
            .map(|publication| String::from_utf8_lossy(&publication.data.bytes).into_owned())
            .collect()
    }

    pub(crate) fn delivered(&self, room: &str) -> Vec<Arc<Publication>> {
        let mut found = Vec::new();
        for event in &*self.lock() {
            if let Event::Delivered(publication) = event
                && publication.room.as_str() == room
            {
                found.push(Arc::clone(publication));
            }
        }
        found
    }

    /// What was announced of a room's members, in order.
    pub(crate) fn announced(&self, room: &str) -> Vec<Announcement> {
        let announced = self.announced.lock();
        announced
            .iter()
            .filter(|announcement| announcement.room.as_str() == room)
            .cloned()
            .collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|event| wanted(event)).count()
    }

    /// Notes from now on which of these rooms a loss or a return concerns.
    pub(crate) fn watch(&self, rooms: &[String]) {
        let rooms = rooms
            .iter()
            .map(|room| RoomName::new(room).expect("a name"));
        self.watched.set(rooms.collect()).expect("watched once");
    }

    pub(crate) fn lost(&self) -> usize {
        self.count(|event| matches!(event, Event::Lost(_)))
    }

    pub(crate) fn restored(&self) -> usize {
        self.count(|event| matches!(event, Event::Restored(_)))
    }

    /// How often a room that is watched was lost.
    pub(crate) fn lost_of(&self, room: &str) -> usize {
        self.count(|event| matches!(event, Event::Lost(rooms) if has(rooms, room)))
    }

    /// How often a room that is watched was restored.
    pub(crate) fn restored_of(&self, room: &str) -> usize {
        self.count(|event| matches!(event, Event::Restored(rooms) if has(rooms, room)))
    }

    fn concerned(&self, scope: &Scope) -> Vec<RoomName> {
        let watched = self.watched.get().into_iter().flatten();
        watched.filter(|room| scope(room)).cloned().collect()
    }

    pub(crate) fn set_congested(&self, congested: bool) {
        self.congested.store(congested, Ordering::SeqCst);
    }

    /// Panics when next told that subscriptions are in place again.
    pub(crate) fn panic_once(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    /// Waits until what was told satisfies `condition`.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let satisfied = async {
            while !condition(self) {
                changed.changed().await.expect("the sender lives");
            }
        };
        if timeout(DEADLINE, satisfied).await.is_err() {
            panic!("waited in vain for {what}");
        }
    }

    fn tell(&self, event: Event) {
        self.lock().push(event);
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock()
    }
}

fn has(rooms: &[RoomName], room: &str) -> bool {
    rooms.iter().any(|other| other.as_str() == room)
}

impl Sink for Recording {
    fn deliver(&self, publication: Arc<Publication>) {
        self.tell(Event::Delivered(publication));
    }

    fn announce(&self, announcement: Announcement) {
        self.announced.lock().push(announcement);
        self.changed.send_replace(());
    }

    fn lost(&self, rooms: &Scope) {
        self.tell(Event::Lost(self.concerned(rooms)));
    }

    fn restored<'a>(&'a self, rooms: &'a Scope) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {
            assert!(!self.panics.swap(false, Ordering::SeqCst), "as asked for");
            self.tell(Event::Restored(self.concerned(rooms)));
        })
    }

    fn congested(&self) -> bool {
        self.congested.load(Ordering::SeqCst)
    }
}
