//! A node's own members in all rooms: what the backend has to know of them, and whether it does.
//!
//! Workers note who comes and goes; one task tells the backend, as many at once as wait, and
//! tells it again where that failed. Since every call to a [`Presence`] can be repeated, the
//! roster keeps no history: only who is in, and for whom the backend is yet to be told.
//!
//! Invariant: what waits is at most two changes per member, and the queries, of which a connection
//! has no more than `limits.inflight_commands`. Who went is kept until the backend knows of it, and
//! so is at most who was in when the backend was lost. What the backend refuses is tried again
//! later each time, one change alone at first.

mod parts;
mod queue;

use std::collections::HashSet;
use std::collections::hash_map::{Entry as MapEntry, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::{ClientId, Identity, Member, Roll, RoomName};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::parts::Parts;
use self::queue::{Answer, BATCH, Change, Next, Query};

use crate::Metrics;
use crate::backend::{Page, Pending, Presence, Standing};

/// How often at least each member is entered again, which renews the life of what the backend keeps
/// of its room.
const RENEWAL: Duration = Duration::from_secs(6 * 60 * 60);

/// The members of this node, and the way to those of all.
pub struct Roster {
    backend: Arc<dyn Presence>,
    /// No code panics under the lock.
    state: Mutex<State>,
    /// Wakes the task that tells the backend.
    filled: Notify,
    standing: watch::Receiver<Standing>,
    metrics: Metrics,
}

struct State {
    /// Whether the backend can be told and asked.
    open: bool,
    /// Whether members of nodes that are gone have to be looked for once it can.
    survey: bool,
    /// Flat rather than by room: most rooms have few members on a node, and a map each would cost
    /// more than what is in it.
    members: Members,
    parts: Parts,
}

type Members = HashMap<(RoomName, ClientId), Entry>;

/// What is known of one member.
struct Entry {
    identity: Arc<Identity>,
    /// Whether it is in the room.
    present: bool,
    announce: bool,
    /// Whether its presence is to be told, and so waits for that in the queue.
    due: bool,
    /// Whether the backend may know of it.
    told: bool,
}

/// A call under way.
enum Call {
    Member(u64, RoomName, ClientId, bool, Pending<()>),
    Survey(u64, RoomName, bool, Pending<Roll>),
    Resign(Pending<()>, Answer<()>),
}

impl Roster {
    /// Makes an empty roster; [`Roster::keep`] has to run beside it.
    #[must_use]
    pub fn new(backend: Arc<dyn Presence>, metrics: Metrics) -> Self {
        let standing = backend.standing();
        let open = standing.borrow().open;
        Self {
            standing,
            backend,
            state: Mutex::new(State {
                open,
                survey: false,
                members: HashMap::new(),
                parts: Parts::default(),
            }),
            filled: Notify::new(),
            metrics,
        }
    }

    /// Notes that a connection became a member.
    pub fn enter(&self, room: &RoomName, member: Member, announce: bool) {
        let mut state = self.state.lock();
        let Member { client, identity } = member;
        let entry = Entry {
            identity,
            present: true,
            announce,
            due: true,
            told: false,
        };
        let (was_present, was_due) = match state.members.entry((room.clone(), client)) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(entry);
                (false, false)
            }
            MapEntry::Occupied(mut known) => {
                let told = known.get().told;
                let before = known.insert(Entry { told, ..entry });
                (before.present, before.due)
            }
        };
        if !was_present {
            self.metrics.presence_members.inc();
            self.metrics.presence_entered.inc();
        }
        if !was_due {
            self.change(&mut state, room, client);
        }
    }

    /// Notes that a connection ceased to be a member.
    pub fn exit(&self, room: &RoomName, client: ClientId) {
        let mut state = self.state.lock();
        let MapEntry::Occupied(mut known) = state.members.entry((room.clone(), client)) else {
            return;
        };
        let entry = known.get_mut();
        if !std::mem::replace(&mut entry.present, false) {
            return;
        }
        self.metrics.presence_members.dec();
        self.metrics.presence_exited.inc();
        let was_due = std::mem::replace(&mut entry.due, true);
        if !entry.told {
            // The backend never heard of it: what waits finds nobody.
            known.remove();
        } else if !was_due {
            self.change(&mut state, room, client);
        }
    }

    /// Waits until the backend can be told and asked.
    pub async fn opened(&self) {
        let mut standing = self.standing.clone();
        // Fails only without a backend, which lives as long as `self`.
        let _ = standing.wait_for(|standing| standing.open).await;
    }

    /// Lists members of a room on all nodes; sees every change noted before the call.
    pub fn members(&self, room: &RoomName, page: Page, announce: bool) -> Pending<Roll> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        // Where the backend cannot be asked it is dropped, and so answered.
        if state.open {
            state.parts.of(self.backend.part(room)).query(Query {
                room: room.clone(),
                page,
                announce,
                answer,
            });
            drop(state);
            self.filled.notify_one();
        }
        Pending::Waiting(answered)
    }

    /// Takes everyone out, and then the node itself. To be awaited before the process ends, for as
    /// long as there is time: what is not done by then, the other nodes do when the lease ends.
    pub fn resign(&self) -> Pending<()> {
        let members: Vec<_> = self.state.lock().members.keys().cloned().collect();
        for (room, client) in &members {
            self.exit(room, *client);
        }
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        if state.open {
            state.parts.resume();
            state.parts.resign(answer);
            drop(state);
            self.filled.notify_one();
        }
        Pending::Waiting(answered)
    }

    fn change(&self, state: &mut State, room: &RoomName, client: ClientId) {
        let queue = state.parts.of(self.backend.part(room));
        queue.change(room.clone(), client);
        // A member who comes and goes while nothing can be told leaves one each time.
        if state.parts.changes() > 2 * state.members.len() + BATCH {
            self.queue_due(state);
        }
        self.filled.notify_one();
    }

    /// Queues every member that is due, each once.
    fn queue_due(&self, state: &mut State) {
        let mut due: HashMap<u64, Vec<_>> = HashMap::new();
        let members = state.members.iter().filter(|(_, entry)| entry.due);
        for ((room, client), _) in members {
            let of_part = due.entry(self.backend.part(room)).or_default();
            of_part.push((room.clone(), *client));
        }
        state.parts.replace_members(due);
    }

    /// Queues a look at every room with members.
    fn queue_surveys(&self, state: &mut State) {
        let members = state.members.iter();
        let rooms: HashSet<_> = members
            .map(|((room, _), entry)| (room, entry.announce))
            .collect();
        for (room, announce) in rooms {
            let queue = state.parts.of(self.backend.part(room));
            queue.survey(room.clone(), announce);
        }
    }

    // --- telling the backend ---

    /// Tells the backend what it has to know, for as long as it is polled.
    pub async fn keep(&self) {
        let mut standing = self.standing.clone();
        let mut last = Standing::default();
        let mut renewal = next_renewal();
        loop {
            let now = *standing.borrow_and_update();
            if now.term != last.term {
                self.enter_all();
            }
            if now.departures != last.departures {
                self.state.lock().survey = true;
            }
            if now.open != last.open {
                self.set_open(now.open);
            }
            last = now;
            let batch = self.take();
            if !batch.is_empty() {
                self.tell(batch).await;
                continue;
            }
            let retry = self.state.lock().parts.paused();
            tokio::select! {
                changed = standing.changed() => if changed.is_err() {
                    return;
                },
                () = self.filled.notified() => {}
                // However many changes come before.
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
                () = sleep_until(renewal) => {
                    self.enter_all();
                    renewal = next_renewal();
                }
            }
        }
    }

    /// Has every member told anew.
    fn enter_all(&self) {
        let state = &mut *self.state.lock();
        for entry in state.members.values_mut() {
            entry.due = true;
        }
        self.queue_due(state);
        state.parts.resume();
    }

    fn set_open(&self, open: bool) {
        let state = &mut *self.state.lock();
        state.open = open;
        state.parts.drop_queries();
        state.parts.resume();
    }

    /// Takes what is next, and makes the calls.
    fn take(&self) -> Vec<Call> {
        let mut state = self.state.lock();
        if !state.open {
            return Vec::new();
        }
        let state = &mut *state;
        if std::mem::take(&mut state.survey) {
            self.queue_surveys(state);
        }
        let State { members, parts, .. } = state;
        let mut calls = Vec::new();
        parts.hand_out(|part, next| match next {
            Next::Change(change) => {
                let call = self.call(members, part, change);
                let is_one = call.is_some();
                calls.extend(call);
                is_one
            }
            Next::Query(query) => {
                let Query {
                    room,
                    page,
                    announce,
                    answer,
                } = query;
                forward(self.backend.members(&room, page, announce), answer);
                false
            }
        });
        if calls.is_empty()
            && let Some(answer) = parts.take_resign()
        {
            calls.push(Call::Resign(self.backend.resign(), answer));
        }
        calls
    }

    fn call(&self, members: &mut Members, part: u64, change: Change) -> Option<Call> {
        let backend = &self.backend;
        Some(match change {
            Change::Member(room, client) => {
                let key = (room, client);
                let entry = members.get_mut(&key).filter(|entry| entry.due)?;
                entry.due = false;
                let (room, present) = (key.0, entry.present);
                let pending = if present {
                    let identity = Arc::clone(&entry.identity);
                    backend.enter(&room, &Member { client, identity }, entry.announce)
                } else {
                    backend.exit(&room, client, entry.announce)
                };
                // What is refused at once has no effect.
                entry.told |= !matches!(pending, Pending::Ready(Some(Err(_))));
                Call::Member(part, room, client, present, pending)
            }
            Change::Survey(room, announce) => {
                let nobody = Page {
                    after: None,
                    limit: 0,
                };
                let pending = backend.members(&room, nobody, announce);
                Call::Survey(part, room, announce, pending)
            }
        })
    }

    /// Awaits what is under way. What was not done is due again.
    async fn tell(&self, calls: Vec<Call>) {
        let mut parts = HashMap::new();
        for call in calls {
            let (part, done) = match call {
                Call::Member(part, room, client, present, pending) => {
                    let done = pending.await.is_ok();
                    self.told(room, client, present, done);
                    (part, done)
                }
                Call::Survey(part, room, announce, pending) => {
                    let done = pending.await.is_ok();
                    if !done {
                        let part = self.backend.part(&room);
                        self.state.lock().parts.of(part).survey(room, announce);
                    }
                    (part, done)
                }
                Call::Resign(pending, answer) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(pending.await);
                    continue;
                }
            };
            *parts.entry(part).or_default() |= !done;
        }
        let mut state = self.state.lock();
        for (part, failed) in parts {
            state.parts.settle(part, failed);
        }
    }

    fn told(&self, room: RoomName, client: ClientId, present: bool, done: bool) {
        let state = &mut *self.state.lock();
        let key = (room, client);
        let Some(entry) = state.members.get_mut(&key).filter(|entry| !entry.due) else {
            // Changed meanwhile: its turn comes again.
            return;
        };
        if !done {
            entry.due = true;
            let queue = state.parts.of(self.backend.part(&key.0));
            queue.change(key.0, client);
        } else if !present {
            state.members.remove(&key);
        }
    }
}

/// When each member is entered again. Nodes that started together do not do so together.
fn next_renewal() -> Instant {
    Instant::now() + RENEWAL.mul_f64(1.0 - fastrand::f64() / 8.0)
}

/// Hands an answer on when it comes. Nobody waits for it here: one that takes long, since members
/// of a node that is gone have to be taken out first, must not keep changes from being told.
fn forward<T: Send + 'static>(mut pending: Pending<T>, answer: Answer<T>) {
    // Whoever asked may have gone.
    if let Pending::Ready(outcome) = &mut pending {
        drop(outcome.take().map(|outcome| answer.send(outcome)));
    } else {
        tokio::spawn(async move { drop(answer.send(pending.await)) });
    }
}

#[cfg(test)]
mod tests;
