//! Publishing: the call of `publish.lua`, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::envelope::{self, Draft};
use fanfare_shared::{Epoch, Position, RoomName};
use prometheus::local::LocalHistogram;
use redis::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::renewals::{self, Renewals};
use super::{position, ttl};
use crate::backend::redis::names::keys;
use crate::backend::redis::wire::command::Command;
use crate::backend::redis::wire::refusal::Refusal;
use crate::backend::{BackendError, Log, Submission};

/// The script.
pub(crate) const SCRIPT: &str = include_str!("publish.lua");

/// A publication that waits, and who waits for it.
pub(crate) struct Item {
    room: RoomName,
    /// Encoded by who publishes it, so that the link's task only copies it.
    envelope: Vec<u8>,
    log: Log,
    key: Option<Box<str>>,
    since: Instant,
    answer: Answer,
    /// Whether it renews its room's log.
    renews: bool,
}

/// Who waits for the outcome of a publication.
enum Answer {
    /// For its position.
    Position(oneshot::Sender<Result<Option<Position>, BackendError>>),
    /// For how many nodes have it.
    Nodes(oneshot::Sender<Result<Option<u64>, BackendError>>),
    /// For the room's log to be deleted, in place of a publication.
    Forgotten(oneshot::Sender<Result<(), BackendError>>),
}

/// What became of a publication.
pub(crate) enum Done {
    /// It is in the log.
    Logged(Position),
    /// So many nodes have it, or keys are deleted.
    Counted(u64),
}

/// What the calls of a link have in common.
#[derive(Clone)]
pub(crate) struct Call {
    /// The script's.
    pub(crate) sha: String,
    /// The server's run, for the script.
    pub(crate) run: String,
    /// The command that publishes.
    pub(crate) verb: &'static str,
    pub(crate) renewals: Arc<Renewals>,
}

/// What each pipeline begins with, and so the number of replies before the publications' own.
///
/// Redis writes to its clients in the reverse order of when they got something to be written. Since
/// the publishing node has its first reply before the first publication is handed on, it comes
/// last; else it would be woken first, and take the CPU or the time from those who wait for the
/// publication.
pub(crate) const HEAD: usize = 1;

/// The head of a pipeline that needs none.
pub(crate) const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Item {
    pub(crate) fn new(
        submission: &Submission<'_>,
    ) -> (
        Self,
        oneshot::Receiver<Result<Option<Position>, BackendError>>,
    ) {
        let (answer, answered) = oneshot::channel();
        let item = Self::answered_by(Answer::Position(answer), submission);
        (item, answered)
    }

    /// One into a room without a log.
    pub(crate) fn to_nodes(
        room: &RoomName,
        draft: Draft<'_>,
    ) -> (Self, oneshot::Receiver<Result<Option<u64>, BackendError>>) {
        let (answer, answered) = oneshot::channel();
        let submission = Submission {
            room,
            draft,
            log: Log::NONE,
            key: None,
        };
        let item = Self::answered_by(Answer::Nodes(answer), &submission);
        (item, answered)
    }

    /// No publication, but the end of the room's log.
    pub(crate) fn forget(room: &RoomName) -> (Self, oneshot::Receiver<Result<(), BackendError>>) {
        let (answer, answered) = oneshot::channel();
        let item = Self {
            room: room.clone(),
            envelope: Vec::new(),
            log: Log::NONE,
            key: None,
            since: Instant::now(),
            answer: Answer::Forgotten(answer),
            renews: false,
        };
        (item, answered)
    }

    fn answered_by(answer: Answer, submission: &Submission<'_>) -> Self {
        Self {
            room: submission.room.clone(),
            envelope: envelope::encode(&submission.draft),
            log: submission.log,
            key: submission.key.map(Box::from),
            since: Instant::now(),
            answer,
            renews: false,
        }
    }

    /// Writes the call.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, call: &Call) {
        let Call {
            sha,
            run,
            verb,
            renewals,
        } = call;
        let Self {
            room,
            envelope,
            log,
            key,
            ..
        } = &*self;
        if matches!(self.answer, Answer::Forgotten(_)) {
            Command::new(out, 3)
                .arg("DEL")
                .parts(keys::meta(room).parts())
                .parts(keys::log(room).parts());
            return;
        }
        if log.size == 0 {
            Command::new(out, 3)
                .arg(verb)
                .parts(keys::channel(room).parts())
                .parts([b" ", &envelope[..]]);
            return;
        }
        let renews = renewals.is_due(room, log.ttl);
        let keys = 2 + usize::from(key.is_some());
        let mut command = Command::new(out, 12 + keys);
        command.arg("EVALSHA").arg(sha).number(keys as u64);
        command
            .parts(keys::meta(room).parts())
            .parts(keys::log(room).parts());
        if let Some(key) = key {
            command.display(keys::seen(room, key));
        }
        command
            .number(log.size as u64)
            .number(ttl(renewals::of_log(log.ttl)))
            .number(ttl(renewals::of_position(log.ttl)))
            .number(renews.into())
            .display(Epoch::from_bits(fastrand::u64(..)))
            .arg(run)
            .arg(verb)
            .parts(keys::channel(room).parts())
            .arg(envelope);
        self.renews = renews;
    }

    /// The room that it is for.
    pub(crate) fn room(&self) -> &RoomName {
        &self.room
    }

    /// Notes that it was done, which may have renewed the room's log. One with a key may have been
    /// done before, and then renewed nothing.
    pub(crate) fn note_renewal(&self, renewals: &Renewals) {
        if self.renews && self.key.is_none() {
            renewals.note(self.room(), self.since);
        }
    }

    /// How long it has waited.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// What it weighs in a queue.
    pub(crate) fn weight(&self) -> usize {
        self.envelope.len()
    }

    /// Answers that it was not done.
    pub(crate) fn fail(self, error: BackendError) {
        self.answer.send(Err(error));
    }

    /// Reads the reply.
    pub(crate) fn outcome(&self, reply: &Value) -> Result<Done, Refusal> {
        match reply {
            Value::ServerError(error) => Err(Refusal::of_reply(error)),
            Value::Int(count) if self.log.size == 0 => {
                Ok(Done::Counted(u64::try_from(*count).unwrap_or_default()))
            }
            Value::BulkString(text) => position::parse(text).map(Done::Logged).ok_or_else(|| {
                // A record under an idempotency key's name that the script did not write.
                Refusal::Lasting("the key's record holds no position".to_owned())
            }),
            other => Err(Refusal::Lasting(format!("unexpected reply {other:?}"))),
        }
    }

    /// Tells who waits for it.
    pub(crate) fn answer(self, outcome: Result<Done, Refusal>, seconds: &LocalHistogram) {
        seconds.observe(self.since.elapsed().as_secs_f64());
        self.answer.send(outcome.map_err(Into::into));
    }
}

impl Answer {
    fn send(self, outcome: Result<Done, BackendError>) {
        // Whoever asked may have gone.
        match self {
            Self::Position(answer) => {
                let _ = answer.send(outcome.map(|done| match done {
                    Done::Logged(position) => Some(position),
                    Done::Counted(_) => None,
                }));
            }
            Self::Nodes(answer) => {
                let _ = answer.send(outcome.map(|done| match done {
                    Done::Logged(_) => None,
                    Done::Counted(nodes) => Some(nodes),
                }));
            }
            Self::Forgotten(answer) => {
                let _ = answer.send(outcome.map(drop));
            }
        }
    }
}
