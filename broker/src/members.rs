//! A worker's part of the hub: which of its connections are in which room.

use std::collections::HashMap;

use ahash::RandomState;
use fanfare_shared::RoomName;
use fanfare_shared::config::SlowConsumer;
use slab::Slab;

use crate::RoomKey;

/// Where a member stands in its room on this worker; needed to take it away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u32);

/// The rooms of one worker. Owned by its thread, so without a lock.
#[derive(Debug)]
pub struct Members<M> {
    rooms: HashMap<RoomKey, LocalRoom<M>, RandomState>,
}

#[derive(Debug)]
struct LocalRoom<M> {
    name: RoomName,
    slow_consumer: SlowConsumer,
    /// A slab, so that leaving a room of thousands moves and searches nothing.
    members: Slab<M>,
}

impl<M> Default for Members<M> {
    fn default() -> Self {
        Self {
            rooms: HashMap::default(),
        }
    }
}

impl<M> Members<M> {
    /// Adds a member. The room's first settles its rule for slow consumers.
    pub fn add(
        &mut self,
        room: RoomKey,
        name: &RoomName,
        slow_consumer: SlowConsumer,
        member: M,
    ) -> Slot {
        let local = self.rooms.entry(room).or_insert_with(|| LocalRoom {
            name: name.clone(),
            slow_consumer,
            members: Slab::new(),
        });
        // A worker has fewer connections than there are file descriptors.
        Slot(u32::try_from(local.members.insert(member)).unwrap_or(u32::MAX))
    }

    /// Takes a member away; answers the room's name, for the hub to be told.
    pub fn remove(&mut self, room: RoomKey, slot: Slot) -> Option<RoomName> {
        let local = self.rooms.get_mut(&room)?;
        local.members.try_remove(slot.0 as usize)?;
        let name = local.name.clone();
        if local.members.is_empty() {
            self.rooms.remove(&room);
        }
        Some(name)
    }

    /// The room's members on this worker, and its rule for slow ones.
    pub fn of(&self, room: RoomKey) -> Option<(SlowConsumer, impl ExactSizeIterator<Item = &M>)> {
        let local = self.rooms.get(&room)?;
        Some((
            local.slow_consumer,
            local.members.iter().map(|(_, member)| member),
        ))
    }

    /// The same from some place on, each member with its own: for whom a walk through a large room
    /// pauses, nobody who stays is left out or met twice.
    pub fn of_from(
        &self,
        room: RoomKey,
        place: usize,
    ) -> Option<(SlowConsumer, impl Iterator<Item = (usize, &M)>)> {
        let local = self.rooms.get(&room)?;
        let places = place..local.members.capacity();
        let members = places.filter_map(|place| Some((place, local.members.get(place)?)));
        Some((local.slow_consumer, members))
    }

    /// How many memberships there are in all rooms.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.values().map(|local| local.members.len()).sum()
    }

    /// Whether nobody is in any room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    const RULE: SlowConsumer = SlowConsumer::Disconnect;

    fn key(number: u64) -> RoomKey {
        RoomKey(NonZeroU64::new(number).unwrap())
    }

    fn named(name: &str) -> RoomName {
        RoomName::new(name).unwrap()
    }

    fn of(members: &Members<u32>, room: u64) -> Option<Vec<u32>> {
        let (_, members) = members.of(key(room))?;
        Some(members.copied().collect())
    }

    #[test]
    fn members_are_those_who_came_and_did_not_leave() {
        let mut members = Members::default();
        let first = members.add(key(1), &named("a"), RULE, 10);
        members.add(key(1), &named("a"), RULE, 11);
        members.add(key(2), &named("b"), RULE, 10);
        assert_eq!(members.len(), 3);
        assert_eq!(members.remove(key(1), first), Some(named("a")));
        assert_eq!(of(&members, 1), Some(vec![11]));
        assert_eq!(of(&members, 2), Some(vec![10]));
        assert_eq!(members.len(), 2);
    }

    #[test]
    fn a_walk_goes_on_where_it_paused() {
        let mut members = Members::default();
        let slots: Vec<_> = (0..5)
            .map(|member| members.add(key(1), &named("a"), RULE, member))
            .collect();
        let from = |members: &Members<u32>, place| {
            let (_, found) = members.of_from(key(1), place).unwrap();
            found.map(|(_, member)| *member).collect::<Vec<_>>()
        };
        let (_, mut walk) = members.of_from(key(1), 0).unwrap();
        let (place, _) = walk.nth(1).unwrap();
        drop(walk);
        members.remove(key(1), slots[0]);
        members.remove(key(1), slots[3]);
        assert_eq!(from(&members, place + 1), [2, 4]);
        assert!(members.of_from(key(2), 0).is_none());
    }

    #[test]
    fn who_left_already_leaves_nobody_else() {
        let mut members = Members::default();
        let slot = members.add(key(1), &named("a"), RULE, 10);
        members.add(key(1), &named("a"), RULE, 11);
        members.remove(key(1), slot);
        assert_eq!(members.remove(key(1), slot), None);
        assert_eq!(members.remove(key(2), slot), None);
        assert_eq!(of(&members, 1), Some(vec![11]));
    }

    #[test]
    fn the_last_to_leave_takes_the_room_along() {
        let mut members = Members::default();
        let slot = members.add(key(1), &named("a"), RULE, 10);
        assert!(!members.is_empty());
        members.remove(key(1), slot);
        assert!(members.is_empty());
        assert_eq!(of(&members, 1), None);
    }

    #[test]
    fn the_first_member_settles_the_rule() {
        let mut members = Members::default();
        members.add(key(1), &named("a"), SlowConsumer::Latest, 10);
        members.add(key(1), &named("a"), RULE, 11);
        let rule = members.of(key(1)).map(|(rule, _)| rule);
        assert_eq!(rule, Some(SlowConsumer::Latest));
    }
}
