//! The line on a terminal that counts what was published.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::output::may_style;

/// How often the progress line moves.
const PROGRESS: Duration = Duration::from_millis(500);

/// A line on a terminal that counts, once there is something to count.
#[derive(Debug)]
pub(super) struct Meter {
    /// When it moves next; never where nobody looks.
    next: Option<Instant>,
    shown: bool,
}

impl Meter {
    pub(super) fn new(quiet: bool) -> Self {
        let seen = !quiet && may_style(&io::stderr()) && !io::stdin().is_terminal();
        Self {
            next: seen.then(|| Instant::now() + 2 * PROGRESS),
            shown: false,
        }
    }

    pub(super) fn show(&mut self, published: u64) {
        if self.next.is_some_and(|next| next <= Instant::now()) {
            self.next = Some(Instant::now() + PROGRESS);
            self.shown = true;
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[Kpublished {published}");
            let _ = stderr.flush();
        }
    }

    /// Makes room for another line.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
