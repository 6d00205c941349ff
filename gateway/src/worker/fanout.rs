//! From the hub's posts to the outboxes.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_broker::{Frame, Notice, Post, RoomKey, Ticket, Wire};
use fanfare_shared::config::SlowConsumer;
use fanfare_shared::{Event, Member, Position, Publication, RoomName};
use tokio::task::yield_now;

use super::Worker;
use super::connection::Connection;
use super::turn::{APPEND, WRITES_PER_TURN};
use crate::session::{Membership, Refusal};
use crate::socket::{Slow, Socket};

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
                self.turn.pause().await;
            }
            self.flush_all().await;
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
            Post::Notice { room, notice } => self.notify(room, &notice).await,
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
                self.joined(ticket, joined).await;
            }
            Post::Refused {
                ticket,
                name,
                error,
            } => {
                if let Some(connection) = self.connection_of(ticket) {
                    connection.session.borrow_mut().joined(&name);
                    self.refuse_backend(&connection, ticket.id, &error);
                    connection.socket.wake_reader();
                }
            }
            Post::Settled { ticket, failed } => {
                if let Some(connection) = self.connection_of(ticket) {
                    if let Some(error) = failed {
                        self.refuse_backend(&connection, ticket.id, &error);
                    }
                    connection.socket.wake_reader();
                }
            }
            Post::Reset {
                room,
                name,
                position,
            } => self.reset(room, &name, position).await,
        }
    }

    async fn joined(&self, ticket: Ticket, joined: Joined) {
        let Joined {
            room,
            name,
            position,
            recovered,
            messages,
        } = joined;
        // Before it is a member: what is published meanwhile comes behind it.
        let frame = match self.connection_of(ticket) {
            Some(connection) if ticket.announced => {
                let (name, door) = (name.clone(), Arc::clone(&connection.door));
                let encode = move |messages: &[Arc<Publication>]| {
                    let (id, room) = (ticket.id, name.as_str());
                    let joined = Event::Joined {
                        id,
                        room,
                        position,
                        recovered,
                        messages,
                    };
                    door.encode(&joined)
                };
                self.encode(messages, encode).await
            }
            _ => None,
        };
        let Some(connection) = self.connection_of(ticket).filter(|found| found.is_open()) else {
            self.hub().leave(&name, self.index);
            return;
        };
        let revoked = connection.session.borrow_mut().revoked(&name);
        if let Some(Refusal { code, message }) = revoked {
            self.hub().leave(&name, self.index);
            self.refuse(&connection, ticket.id, code, &message);
            return connection.socket.wake_reader();
        }
        self.add(&connection, room, name);
        if let Some(frame) = frame {
            self.enqueue(&connection, frame);
        }
        connection.socket.wake_reader();
    }

    /// Makes a connection the member of a room that it asked to be.
    fn add(&self, connection: &Connection, room: RoomKey, name: RoomName) {
        let mut session = connection.session.borrow_mut();
        let rule = session.joined(&name);
        let Some(rule) = rule.filter(|_| !session.is_in(room)) else {
            // Joined again, for the replay: the hub has counted one membership too many.
            return self.hub().leave(&name, self.index);
        };
        let mut members = self.members.borrow_mut();
        let slot = members.add(room, &name, rule.slow_consumer, connection.slot);
        self.shared.metrics.memberships.inc();
        // Seen by the other nodes, where the room keeps presence.
        if rule.presence {
            let member = Member {
                client: connection.client,
                identity: session
                    .identity()
                    .unwrap_or_else(|| Arc::clone(&self.anonymous)),
            };
            self.roster().enter(&name, member, rule.announce);
        }
        session.add(Membership {
            name,
            rule,
            room,
            slot,
        });
    }

    /// Tells every member of another that came or went.
    async fn notify(&self, room: RoomKey, notice: &Notice) {
        let mut frames: [Option<Frame>; Wire::COUNT] = [const { None }; Wire::COUNT];
        let bound = self.limits().outbox_bytes;
        self.each_member(room, |rule, connection| {
            // Where publications give way, a notice does, too; but none gives way to a notice that
            // is worth more.
            let rule = match rule {
                SlowConsumer::Latest => SlowConsumer::DropOldest,
                rule => rule,
            };
            let Some(frame) = notice.frame(connection.wire, |event| connection.door.encode(event))
            else {
                return;
            };
            if !connection.is_open() || notice.except() == Some(connection.client) {
                return;
            }
            let frame = frames[connection.wire.index()]
                .get_or_insert_with(|| self.backlog.frame(frame.clone()));
            let push = || Socket::push_publication(connection, frame, room, rule, bound);
            match self.counted(connection, frame.len(), push) {
                Ok(()) => {}
                Err(Slow::Dropped(count)) => self.tally.dropped.inc_by(count as u64),
                Err(Slow::Disconnect) => return self.close_slow(connection),
            }
            self.mark_delivered(connection);
        })
        .await;
    }

    /// Tells every member that something was lost.
    async fn reset(&self, room: RoomKey, name: &RoomName, position: Position) {
        let event = Event::Reset {
            room: name.as_str(),
            position,
        };
        let mut frames: [Option<Bytes>; Wire::COUNT] = [const { None }; Wire::COUNT];
        self.each_member(room, |_, connection| {
            let frame = &mut frames[connection.wire.index()];
            if frame.is_none() {
                *frame = connection.door.encode(&event);
            }
            // A plain connection has no word for it.
            if let Some(frame) = frame {
                self.enqueue(connection, frame.clone());
            }
        })
        .await;
    }

    /// Does something for each member of a room, taking turns with everything else. Who leaves
    /// meanwhile is left out.
    async fn each_member(&self, room: RoomKey, mut act: impl FnMut(SlowConsumer, &Rc<Connection>)) {
        let mut next = 0;
        while let Some((rule, members)) = self.members_from(room, next) {
            for (place, connection) in members {
                next = place + 1;
                act(rule, &connection);
                if self.turn.is_spent() {
                    break;
                }
            }
            self.turn.pause().await;
        }
    }

    /// The next members of a room from a place on, each with its own; `None` if there are no more.
    fn members_from(&self, room: RoomKey, place: usize) -> Option<(SlowConsumer, Vec<Placed>)> {
        let (members, connections) = (self.members.borrow(), self.connections.borrow());
        let (rule, members) = members.of_from(room, place)?;
        let members = members
            .filter_map(|(place, slot)| Some((place, Rc::clone(connections.get(*slot)?))))
            .take(WRITES_PER_TURN);
        let found: Vec<_> = members.collect();
        self.turn.charge(found.len() * APPEND);
        (!found.is_empty()).then_some((rule, found))
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

/// A member and its place in the room.
type Placed = (usize, Rc<Connection>);

/// What a new member gets.
struct Joined {
    room: RoomKey,
    name: RoomName,
    position: Option<Position>,
    recovered: Option<bool>,
    messages: Vec<Arc<Publication>>,
}

#[cfg(test)]
mod tests;
