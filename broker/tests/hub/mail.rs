//! Messages to users.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Hub, Post};
use fanfare_shared::envelope::Draft;
use fanfare_shared::{Data, Encoding, RoomName};
use tokio::time::advance;

use crate::publications::LOG;
use crate::{LINGER, over_memory};

fn draft(data: &[u8]) -> Draft<'_> {
    Draft {
        time: 1,
        from: None,
        event: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: data,
        },
    }
}

/// What a worker's next batch has for mailboxes; each says whether its worker took it.
async fn take(hub: &Arc<Hub>, worker: usize, taken: bool) -> Vec<Vec<u8>> {
    let mut posts = Vec::new();
    hub.inbox(worker).take(&mut posts).await;
    let messages = posts.into_iter().filter_map(|post| match post {
        Post::Publication { delivery, .. } => {
            if taken {
                delivery.taken();
            }
            Some(delivery.publication().data.bytes.to_vec())
        }
        _ => None,
    });
    messages.collect()
}

#[tokio::test(start_paused = true)]
async fn one_connection_that_takes_a_message_is_enough() {
    let (hub, _) = over_memory(LOG);
    let ann = RoomName::of_user("ann");
    hub.open_mailbox(&ann, 0).expect("room for it");
    hub.open_mailbox(&ann, 1).expect("room for it");
    let sent = hub.send("ann", draft(b"1"));
    assert_eq!(take(&hub, 0, false).await, [b"1"]);
    assert_eq!(take(&hub, 1, true).await, [b"1"]);
    assert!(sent.await.expect("an answer"));
    let sent = hub.send("ann", draft(b"2"));
    assert_eq!(take(&hub, 0, false).await, [b"2"]);
    assert_eq!(take(&hub, 1, false).await, [b"2"]);
    assert!(!sent.await.expect("an answer"));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_not_here_is_answered_at_once() {
    let (hub, _) = over_memory(LOG);
    assert!(!hub.send("ann", draft(b"1")).await.expect("an answer"));
    let ann = RoomName::of_user("ann");
    hub.open_mailbox(&ann, 0).expect("room for it");
    hub.close_mailbox(&ann, 0);
    assert!(!hub.send("ann", draft(b"2")).await.expect("an answer"));
    assert!(hub.inbox(0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_nothing_is_waited_for_for_three_seconds() {
    let (hub, _) = over_memory(LOG);
    let ann = RoomName::of_user("ann");
    hub.open_mailbox(&ann, 0).expect("room for it");
    let before = tokio::time::Instant::now();
    assert!(!hub.send("ann", draft(b"1")).await.expect("an answer"));
    assert_eq!(before.elapsed().as_secs(), 3);
    // Later it changes nothing.
    assert_eq!(take(&hub, 0, true).await, [b"1"]);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_lingers_without_connections_and_is_then_closed() {
    let (hub, metrics) = over_memory(LOG);
    let ann = RoomName::of_user("ann");
    let first = hub.open_mailbox(&ann, 0).expect("room for it");
    hub.close_mailbox(&ann, 0);
    advance(LINGER / 2).await;
    hub.sweep();
    assert_eq!(hub.open_mailbox(&ann, 1), Some(first), "it lingers");
    hub.close_mailbox(&ann, 1);
    advance(LINGER + Duration::from_secs(1)).await;
    hub.sweep();
    assert_eq!(metrics.mailboxes.get(), 0);
    assert_ne!(hub.open_mailbox(&ann, 1), Some(first));
    assert_eq!(metrics.mailboxes.get(), 1);
    advance(LINGER * 2).await;
    hub.sweep();
    assert_eq!(metrics.mailboxes.get(), 1, "it has a connection");
}

#[tokio::test(start_paused = true)]
async fn what_is_awaited_is_bounded() {
    let (hub, _) = over_memory(LOG);
    hub.open_mailbox(&RoomName::of_user("ann"), 0)
        .expect("room for it");
    let waiting: Vec<_> = (0..65_536).map(|_| hub.send("ann", draft(b"1"))).collect();
    assert!(hub.send("ann", draft(b"1")).await.is_err());
    for sent in waiting {
        assert!(!sent.await.expect("an answer"));
    }
    let sent = hub.send("ann", draft(b"2"));
    let messages = take(&hub, 0, true).await;
    assert_eq!(messages.last().map(Vec::as_slice), Some(&b"2"[..]));
    assert!(sent.await.expect("an answer"));
}
