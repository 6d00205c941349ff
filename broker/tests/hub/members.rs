//! Members that come and go, as other members are told.

use std::sync::Arc;

use fanfare_broker::Replay;
use fanfare_broker::backend::{Announcement, Sink};
use fanfare_shared::{ClientId, Headcount, Member, MemberChange};

use crate::publications::{LOG, named};
use crate::{Told, join, over_memory};

fn came(client: u64) -> MemberChange {
    MemberChange::Join(Member {
        client: ClientId(client),
        identity: Arc::default(),
    })
}

fn announced(count: u64, change: MemberChange) -> Announcement {
    Announcement {
        room: named("a"),
        headcount: Headcount { count, users: 1 },
        change,
    }
}

#[tokio::test]
async fn members_are_told_of_each_other_one_by_one_until_the_room_is_large() {
    let (hub, _) = over_memory(LOG);
    hub.join(&named("a"), join(0, Replay::None));
    Told::until(&hub, 0, |told| told.joined.len() == 1).await;
    let leave = MemberChange::Leave(Member {
        client: ClientId(3),
        identity: Arc::default(),
    });
    hub.announce(announced(2, came(2)));
    for client in 3..=5 {
        hub.announce(announced(client, came(client)));
    }
    hub.announce(announced(4, leave));
    let gone = MemberChange::Count {
        headcount: Headcount::default(),
        joined: 0,
        left: 7,
    };
    hub.announce(announced(4, gone));
    hub.sweep();
    hub.sweep();
    hub.announce(announced(1, came(9)));
    let told = Told::until(&hub, 0, |told| told.changes.len() == 3).await;
    let counted = MemberChange::Count {
        headcount: Headcount { count: 4, users: 1 },
        joined: 3,
        left: 8,
    };
    assert_eq!(told.changes, [came(2), counted, came(9)]);
}

#[tokio::test]
async fn a_room_without_local_members_tells_nobody() {
    let (hub, _) = over_memory(LOG);
    hub.join(&named("a"), join(0, Replay::None));
    Told::until(&hub, 0, |told| told.joined.len() == 1).await;
    hub.leave(&named("a"), 0);
    hub.announce(announced(1, came(2)));
    hub.announce(announced(9, came(2)));
    hub.sweep();
    hub.join(&named("a"), join(0, Replay::None));
    let told = Told::until(&hub, 0, |told| told.joined.len() == 1).await;
    assert_eq!(told.changes, []);
}
