//! From the hub's posts to the outboxes.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_broker::{Frame, Notice, Post, RoomKey, Ticket};
use fanfare_shared::codec::Format;
use fanfare_shared::config::SlowConsumer;
use fanfare_shared::{Event, Member, Position, Publication, RoomName};
use tokio::task::yield_now;

use super::Worker;
use crate::connection::{Connection, Slow};
use crate::session::{self, Membership};

impl Worker {
    /// Takes whatever the hub has, appends it to the outboxes, and writes each socket once.
    pub(super) async fn fan_out(self: Rc<Self>) {
        let inbox = Arc::clone(self.inbox());
        let mut batch = Vec::new();
        loop {
            inbox.take(&mut batch).await;
            let alone = batch.len() == 1;
            for post in batch.drain(..) {
                self.take_post(post, alone).await;
            }
            self.flush_dirty().await;
            // Other threads may fill the inbox as fast as it is emptied; clients and Redis, which
            // this one has to read, too, must not wait for that to end.
            if !inbox.is_empty() {
                yield_now().await;
            }
        }
    }

    /// `alone` says that there is nothing else to do just now.
    async fn take_post(&self, post: Post, alone: bool) {
        match post {
            Post::Publication { room, delivery } => self.deliver(room, &delivery, alone).await,
            Post::Notice { room, notice } => self.notify(room, &notice),
            Post::Joined {
                ticket,
                room,
                name,
                position,
                recovered,
                messages,
            } => {
                let joined = Joined {
                    room,
                    name,
                    position,
                    recovered,
                    messages,
                };
                self.joined(ticket, joined);
            }
            Post::Refused {
                ticket,
                name,
                error,
            } => {
                if let Some(connection) = self.connection_of(ticket) {
                    connection.session.borrow_mut().joined(&name);
                    session::refuse_backend(self, &connection, ticket.id, &error);
                    connection.wake_reader();
                }
            }
            Post::Settled { ticket, failed } => {
                if let Some(connection) = self.connection_of(ticket) {
                    if let Some(error) = failed {
                        session::refuse_backend(self, &connection, ticket.id, &error);
                    }
                    connection.wake_reader();
                }
            }
            Post::Reset {
                room,
                name,
                position,
            } => self.reset(room, &name, position),
        }
    }

    fn joined(&self, ticket: Ticket, joined: Joined) {
        let Joined {
            room,
            name,
            position,
            recovered,
            messages,
        } = joined;
        let Some(connection) = self.connection_of(ticket).filter(|found| found.is_open()) else {
            self.hub().leave(&name, self.index);
            return;
        };
        let mut session = connection.session.borrow_mut();
        session.joined(&name);
        if session
            .rooms
            .iter()
            .any(|membership| membership.room == room)
        {
            // Joined again, for the replay: the hub has counted one membership too many.
            self.hub().leave(&name, self.index);
        } else {
            let rule = self.config().rule(name.as_str()).slow_consumer;
            let slot = self
                .members
                .borrow_mut()
                .add(room, &name, rule, connection.slot);
            session.rooms.push(Membership {
                name: name.clone(),
                room,
                slot,
            });
            self.shared.metrics.memberships.inc();
            self.enter(&name, &connection);
        }
        drop(session);
        if ticket.announced {
            let (id, room, messages) = (ticket.id, name.as_str(), &messages[..]);
            let event = Event::Joined {
                id,
                room,
                position,
                recovered,
                messages,
            };
            session::say(self, &connection, &event);
        }
        connection.wake_reader();
    }

    /// Has the member seen by the other nodes, where the room keeps presence.
    fn enter(&self, room: &RoomName, connection: &Connection) {
        let rule = self.config().rule(room.as_str());
        if rule.presence {
            let member = Member {
                client: connection.client,
                identity: Arc::clone(&self.anonymous),
            };
            self.roster().enter(room, member, rule.announce);
        }
    }

    /// Tells every member of another that came or went.
    fn notify(&self, room: RoomKey, notice: &Notice) {
        let Some(rule) = self.members.borrow().of(room).map(|(rule, _)| rule) else {
            return;
        };
        // Where publications give way, a notice does, too; but none gives way to a notice that is
        // worth more.
        let rule = match rule {
            SlowConsumer::Latest => SlowConsumer::DropOldest,
            rule => rule,
        };
        let mut frames: [Option<Frame>; Format::COUNT] = [const { None }; Format::COUNT];
        for connection in self.members_of(room) {
            let Some(frame) = notice.frame(connection.format) else {
                continue;
            };
            if !connection.is_open() || notice.except() == Some(connection.client) {
                continue;
            }
            let frame = frames[connection.format as usize]
                .get_or_insert_with(|| self.backlog.frame(frame.clone()));
            match connection.push_publication(frame, room, rule, self.limits().outbox_bytes) {
                Ok(()) => {}
                Err(Slow::Dropped(count)) => self.tally.dropped.inc_by(count as u64),
                Err(Slow::Disconnect) => {
                    self.close_slow(&connection);
                    continue;
                }
            }
            self.mark_dirty(&connection);
        }
    }

    fn reset(&self, room: RoomKey, name: &RoomName, position: Position) {
        let event = Event::Reset {
            room: name.as_str(),
            position,
        };
        for connection in self.members_of(room) {
            session::say(self, &connection, &event);
        }
    }

    fn members_of(&self, room: RoomKey) -> Vec<Rc<Connection>> {
        let (members, connections) = (self.members.borrow(), self.connections.borrow());
        let slots = members.of(room).into_iter().flat_map(|(_, slots)| slots);
        slots
            .filter_map(|slot| connections.get(*slot).map(Rc::clone))
            .collect()
    }

    /// The connection that a ticket was for, if it is still there.
    fn connection_of(&self, ticket: Ticket) -> Option<Rc<Connection>> {
        self.connections
            .borrow()
            .get(ticket.slot)
            .filter(|connection| connection.client == ticket.client)
            .map(Rc::clone)
    }
}

/// What a new member gets.
struct Joined {
    room: RoomKey,
    name: RoomName,
    position: Option<Position>,
    recovered: Option<bool>,
    messages: Vec<Arc<Publication>>,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use fanfare_broker::backend::Log;
    use fanfare_broker::backend::memory::Memory;
    use fanfare_broker::{Hub, Options, Roster};
    use fanfare_shared::ClientId;
    use fanfare_shared::config::Config;
    use prometheus::Registry;
    use tokio::runtime::{Builder, Handle, LocalOptions};
    use tokio::task::spawn_local;

    use super::super::Shared;
    use super::*;
    use crate::metrics::Metrics;

    fn shared() -> Arc<Shared> {
        let registry = Registry::new();
        let metrics = fanfare_broker::Metrics::register(&registry).unwrap();
        let memory = Arc::new(Memory::default());
        let options = Options {
            workers: 1,
            // Takes longer to empty than who fills it may be kept from its core.
            inbox: 200_000,
            recent: 1,
            linger: Duration::ZERO,
            sync_interval: Duration::MAX,
            page: 512,
            rooms: usize::MAX,
            announce_each: 0,
            log_of: Box::new(|_| Log {
                size: 1,
                ttl: Duration::MAX,
            }),
        };
        let backend = Arc::clone(&memory) as _;
        let hub = Hub::new(options, backend, Handle::current(), metrics.clone());
        Arc::new(Shared {
            config: Config::default(),
            hub,
            roster: Arc::new(Roster::new(memory, metrics)),
            metrics: Metrics::register(&registry).unwrap(),
            node: 0,
            clients: AtomicU32::new(0),
            connections: AtomicUsize::new(0),
        })
    }

    #[test]
    fn an_inbox_that_is_filled_as_fast_as_it_is_emptied_leaves_the_worker_to_others() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let worker = Worker::new(0, shared());
            let inbox = Arc::clone(worker.inbox());
            let fan_out = spawn_local(worker.fan_out());
            let enough = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&enough);
            // Nobody's, and so the room is left again, which takes longer than to post it.
            let room = RoomKey(NonZeroU64::MIN);
            let name = RoomName::new("room").unwrap();
            let ticket = Ticket {
                slot: 0,
                client: ClientId(0),
                id: None,
                announced: false,
            };
            let filler = thread::spawn(move || {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(5) && !told.load(Ordering::Relaxed) {
                    while !inbox.full() {
                        inbox.push(Post::Joined {
                            ticket,
                            room,
                            name: name.clone(),
                            position: None,
                            recovered: None,
                            messages: Vec::new(),
                        });
                    }
                }
                told.load(Ordering::Relaxed)
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            enough.store(true, Ordering::Relaxed);
            assert!(filler.join().unwrap(), "nobody came to say so");
            fan_out.abort();
        });
    }
}
