//! Who is in which room, where there is one node.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use fanfare_shared::{ClientId, Headcount, Identity, Member, Roll, RoomName};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::backend::{Page, Standing};

/// The members of every room that has some. Announced under the lock, so that the order of changes
/// is the order of what is told of them.
pub(super) struct Rooms {
    pub(super) rooms: Mutex<HashMap<RoomName, Room>>,
    pub(super) standing: watch::Sender<Standing>,
}

/// A room's members.
#[derive(Default)]
pub(super) struct Room {
    pub(super) members: BTreeMap<ClientId, Arc<Identity>>,
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
    pub(super) fn insert(&mut self, member: &Member) -> Option<Arc<Identity>> {
        let Member { client, identity } = member;
        let before = self.members.insert(*client, Arc::clone(identity));
        if let Some(user) = &identity.user {
            *self.users.entry(user.clone()).or_default() += 1;
        }
        self.forget_user(before.as_deref());
        before
    }

    pub(super) fn remove(&mut self, client: ClientId) -> Option<Arc<Identity>> {
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

    pub(super) fn headcount(&self) -> Headcount {
        Headcount {
            count: self.members.len() as u64,
            users: self.users.len() as u64,
        }
    }

    pub(super) fn page(&self, Page { after, limit }: Page) -> Roll {
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
