//! How much a worker does before it looks at what else there is to do.
//!
//! Counted in units of about a tenth of a microsecond and not in time, so that it costs nothing to
//! ask and tests can count. Invariant: no task of a worker that reads, fans out, writes or closes does
//! much more than [`MOST`] units, some 2 ms, without a pause.

use std::cell::Cell;

use tokio::task::yield_now;

/// The units of one turn.
pub const MOST: usize = 20_000;

/// How many connections are written, in one system call where that is possible, before the worker
/// looks at what else there is to do: writing uses up no turn of the scheduler by itself.
pub(crate) const WRITES_PER_TURN: usize = 256;

/// To append a frame to an outbox, or look at a connection.
pub(crate) const APPEND: usize = 1;

/// To close a connection, or take one out of a room.
pub(crate) const CLOSE: usize = 100;

/// A system call that writes, its bytes aside.
const WRITE: usize = 32;

/// To read a message and do what it says, its bytes and what is answered aside.
const MESSAGE: usize = 20;

/// How many bytes are copied in one unit.
const BYTES: usize = 512;

/// How many bytes are encoded in one unit.
pub(crate) const ENCODED_BYTES: usize = 64;

/// What was done since the last pause.
#[derive(Debug, Default)]
pub struct Turn {
    spent: Cell<usize>,
    #[cfg(test)]
    pub(crate) total: Cell<usize>,
}

impl Turn {
    /// Adds units.
    pub fn charge(&self, units: usize) {
        self.spent.set(self.spent.get() + units);
        #[cfg(test)]
        self.total.set(self.total.get() + units);
    }

    /// Adds a write of so many bytes.
    pub(crate) fn charge_write(&self, bytes: usize) {
        self.charge(WRITE + bytes / BYTES);
    }

    /// Adds a message of so many bytes that was read.
    pub(crate) fn charge_read(&self, bytes: usize) {
        self.charge(MESSAGE + bytes / BYTES);
    }

    /// Adds the encoding of a frame of so many bytes.
    pub(crate) fn charge_encode(&self, bytes: usize) {
        self.charge(bytes / ENCODED_BYTES);
    }

    /// Whether it is time for a pause.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent.get() >= MOST
    }

    /// Lets others go on, if it is time to.
    pub async fn pause(&self) {
        if self.is_spent() {
            self.spent.set(0);
            yield_now().await;
        }
    }
}
