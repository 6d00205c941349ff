//! Questions to every node, and their answers.
//!
//! Each node hears of questions in a hidden room, as it does of letters, and answers into the hidden
//! room of the node that asked. Redis says how many nodes a question reached, so a survey is known to
//! be whole, or not.

use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::{Data, Encoding, Publication, RoomName};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::{Hub, Respond};
use crate::backend::BackendError;
use crate::letter::{self, PATIENCE, QUESTIONS, ReturnAddress, SurveyError, draft};

impl Hub {
    /// Has questions come to this node, and answers them. To be called once.
    pub fn await_questions(&self, respond: Respond) {
        if self.respond.set(respond).is_ok() {
            self.open_own(&QUESTIONS);
        }
    }

    /// Asks every node, this one included; answers what each says, in no order. Waits for three
    /// seconds at most. Cancel-safe: answers that come later are dropped.
    ///
    /// # Errors
    ///
    /// If a node cannot be asked, or does not answer.
    pub async fn ask(&self, question: &[u8]) -> Result<Vec<Bytes>, SurveyError> {
        let mut awaited = self.mail.begin().ok_or(BackendError::Overloaded)?;
        let node = self.mail.node;
        let data = Data {
            encoding: Encoding::Binary,
            bytes: question,
        };
        let number = awaited.number();
        let sealed = letter::seal(data, ReturnAddress { node, number });
        let told = self.backend.tell(&QUESTIONS, draft(&sealed)).await?;
        // At least itself, or it does not hear others either.
        let asked = usize::try_from(told.unwrap_or_default())
            .unwrap_or(usize::MAX)
            .max(1);
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        while answers.len() < asked {
            match timeout_at(deadline, awaited.answer()).await {
                Ok(answer) => answers.push(answer),
                Err(_) => {
                    let silent = asked - answers.len();
                    return Err(SurveyError::Silent { silent, asked });
                }
            }
        }
        Ok(answers)
    }

    /// Answers a question.
    pub(super) fn receive_question(&self, publication: &Publication) {
        let Some((address, question)) = letter::open(&publication.data.bytes) else {
            return;
        };
        let (Some(respond), Some(hub)) = (self.respond.get(), self.this.upgrade()) else {
            return;
        };
        let answering = respond(Arc::clone(&hub), question.bytes);
        self.runtime.spawn(async move {
            let answer = answering.await;
            hub.answer(address, &answer);
        });
    }

    /// Reads a room's log anew, if it has members here: what it has lost its members learn by a reset.
    /// Answers when they are told, or it could not be read and is to be tried again.
    pub async fn look_again(&self, name: &RoomName) {
        let found = self
            .stripe(name)
            .get(name.as_str())
            .map(|room| (room.key(), room.log()));
        if let Some((key, log)) = found {
            self.catch_up(name.clone(), key, log).await;
        }
    }

    /// How many rooms this node serves.
    #[must_use]
    pub fn room_count(&self) -> u64 {
        u64::try_from(self.metrics.rooms.get()).unwrap_or_default()
    }

    /// The rooms with members on this node whose names begin so, in the order of their names behind
    /// `after`: at most so many, each with how many members it has here.
    pub async fn rooms_after(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
    ) -> Vec<(RoomName, u64)> {
        let mut first = BinaryHeap::new();
        for stripe in &self.stripes {
            for (name, room) in &*stripe.lock() {
                let wanted = name.as_str() > after
                    && name.as_str().starts_with(prefix)
                    && name.hidden().is_none();
                if wanted && room.member_count() > 0 {
                    first.push((name.clone(), room.member_count()));
                    if first.len() > most {
                        first.pop();
                    }
                }
            }
            // A node may have a million of them.
            yield_now().await;
        }
        first.into_sorted_vec()
    }
}
