//! Members as tests make them.

use std::sync::Arc;

use fanfare_broker::backend::{Page, Presence};
use fanfare_shared::{ClientId, Headcount, Identity, Member, Roll};

use crate::recording::DEADLINE;

/// A member of whom nothing is known.
pub(crate) fn anonymous(client: u64) -> Member {
    Member {
        client: ClientId(client),
        identity: Arc::default(),
    }
}

/// A member that belongs to a user.
pub(crate) fn user(client: u64, user: &str) -> Member {
    let identity = Identity {
        user: Some(user.into()),
        info: None,
    };
    Member {
        client: ClientId(client),
        identity: Arc::new(identity),
    }
}

pub(crate) fn headcount(count: u64, users: u64) -> Headcount {
    Headcount { count, users }
}

/// The first page, of so many.
pub(crate) const fn first(limit: usize) -> Page {
    Page { after: None, limit }
}

/// Who is on a page.
pub(crate) fn clients(roll: &Roll) -> Vec<u64> {
    roll.members.iter().map(|member| member.client.0).collect()
}

/// Waits until the node can enter members.
pub(crate) async fn until_open(presence: &dyn Presence) {
    let mut standing = presence.standing();
    let open = standing.wait_for(|standing| standing.open);
    let opened = tokio::time::timeout(DEADLINE, open).await;
    opened.expect("a lease").expect("the backend lives");
}
