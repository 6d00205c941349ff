//! Messages to users: to every connection of a user, whichever node it is on.
//!
//! A user has a mailbox on each node with a connection of theirs, and each mailbox is interest in the
//! user's hidden room: a node hears of no user that it does not serve. Whether a connection took a
//! message the nodes say by receipts, into the hidden room of the node that sent it.
//!
//! Nothing is kept: a mailbox has no position and nothing to recover.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::envelope::Draft;
use fanfare_shared::{Data, Encoding, Hidden, Publication, RoomName};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Hub;
use super::mailbox::{Awaited, Mailbox};
use crate::backend::{BackendError, Pending, Scope};
use crate::letter::{self, PATIENCE, Receipt, ReturnAddress, draft};
use crate::{Delivery, Post, RoomKey};

/// How many mailboxes the backend is asked to hear of again at once, each second.
const MAX_AGAIN: usize = 1_024;

impl Hub {
    /// Has answers come to this node. To be called once, before it sends messages to users or asks.
    pub fn await_receipts(&self) {
        self.open_own(&RoomName::of_node(self.mail.node));
    }

    /// Opens a mailbox of the node itself, which stays open.
    pub(super) fn open_own(&self, name: &RoomName) {
        let mailbox = Mailbox::new(self.new_key(), 0);
        let key = mailbox.key;
        self.mail.boxes.lock().insert(name.clone(), mailbox);
        self.listen(name, key, 0);
    }

    // --- mailboxes ---

    /// Opens the mailbox of a user's [room](RoomName::of_user) for one more connection of a worker.
    /// Answers where its [messages](Post::Publication) are for; `None` where the node has as many
    /// mailboxes as it may have rooms.
    pub fn open_mailbox(&self, user: &RoomName, worker: usize) -> Option<RoomKey> {
        let mut boxes = self.mail.boxes.lock();
        if let Some(mailbox) = boxes.get_mut(user) {
            mailbox.members[worker] += 1;
            mailbox.empty_since = None;
            return Some(mailbox.key);
        }
        if boxes.len() >= self.options.rooms {
            self.metrics.rooms_refused.inc();
            return None;
        }
        let mut mailbox = Mailbox::new(self.new_key(), self.inboxes.len());
        mailbox.members[worker] += 1;
        let key = mailbox.key;
        boxes.insert(user.clone(), mailbox);
        drop(boxes);
        self.metrics.mailboxes.inc();
        self.listen(user, key, worker);
        Some(key)
    }

    /// Declares interest in what comes for a mailbox; notes it if that fails.
    fn listen(&self, name: &RoomName, key: RoomKey, worker: usize) {
        let boxes = self.mail.boxes.lock();
        // Closed since: another may have its name by now.
        if boxes.get(name).is_none_or(|mailbox| mailbox.key != key) {
            return;
        }
        let subscribed = self.backend.subscribe(name, worker);
        drop(boxes);
        match subscribed {
            Pending::Ready(Some(outcome)) => self.listened(name, key, &outcome),
            waiting => {
                let (name, this) = (name.clone(), self.this.clone());
                // A task, since it may be answered under a lock of the backend.
                self.runtime.spawn(async move {
                    let outcome = waiting.await;
                    if let Some(hub) = this.upgrade() {
                        hub.listened(&name, key, &outcome);
                    }
                });
            }
        }
    }

    fn listened(&self, name: &RoomName, key: RoomKey, outcome: &Result<(), BackendError>) {
        if outcome.is_err()
            && let Some(mailbox) = self.mail.boxes.lock().get_mut(name)
            && mailbox.key == key
        {
            mailbox.is_deaf = true;
        }
    }

    /// Declares interest again where that failed before: in some of these rooms, at most so many.
    pub(super) fn listen_again(&self, rooms: &Scope, most: usize) {
        let mut boxes = self.mail.boxes.lock();
        let deaf = boxes
            .iter_mut()
            .filter(|(name, mailbox)| mailbox.is_deaf && rooms(name));
        let deaf: Vec<_> = deaf
            .take(most)
            .map(|(name, mailbox)| {
                mailbox.is_deaf = false;
                let worker = mailbox.members.iter().position(|count| *count > 0);
                (name.clone(), mailbox.key, worker.unwrap_or_default())
            })
            .collect();
        drop(boxes);
        for (name, key, worker) in deaf {
            self.listen(&name, key, worker);
        }
    }

    /// Takes back one of a worker's connections.
    pub fn close_mailbox(&self, user: &RoomName, worker: usize) {
        if let Some(mailbox) = self.mail.boxes.lock().get_mut(user) {
            mailbox.members[worker] = mailbox.members[worker].saturating_sub(1);
            if mailbox.members.iter().all(|count| *count == 0) {
                mailbox.empty_since = Some(Instant::now());
            }
        }
    }

    /// Closes mailboxes whose users have been away for a while, and declares interest again where that
    /// failed.
    pub(super) fn sweep_mailboxes(&self, now: Instant) {
        self.mail.boxes.lock().retain(|user, mailbox| {
            let idle = mailbox.empty_since.map(|since| now.duration_since(since));
            let stays = idle.is_none_or(|idle| idle < self.options.linger);
            if !stays {
                self.metrics.mailboxes.dec();
                self.backend.unsubscribe(user);
            }
            stays
        });
        self.listen_again(&|_| true, MAX_AGAIN);
    }

    // --- sending ---

    /// Gives a message to every connection of a user. Answers whether at least one has it in its
    /// outbox: false where none said so within three seconds.
    pub fn send(&self, user: &str, draft: Draft<'_>) -> Pending<bool> {
        let Some(receipts) = self.mail.begin() else {
            return Pending::ready(Err(BackendError::Overloaded));
        };
        let (node, number) = (self.mail.node, receipts.number());
        let sealed = letter::seal(draft.data, ReturnAddress { node, number });
        let draft = Draft {
            data: Data {
                encoding: Encoding::Binary,
                bytes: &sealed,
            },
            ..draft
        };
        let told = self.backend.tell(&RoomName::of_user(user), draft);
        let (answer, answered) = oneshot::channel();
        let this = self.this.clone();
        self.runtime.spawn(async move {
            let taken = taken(told, receipts).await;
            if let Some(hub) = this.upgrade()
                && let Ok(taken) = taken
            {
                hub.metrics.note_letter(taken);
            }
            // Whoever asked may have gone.
            let _ = answer.send(taken);
        });
        Pending::Waiting(answered)
    }

    // --- receiving ---

    /// Takes what came into a hidden room.
    pub(super) fn receive(&self, publication: &Publication) {
        match publication.room.hidden() {
            Some(Hidden::User(_)) => self.receive_letter(publication),
            Some(Hidden::Node(_)) => {
                if let Some((number, answer)) = letter::read_answer(&publication.data.bytes) {
                    self.mail.answer(number, answer);
                }
            }
            Some(Hidden::Nodes(_)) | None => {}
        }
    }

    fn receive_letter(&self, publication: &Publication) {
        let Some((address, data)) = letter::open(&publication.data.bytes) else {
            return;
        };
        let message = Publication {
            data,
            ..publication.clone()
        };
        let this = self.this.clone();
        let receipt = Receipt::new(move |taken| {
            if let Some(hub) = this.upgrade() {
                hub.answer(address, letter::receipt(taken));
            }
        });
        let boxes = self.mail.boxes.lock();
        let Some(mailbox) = boxes.get(&publication.room) else {
            return;
        };
        let delivery = Arc::new(Delivery::to_user(Arc::new(message), receipt));
        for (inbox, members) in self.inboxes.iter().zip(&mailbox.members) {
            if *members > 0 {
                inbox.push(Post::Publication {
                    room: mailbox.key,
                    delivery: Arc::clone(&delivery),
                });
            }
        }
    }

    /// Answers a letter or a question.
    pub(super) fn answer(&self, ReturnAddress { node, number }: ReturnAddress, answer: &[u8]) {
        if node == self.mail.node {
            return self.mail.answer(number, Bytes::copy_from_slice(answer));
        }
        let answer = letter::answer(number, answer);
        // The backend may hold a lock of its own while it delivers.
        let this = self.this.clone();
        self.runtime.spawn(async move {
            let Some(hub) = this.upgrade() else { return };
            drop(hub.backend.tell(&RoomName::of_node(node), draft(&answer)));
        });
    }
}

/// Whether a connection took a message: `told` says how many nodes may have one.
async fn taken(told: Pending<Option<u64>>, mut receipts: Awaited) -> Result<bool, BackendError> {
    let mut left = told.await?.unwrap_or(u64::MAX);
    let deadline = Instant::now() + PATIENCE;
    while left > 0 {
        match timeout_at(deadline, receipts.answer()).await {
            Ok(receipt) if letter::is_taken(&receipt) => return Ok(true),
            Ok(_) => left -= 1,
            Err(_) => break,
        }
    }
    Ok(false)
}
