//! The log: what a read finds, what it says of a position, and what is let go.

use std::time::Duration;

use fanfare_broker::backend::{Log, READ_BYTES, Read};
use fanfare_shared::{Epoch, Position};

use crate::fixture::Fixture;
use crate::publications::LOG;
use crate::{ALL, after, eventually, offsets, texts};

conformance! {
    a_read_answers_position_newest_and_what_came_after
    a_read_is_cut_short_where_publications_are_large
    a_read_says_whether_what_it_found_follows_on_the_position
    a_position_of_another_epoch_is_followed_by_nothing
    members_of_another_log_are_given_what_there_is
    a_room_that_only_has_members_keeps_its_first_epoch
    a_read_begins_no_log
    an_empty_log_ends_when_nobody_asks_for_it
    the_log_keeps_no_more_than_its_size
    the_log_forgets_after_its_ttl_but_keeps_its_position
}

async fn a_read_answers_position_newest_and_what_came_after(f: Fixture) {
    let mut positions = Vec::new();
    for content in ["a", "b", "c", "d"] {
        positions.push(f.publish("read", LOG, content).await.expect("a position"));
    }
    let snapshot = f.read("read", LOG, Read::Begin).await;
    assert_eq!(snapshot.position, Some(positions[3]));
    assert!(snapshot.publications.is_empty());

    let newest = |limit| f.texts("read", LOG, Read::Newest { limit });
    assert_eq!(newest(2).await, ["c", "d"]);
    assert_eq!(newest(0).await, [""; 0]);
    assert_eq!(newest(9).await, ["a", "b", "c", "d"]);

    let after = |place: usize, limit| f.texts("read", LOG, after(positions[place], limit));
    assert_eq!(after(1, 9).await, ["c", "d"]);
    assert_eq!(after(0, 2).await, ["b", "c"]);
    assert_eq!(after(3, 9).await, [""; 0]);
}

async fn a_read_is_cut_short_where_publications_are_large(f: Fixture) {
    let first = f.read("large", LOG, Read::Begin).await.position;
    let first = first.expect("a position");
    let size = READ_BYTES / 10;
    for number in 1..=25 {
        let content = number.to_string();
        let content = content.clone() + &"x".repeat(size - content.len());
        f.publish("large", LOG, &content).await;
    }
    let (mut position, mut found, mut reads) = (first, Vec::new(), 0);
    let whole = loop {
        let page = f.read("large", LOG, after(position, 1_000)).await;
        assert!(page.follows);
        let bytes = page.publications.iter().map(|one| one.data.bytes.len());
        assert!(bytes.sum::<usize>() <= READ_BYTES);
        found.extend(offsets(&page));
        reads += 1;
        match page.cut_at {
            Some(cut_at) => position = cut_at,
            None => break page,
        }
    };
    assert_eq!(found, (1..=25).collect::<Vec<_>>());
    assert_eq!(whole.position.map(|position| position.offset), Some(25));
    assert!(reads >= 3, "{reads}");
    let resumed = Read::Resume {
        position: first,
        limit: 1_000,
    };
    let resumed = f.read("large", LOG, resumed).await;
    assert!(resumed.follows && resumed.cut_at.is_some());

    f.publish("large", LOG, &"x".repeat(2 * READ_BYTES)).await;
    let alone = f
        .read("large", LOG, after(whole.position.expect("one"), 9))
        .await;
    assert_eq!(offsets(&alone), [26]);
}

async fn a_read_says_whether_what_it_found_follows_on_the_position(f: Fixture) {
    let log = Log { size: 3, ..LOG };
    let zero = f.read("follows", log, Read::Begin).await;
    let zero = zero.position.expect("a position");
    assert!(f.read("follows", log, after(zero, 3)).await.follows);
    let mut positions = vec![zero];
    for content in ["a", "b", "c", "d"] {
        positions.push(
            f.publish("follows", log, content)
                .await
                .expect("a position"),
        );
    }
    let follows = |position, limit| {
        let f = &f;
        async move { f.read("follows", log, after(position, limit)).await.follows }
    };
    assert!(follows(positions[4], 3).await, "nothing came after");
    assert!(follows(positions[1], 3).await, "all of it is kept");
    assert!(follows(positions[1], 2).await, "as much as was asked for");
    assert!(!follows(positions[0], 3).await, "the first was let go");
    assert!(!follows(positions[4].next(), 3).await, "ahead of the log");
    assert!(
        !f.read("follows", log, Read::Newest { limit: 1 })
            .await
            .follows
    );
}

async fn a_position_of_another_epoch_is_followed_by_nothing(f: Fixture) {
    f.publish("epoch", LOG, "a").await;
    for epoch in [Epoch::from_bits(12_345), Epoch::UNKNOWN] {
        let position = Position { epoch, offset: 0 };
        let snapshot = f.read("epoch", LOG, after(position, 10)).await;
        assert!(snapshot.publications.is_empty());
        assert!(!snapshot.follows);
        assert_eq!(snapshot.position.map(|position| position.offset), Some(1));
    }
}

async fn members_of_another_log_are_given_what_there_is(f: Fixture) {
    let log = Log { size: 2, ..LOG };
    for content in ["a", "b", "c"] {
        f.publish("other", log, content).await;
    }
    for offset in [0, 2, 7] {
        let epoch = Epoch::from_bits(12_345);
        let position = Position { epoch, offset };
        let found = f
            .read("other", log, Read::Resume { position, limit: 9 })
            .await;
        assert_eq!(texts(&found), ["b", "c"]);
        assert_eq!(offsets(&found), [2, 3]);
        assert!(!found.follows);
    }
    let epoch = Epoch::from_bits(12_345);
    let position = Position { epoch, offset: 5 };
    let begun = f
        .read("none", log, Read::Resume { position, limit: 9 })
        .await;
    assert_eq!(begun.position.map(|position| position.offset), Some(0));
    assert!(begun.publications.is_empty() && !begun.follows);
}

async fn a_read_begins_no_log(f: Fixture) {
    let position = Position {
        epoch: Epoch::from_bits(12_345),
        offset: 0,
    };
    for read in [ALL, after(position, 9)] {
        let found = f.read("nobody's", LOG, read).await;
        assert_eq!(found.position, None);
        assert!(found.publications.is_empty() && !found.follows);
    }
    let begun = f.read("nobody's", LOG, Read::Begin).await.position;
    assert_eq!(f.read("nobody's", LOG, ALL).await.position, begun);
    assert!(begun.is_some());
}

async fn an_empty_log_ends_when_nobody_asks_for_it(f: Fixture) {
    let log = Log {
        ttl: Duration::from_millis(40),
        ..LOG
    };
    let begun = f.read("left", log, Read::Begin).await.position;
    assert!(begun.is_some());
    let read = || f.read("left", log, ALL);
    eventually("the log's end", read, |found| {
        f.sweep();
        found.position.is_none()
    })
    .await;
    let anew = f.read("left", log, Read::Begin).await.position;
    assert_ne!(
        anew, begun,
        "what was published in between cannot be proved"
    );
}

async fn a_room_that_only_has_members_keeps_its_first_epoch(f: Fixture) {
    let first = f
        .read("quiet", LOG, Read::Begin)
        .await
        .position
        .expect("a position");
    assert_eq!(first.offset, 0);
    let second = f.read("quiet", LOG, ALL).await;
    assert_eq!(second.position, Some(first));
    assert_eq!(f.publish("quiet", LOG, "a").await, Some(first.next()));
    assert_eq!(f.texts("quiet", LOG, after(first, 9)).await, ["a"]);
}

async fn the_log_keeps_no_more_than_its_size(f: Fixture) {
    let log = Log { size: 5, ..LOG };
    let first = f.publish("sized", log, "1").await.expect("a position");
    for number in 2..=300 {
        f.publish("sized", log, &number.to_string()).await;
    }
    let kept = f.read("sized", log, ALL).await;
    assert_eq!(offsets(&kept), [296, 297, 298, 299, 300]);
    assert_eq!(texts(&kept), ["296", "297", "298", "299", "300"]);
    let after = f.read("sized", log, after(first, 1_000)).await;
    assert_eq!(offsets(&after), [296, 297, 298, 299, 300]);
    assert_eq!(after.position.map(|position| position.offset), Some(300));
}

async fn the_log_forgets_after_its_ttl_but_keeps_its_position(f: Fixture) {
    let log = Log {
        ttl: Duration::from_millis(40),
        ..LOG
    };
    let position = f.publish("brief", log, "a").await;
    let read = || f.read("brief", log, ALL);
    let snapshot = eventually("the log's end", read, |snapshot| {
        snapshot.publications.is_empty()
    })
    .await;
    assert_eq!(snapshot.position, position);
    let missed = f
        .read("brief", log, after(position.expect("a position"), 10))
        .await;
    assert!(missed.follows, "nothing was missed");
    assert_eq!(
        f.publish("brief", log, "b").await,
        position.map(Position::next)
    );
}
