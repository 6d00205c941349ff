//! What a room's members are told of each other's coming and going: each change while the room is
//! small, and now and then how many there are once it is large.

use std::sync::Arc;

use fanfare_shared::MemberChange;

use super::Room;
use super::state::PendingChanges;
use crate::backend::Announcement;
use crate::{Inbox, Notice, Post};

impl Room {
    /// Takes a change: tells the members at once, or, where there are more than `each`, with the
    /// next [`Room::tell_count`].
    pub(crate) fn announce(
        &mut self,
        announcement: Announcement,
        each: u64,
        inboxes: &[Arc<Inbox>],
    ) {
        let Announcement {
            headcount, change, ..
        } = announcement;
        let (joined, left) = match &change {
            MemberChange::Join(_) | MemberChange::Leave(_) if headcount.count <= each => {
                self.notify(change, inboxes);
                return;
            }
            MemberChange::Join(_) => (1, 0),
            MemberChange::Leave(_) => (0, 1),
            MemberChange::Count { joined, left, .. } => (*joined, *left),
        };
        let pending = self.pending.get_or_insert_default();
        pending.headcount = headcount;
        pending.joined += joined;
        pending.left += left;
    }

    /// Tells the members how many they are, if they have not been told of every change.
    pub(crate) fn tell_count(&mut self, inboxes: &[Arc<Inbox>]) {
        if let Some(pending) = self.pending.take() {
            let PendingChanges {
                headcount,
                joined,
                left,
            } = *pending;
            let change = MemberChange::Count {
                headcount,
                joined,
                left,
            };
            self.notify(change, inboxes);
        }
    }

    fn notify(&self, change: MemberChange, inboxes: &[Arc<Inbox>]) {
        let notice = Arc::new(Notice::new(self.name.clone(), change));
        for (inbox, members) in inboxes.iter().zip(&self.members) {
            if *members > 0 {
                inbox.push(Post::Notice {
                    room: self.key,
                    notice: Arc::clone(&notice),
                });
            }
        }
    }
}
