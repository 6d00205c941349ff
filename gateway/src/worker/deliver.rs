//! A publication's way to the members of its room: the hot path.

use std::rc::Rc;

use fanfare_broker::{Delivery, Frame, RoomKey};
use fanfare_shared::Publication;
use fanfare_shared::codec::Format;
use fanfare_shared::config::SlowConsumer;
use tokio::task::yield_now;

use super::{WRITES_PER_TURN, Worker};
use crate::connection::{Connection, Slow};
use crate::session::now;

/// How many members are looked at before the first of them is written to. In a node of many small
/// rooms each is cold: looked at together they come from memory together, not one after the other
/// between the writes.
const LOOKAHEAD: usize = 16;

impl Worker {
    /// Gives a publication to every member. One that comes `alone`, with nothing else to be done,
    /// goes to the sockets at once, taking turns with everything else.
    pub(super) async fn deliver(&self, room: RoomKey, delivery: &Delivery, alone: bool) {
        let mut fan = Fan::default();
        while self.hand_out(room, delivery, alone, &mut fan) {
            yield_now().await;
        }
        self.tally.delivery_bytes.inc_by(fan.bytes);
        self.observe(delivery.publication(), fan.reached);
        // Closing takes members out of rooms, and so has to wait until the room was served.
        for connection in fan.slow {
            self.close_slow(&connection);
        }
    }

    /// Hands a publication to the next members; answers whether there are more.
    fn hand_out(&self, room: RoomKey, delivery: &Delivery, at_once: bool, fan: &mut Fan) -> bool {
        let publication = delivery.publication();
        let except = match &publication.from {
            Some(from) if !publication.echo => Some(from.client),
            _ => None,
        };
        let rooms = self.members.borrow();
        let connections = self.connections.borrow();
        let Some((rule, members)) = rooms.of_from(room, fan.next) else {
            return false;
        };
        let mut members =
            members.filter_map(|(place, slot)| Some((place, connections.get(*slot)?)));
        let mut writes = 0;
        loop {
            let mut near = [None; LOOKAHEAD];
            for (near, (place, connection)) in near.iter_mut().zip(&mut members) {
                *near = Some((place, connection, at_once && connection.takes_at_once()));
            }
            if near[0].is_none() {
                return false;
            }
            for (place, connection, takes_at_once) in near.into_iter().flatten() {
                if writes >= WRITES_PER_TURN {
                    fan.next = place;
                    return true;
                }
                if except == Some(connection.client) {
                    continue;
                }
                let format = connection.format;
                let frame = fan.frames[format as usize]
                    .get_or_insert_with(|| self.backlog.frame(delivery.frame(format).clone()));
                let mut written = 0;
                if takes_at_once {
                    written = connection.write_at_once(frame);
                    writes += 1;
                }
                if written < frame.len() && !self.append(connection, frame, written, room, rule) {
                    fan.slow.push(Rc::clone(connection));
                    continue;
                }
                fan.reached += 1;
                fan.bytes += frame.len() as u64;
            }
        }
    }

    /// Appends a publication to a member's outbox, of which `written` bytes are out already.
    /// Answers false if the member is too slow for it.
    fn append(
        &self,
        connection: &Rc<Connection>,
        frame: &Frame,
        written: usize,
        room: RoomKey,
        rule: SlowConsumer,
    ) -> bool {
        let bound = self.limits().outbox_bytes;
        match connection.push_publication(frame, room, rule, bound) {
            Ok(()) => {}
            Err(Slow::Dropped(count)) => self.tally.dropped.inc_by(count as u64),
            Err(Slow::Disconnect) => return false,
        }
        if written > 0 {
            connection.advance(written);
        }
        if connection.mark_dirty() {
            self.dirty.borrow_mut().push(Rc::clone(connection));
        }
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
    frames: [Option<Frame>; Format::COUNT],
    reached: u32,
    bytes: u64,
    /// Who is too slow for it.
    slow: Vec<Rc<Connection>>,
}
