//! Publications without pause while something fails, and the account of what became of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_broker::backend::redis::Redis;
use fanfare_broker::backend::{Backend, BackendError, Log, Read, Snapshot};
use fanfare_shared::Position;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::publications::{LOG, named, text};
use crate::recording::{DEADLINE, Event, Recording, eventually};

/// Keeps whatever a test publishes.
const ENDLESS: Log = Log {
    size: 1_000_000,
    ..LOG
};

/// How many are called at once, without being awaited, and how many may be unanswered: their order
/// has to hold, too.
const AT_ONCE: usize = 8;
const UNANSWERED: usize = 20_000;

/// Publishes numbers into a room until told to end.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    answered: watch::Receiver<usize>,
    publishing: JoinHandle<Vec<(String, Position)>>,
    room: String,
}

/// What was answered with a position, in the order of the calls.
pub(crate) struct Account {
    room: String,
    accepted: Vec<(String, Position)>,
}

impl Stream {
    pub(crate) fn begin(node: &Arc<Redis>, room: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (count, answered) = watch::channel(0);
        let (called, mut calls) = mpsc::channel(UNANSWERED);
        let (node, stopped, name) = (Arc::clone(node), Arc::clone(&stop), room.to_owned());
        tokio::spawn(async move {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                for _ in 0..AT_ONCE {
                    number += 1;
                    let content = format!("{number:08}");
                    let outcome = node.publish(text(&name, ENDLESS, &content));
                    called.send((outcome, content)).await.expect("awaited");
                }
                // A pace, lest a node without a link does nothing but answer.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let publishing = tokio::spawn(async move {
            let mut accepted = Vec::new();
            while let Some((outcome, content)) = calls.recv().await {
                match outcome.await {
                    Ok(position) => accepted.push((content, position.expect("a position"))),
                    // Whether it got there is not known: it may. Or it is known not to.
                    Err(BackendError::Unavailable | BackendError::Refused(_)) => {}
                    Err(error) => panic!("{content}: {error}"),
                }
                count.send_replace(accepted.len());
            }
            accepted
        });
        Self {
            stop,
            answered,
            publishing,
            room: room.to_owned(),
        }
    }

    /// How many were accepted until now.
    pub(crate) fn answered(&self) -> usize {
        *self.answered.borrow()
    }

    /// Waits until as many were accepted.
    pub(crate) async fn until_answered(&self, count: usize) {
        let mut answered = self.answered.clone();
        tokio::time::timeout(DEADLINE, answered.wait_for(|answered| *answered >= count))
            .await
            .expect("publications get through")
            .expect("the stream goes on");
    }

    pub(crate) async fn end(self) -> Account {
        self.stop.store(true, Ordering::SeqCst);
        Account {
            room: self.room,
            accepted: self.publishing.await.expect("no panic"),
        }
    }
}

impl Account {
    /// Checks that nothing accepted was lost, doubled or put out of order without a word: neither
    /// in the log, nor in what was delivered. Answers how many were lost with an epoch.
    pub(crate) async fn check(&self, node: &Redis, sink: &Recording) -> usize {
        let log = self.read(node, Read::Newest { limit: 1_000_000 }).await;
        let kept: Vec<_> = log
            .publications
            .iter()
            .map(|publication| String::from_utf8_lossy(&publication.data.bytes).into_owned())
            .collect();
        let numbers: Vec<_> = kept.iter().filter(|text| text.len() == 8).collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "doubled, or out of order"
        );
        let positions: Vec<_> = self.accepted.iter().map(|(_, position)| position).collect();
        for pair in positions.windows(2) {
            let same = pair[0].epoch == pair[1].epoch;
            assert!(!same || pair[0].offset < pair[1].offset, "{pair:?}");
        }
        let once: HashSet<_> = positions.iter().map(|at| (at.epoch, at.offset)).collect();
        assert_eq!(once.len(), positions.len(), "a position given twice");

        let kept: HashSet<_> = kept.into_iter().collect();
        let mut lost = 0;
        for (content, position) in &self.accepted {
            if !kept.contains(content) {
                lost += 1;
                let (position, limit) = (*position, 1);
                let after = self.read(node, Read::After { position, limit }).await;
                assert!(!after.follows, "{content} at {position:?} is gone silently");
            }
        }
        self.check_delivered(sink);
        lost
    }

    /// Every gap was told of, and nothing came twice.
    fn check_delivered(&self, sink: &Recording) {
        let (mut told, mut last) = (true, None::<Position>);
        for event in sink.events() {
            match event {
                Event::Lost(_) => told = true,
                Event::Delivered(publication) if publication.room.as_str() == self.room => {
                    let position = publication.position.expect("a position");
                    let follows = last.is_none_or(|last| last.next() == position);
                    assert!(follows || told, "{position:?} after {last:?}");
                    let again =
                        last.is_some_and(|last| last.epoch == position.epoch && last >= position);
                    assert!(!again, "{position:?} after {last:?}");
                    (told, last) = (false, Some(position));
                }
                _ => {}
            }
        }
        assert!(last.is_some(), "nothing was delivered");
    }

    async fn read(&self, node: &Redis, read: Read) -> Snapshot {
        // A link may just be made anew.
        let reading = || node.read(&named(&self.room), ENDLESS, read);
        let read = eventually("the log", reading, Result::is_ok).await;
        read.expect("a log that can be read")
    }
}
