//! A publication's way to the members of its room: the hot path.

use std::cell::OnceCell;
use std::rc::Rc;

use fanfare_broker::{Delivery, Frame, RoomKey, Wire};
use fanfare_shared::Publication;
use fanfare_shared::config::SlowConsumer;
use tokio::task::yield_now;

use super::Worker;
use super::connection::Connection;
use super::send::Outgoing;
use super::turn::WRITES_PER_TURN;
use crate::operation::now;
use crate::socket::{Slow, Socket};

impl Worker {
    /// Gives a publication to every member. One that comes `alone`, with nothing else to be done,
    /// goes to the sockets at once, taking turns with everything else.
    pub(super) async fn deliver(&self, room: RoomKey, delivery: &Delivery, alone: bool) {
        let mut fan = Fan::default();
        while self.hand_out(room, delivery, alone, &mut fan) {
            if alone {
                yield_now().await;
            } else {
                self.turn.pause().await;
            }
        }
        self.tally.delivery_bytes.inc_by(fan.bytes);
        self.observe(delivery.publication(), fan.reached);
        // Closing takes members out of rooms, and so has to wait until the room was served.
        for connection in fan.slow {
            self.close_slow(&connection);
            self.turn.pause().await;
        }
    }

    /// Hands a publication to the next members; answers whether there are more.
    fn hand_out(&self, room: RoomKey, delivery: &Delivery, at_once: bool, fan: &mut Fan) -> bool {
        let publication = delivery.publication();
        let except = match &publication.from {
            Some(from) if !publication.echo => Some(from.client),
            _ => None,
        };
        let frame = |connection: &Connection| {
            let Connection { wire, door, .. } = connection;
            fan.frames[wire.index()].get_or_init(|| {
                let encode = |publication: &_, new| door.encode_publication(publication, new);
                self.backlog.frame(delivery.frame(*wire, encode).clone())
            })
        };
        let rooms = self.members.borrow();
        let connections = self.connections.borrow();
        let Some((rule, members)) = rooms.of_from(room, fan.next) else {
            return false;
        };
        let members = members.filter_map(|(place, slot)| {
            let connection = connections.get(*slot)?;
            (except != Some(connection.client)).then(|| Near {
                place,
                connection,
                frame: frame(connection),
                takes_at_once: at_once && connection.socket.takes_at_once(),
                written: 0,
            })
        });
        // In a node of many small rooms each of them is cold: looked at together they come from
        // memory together, not one after the other between the writes.
        let mut near = Vec::with_capacity(WRITES_PER_TURN);
        near.extend(members.take(WRITES_PER_TURN));
        let Some(last) = near.last() else {
            return false;
        };
        fan.next = last.place + 1;
        let mut is_last = near.len() < WRITES_PER_TURN;
        if at_once {
            self.write_at_once(&mut near);
        }
        for member in near {
            if !at_once && self.turn.is_spent() {
                // Much had to be written to those who were full.
                fan.next = member.place;
                is_last = false;
                break;
            }
            if self.append_rest(&member, room, rule) {
                fan.reached += 1;
                fan.bytes += member.frame.len() as u64;
            } else {
                fan.slow.push(Rc::clone(member.connection));
            }
        }
        !is_last
    }

    /// Writes to the sockets of members who have nothing else to be written.
    fn write_at_once(&self, near: &mut [Near<'_>]) {
        let takers = near.iter().filter(|member| member.takes_at_once);
        let mut batch = Vec::with_capacity(near.len());
        batch.extend(takers.map(Near::outgoing));
        self.sender.borrow_mut().send(&mut batch);
        let takers = near.iter_mut().filter(|member| member.takes_at_once);
        for (member, outgoing) in takers.zip(batch) {
            member.written = outgoing.taken;
        }
    }

    /// Appends what was not written of a publication to its member's outbox. Answers false if the
    /// member is too slow for it.
    fn append_rest(&self, member: &Near<'_>, room: RoomKey, rule: SlowConsumer) -> bool {
        let Near {
            connection,
            frame,
            written,
            ..
        } = *member;
        if written == frame.len() {
            return true;
        }
        let bound = self.limits().outbox_bytes;
        let push = || Socket::push_publication(connection, frame, room, rule, bound);
        match self.counted(connection, frame.len(), push) {
            Ok(()) => {}
            Err(Slow::Dropped(count)) => self.tally.dropped.inc_by(count as u64),
            Err(Slow::Disconnect) => return false,
        }
        if written > 0 {
            connection.socket.advance(written);
        }
        self.mark_delivered(connection);
        true
    }

    fn observe(&self, publication: &Publication, reached: u32) {
        self.tally.deliveries.inc_by(u64::from(reached));
        self.tally.fanout.observe(f64::from(reached));
        let is_local = publication
            .from
            .as_ref()
            .is_some_and(|from| from.client.node() == self.shared.node);
        let latency = if is_local {
            &self.tally.latency_local
        } else {
            &self.tally.latency_remote
        };
        #[allow(clippy::cast_precision_loss, reason = "milliseconds, and few")]
        latency.observe(now().saturating_sub(publication.time) as f64 / 1e3);
    }
}

/// How far a publication has come.
#[derive(Default)]
struct Fan {
    /// Whose turn it is: the place in the room.
    next: usize,
    frames: [OnceCell<Frame>; Wire::COUNT],
    reached: u32,
    bytes: u64,
    /// Who is too slow for it.
    slow: Vec<Rc<Connection>>,
}

/// A member whose turn it is.
struct Near<'a> {
    place: usize,
    connection: &'a Rc<Connection>,
    frame: &'a Frame,
    takes_at_once: bool,
    /// How many bytes of the frame are out.
    written: usize,
}

impl<'a> Near<'a> {
    fn outgoing(&self) -> Outgoing<'a> {
        Outgoing {
            socket: self.connection.socket.fd(),
            bytes: self.frame,
            taken: 0,
        }
    }
}
