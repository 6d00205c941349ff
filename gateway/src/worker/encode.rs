//! Encoding a replay or a history, which may take longer than a turn.

use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::Publication;
use tokio::task::spawn_blocking;

use super::Worker;
use super::turn::{ENCODED_BYTES, MOST};

/// The units that a publication costs, its bytes aside.
const PUBLICATION: usize = 10;

impl Worker {
    /// Encodes a frame that holds publications: here if it takes no longer than a turn, else on a
    /// thread of its own. `None` where the format has no word for it, or the worker ends.
    pub(crate) async fn encode(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> Option<Bytes> {
        let bytes = messages.iter().map(|message| message.data.bytes.len());
        let units = messages.len() * PUBLICATION + bytes.sum::<usize>() / ENCODED_BYTES;
        if units <= MOST {
            self.turn.charge(units);
            return encode(&messages);
        }
        // The publications are let go of there, too.
        match spawn_blocking(move || encode(&messages)).await {
            Ok(frame) => frame,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => None,
            },
        }
    }

    /// The same for a command that anybody may give again and again: one at a time, so that those
    /// who come back to their rooms do not wait for many.
    pub(crate) async fn encode_in_turn(
        &self,
        messages: Vec<Arc<Publication>>,
        encode: impl FnOnce(&[Arc<Publication>]) -> Option<Bytes> + Send + 'static,
    ) -> Option<Bytes> {
        // Never closed.
        let _turn = self.encoding.acquire().await;
        self.encode(messages, encode).await
    }
}
