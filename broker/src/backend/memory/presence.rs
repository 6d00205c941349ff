//! Who is in which room, where there is one node.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use fanfare_shared::{ClientId, Headcount, Identity, Member, MemberChange, Roll, RoomName};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Memory, Pending};
use crate::backend::{Announcement, Page, Presence, Standing};

/// The members of every room that has some. Announced under the lock, so that the order of changes
/// is the order of what is told of them.
pub(super) struct Rooms {
    rooms: Mutex<HashMap<RoomName, Room>>,
    standing: watch::Sender<Standing>,
}

#[derive(Default)]
struct Room {
    members: BTreeMap<ClientId, Arc<Identity>>,
    /// How many connections each user has here.
    users: HashMap<Box<str>, u64>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            rooms: Mutex::default(),
            standing: watch::Sender::new(Standing {
                open: true,
                ..Standing::default()
            }),
        }
    }
}

impl Room {
    /// Answers who stood there before.
    fn insert(&mut self, member: &Member) -> Option<Arc<Identity>> {
        let Member { client, identity } = member;
        let before = self.members.insert(*client, Arc::clone(identity));
        if let Some(user) = &identity.user {
            *self.users.entry(user.clone()).or_default() += 1;
        }
        self.forget_user(before.as_deref());
        before
    }

    fn remove(&mut self, client: ClientId) -> Option<Arc<Identity>> {
        let before = self.members.remove(&client);
        self.forget_user(before.as_deref());
        before
    }

    fn forget_user(&mut self, identity: Option<&Identity>) {
        let user = identity.and_then(|identity| identity.user.as_deref());
        if let Some(user) = user
            && let Some(count) = self.users.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                self.users.remove(user);
            }
        }
    }

    fn headcount(&self) -> Headcount {
        Headcount {
            count: self.members.len() as u64,
            users: self.users.len() as u64,
        }
    }

    fn page(&self, Page { after, limit }: Page) -> Roll {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.members.range((after, Bound::Unbounded));
        let members: Vec<_> = rest
            .by_ref()
            .take(limit)
            .map(|(client, identity)| Member {
                client: *client,
                identity: Arc::clone(identity),
            })
            .collect();
        let last = members.last().map(|member| member.client);
        Roll {
            headcount: self.headcount(),
            next: last.filter(|_| rest.next().is_some()),
            members,
        }
    }
}

impl Memory {
    fn announce(&self, room: &RoomName, headcount: Headcount, change: MemberChange) {
        if let Some(sink) = self.sink.get() {
            sink.announce(Announcement {
                room: room.clone(),
                headcount,
                change,
            });
        }
    }
}

impl Presence for Memory {
    fn enter(&self, room: &RoomName, member: &Member, announce: bool) -> Pending<()> {
        let mut rooms = self.presence.rooms.lock();
        let members = rooms.entry(room.clone()).or_default();
        if members.insert(member).is_none() && announce {
            let change = MemberChange::Join(member.clone());
            self.announce(room, members.headcount(), change);
        }
        Pending::ready(Ok(()))
    }

    fn exit(&self, room: &RoomName, client: ClientId, announce: bool) -> Pending<()> {
        let mut rooms = self.presence.rooms.lock();
        if let Some(members) = rooms.get_mut(room.as_str()) {
            let gone = members.remove(client);
            if let Some(identity) = gone.filter(|_| announce) {
                let change = MemberChange::Leave(Member { client, identity });
                self.announce(room, members.headcount(), change);
            }
            if members.members.is_empty() {
                rooms.remove(room.as_str());
            }
        }
        Pending::ready(Ok(()))
    }

    fn members(&self, room: &RoomName, page: Page, _announce: bool) -> Pending<Roll> {
        let rooms = self.presence.rooms.lock();
        let room = rooms.get(room.as_str());
        Pending::ready(Ok(room.map(|room| room.page(page)).unwrap_or_default()))
    }

    fn resign(&self) -> Pending<()> {
        Pending::ready(Ok(()))
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.presence.standing.subscribe()
    }
}
