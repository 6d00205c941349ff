//! A remote program that joins a room, leaves and comes back with its position. Knows only what
//! the wire tells it; whether that is right is checked here, with every single thing it is told.

use std::sync::Arc;

use fanfare_broker::{Delivery, Replay, RoomKey, Slot};
use fanfare_shared::{Position, Publication};

use super::network::payload_of;
use super::rooms::SimRoom;
use super::server::Server;

/// Where a client is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Away,
    /// Its first join is under way.
    Joining {
        node: usize,
    },
    Member {
        node: usize,
        worker: usize,
        key: RoomKey,
        slot: Slot,
    },
}

/// What clients were told, in numbers: a run in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) joined: u64,
    pub(crate) recovered: u64,
    pub(crate) not_recovered: u64,
    pub(crate) replayed: u64,
    pub(crate) delivered: u64,
    pub(crate) epochs: u64,
    pub(crate) resets: u64,
    pub(crate) refused: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.joined += other.joined;
        self.recovered += other.recovered;
        self.not_recovered += other.not_recovered;
        self.replayed += other.replayed;
        self.delivered += other.delivered;
        self.epochs += other.epochs;
        self.resets += other.resets;
        self.refused += other.refused;
    }

    /// Whether everything happened many times.
    pub(crate) fn is_plenty(&self) -> bool {
        let rarest = [
            self.recovered,
            self.not_recovered,
            self.replayed,
            self.delivered,
            self.epochs,
            self.resets,
            self.refused,
        ];
        rarest.into_iter().all(|count| count > 100)
    }
}

pub(crate) struct Client {
    pub(crate) number: usize,
    pub(crate) room: SimRoom,
    pub(crate) place: Place,
    /// Counts its connections.
    pub(crate) connection: u64,
    /// What it asked for, and whether it waits for the answer.
    pub(crate) replay: Replay,
    pub(crate) asking: bool,
    /// What it has seen up to.
    pub(crate) position: Option<Position>,
    pub(crate) tally: Tally,
    /// In a room without history: the place of what it saw last.
    last: Option<usize>,
}

impl Client {
    pub(crate) fn new(number: usize, room: SimRoom) -> Self {
        Self {
            number,
            room,
            place: Place::Away,
            connection: 0,
            replay: Replay::None,
            asking: false,
            position: None,
            tally: Tally::default(),
            last: None,
        }
    }

    /// Is on its own again, in the middle of whatever it was doing.
    pub(crate) fn cut_off(&mut self) {
        self.connection += 1;
        self.asking = false;
        self.place = Place::Away;
    }

    /// Takes the answer to its join.
    pub(crate) fn joined(
        &mut self,
        position: Option<Position>,
        recovered: Option<bool>,
        messages: &[Arc<Publication>],
        server: &Server,
    ) {
        self.asking = false;
        self.last = None;
        self.tally.joined += 1;
        self.tally.replayed += messages.len() as u64;
        self.tally.recovered += u64::from(recovered == Some(true));
        self.tally.not_recovered += u64::from(recovered == Some(false));
        let Some(position) = position else {
            assert_eq!(
                self.room.log.size, 0,
                "a position in every room with history"
            );
            assert!(messages.is_empty());
            assert_ne!(recovered, Some(true));
            return;
        };
        let offsets = messages
            .iter()
            .map(|message| message.position.expect("one").offset);
        let first = position.offset + 1 - messages.len() as u64;
        assert!(
            offsets.eq(first..=position.offset),
            "{self:?}: the replay is not what leads to {position:?}"
        );
        for (offset, message) in (first..).zip(messages) {
            let expected = server.payload(Position { offset, ..position });
            assert_eq!(Some(payload_of(message)), expected, "{self:?}: at {offset}");
        }
        match (self.replay, recovered) {
            (Replay::None, None) => assert!(messages.is_empty()),
            (Replay::Newest(count), None) => assert!(messages.len() <= count),
            (Replay::Since(since), Some(true)) => {
                assert_eq!(first, since.offset + 1, "{self:?}: partial replay");
                assert!(
                    server.leads_to(since, position),
                    "{self:?}: {position:?} does not follow"
                );
            }
            (Replay::Since(since), Some(false)) => {
                assert!(messages.is_empty(), "{self:?}: partial replay");
                assert!(
                    !self.could_be_told(since, position, server),
                    "{self:?}: not recovered at {position:?}, though the log has it all"
                );
            }
            other => panic!("{self:?}: asked and answered: {other:?}"),
        }
        self.position = Some(position);
    }

    /// Whether the log still has all that came after `seen`. Not so where it has been set back
    /// behind `position` since that was found out.
    fn could_be_told(&self, seen: Position, position: Position, server: &Server) -> bool {
        let room = &self.room;
        let top = server.top(&room.name);
        top.is_some_and(|top| server.leads_to(position, top))
            && server.proves(&room.name, room.log.size, seen)
    }

    /// Takes a publication.
    pub(crate) fn delivered(&mut self, delivery: &Delivery, server: &Server) {
        self.tally.delivered += 1;
        self.tally.epochs += u64::from(delivery.new_epoch());
        let publication = delivery.publication();
        let payload = payload_of(publication);
        let Some(position) = publication.position else {
            let order = Some(server.order(payload));
            assert!(order > self.last, "{self:?}: {payload} again, or too late");
            self.last = order;
            return;
        };
        let seen = self
            .position
            .expect("a member of a room with history has one");
        if delivery.new_epoch() {
            assert!(
                server.leads_to(seen, position),
                "{self:?}: {position:?} does not follow, and nobody said so"
            );
        } else {
            assert_eq!(
                position.epoch, seen.epoch,
                "{self:?}: nobody told the epoch"
            );
        }
        assert_eq!(position.offset, seen.offset + 1, "{self:?}: gap or repeat");
        assert_eq!(
            server.payload(position),
            Some(payload),
            "{self:?}: not what was published"
        );
        self.position = Some(position);
    }

    /// Is told that publications were lost.
    pub(crate) fn reset(&mut self, position: Position, server: &Server) {
        self.tally.resets += 1;
        let seen = self
            .position
            .expect("a member of a room with history has one");
        assert!(
            !self.could_be_told(seen, position, server),
            "{self:?}: reset to {position:?}, though the log has all that followed"
        );
        let room = &self.room;
        let is_its_log = server
            .top(&room.name)
            .is_some_and(|top| server.leads_to(position, top));
        assert!(
            !is_its_log || position.offset <= server.out_of_reach(&room.name, room.log.size, seen),
            "{self:?}: reset to {position:?}, though the log has some of what was before"
        );
        self.position = Some(position);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "client {} of {} at {:?}, {:?}, last joined with {:?}",
            self.number, self.room.name, self.position, self.place, self.replay
        )
    }
}
