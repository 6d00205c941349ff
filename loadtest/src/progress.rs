//! What a person sees while a run goes on: one line on the terminal, rewritten.

use std::io::{self, IsTerminal as _, Write as _};

/// Shows `text` in place of the line before. Nothing where standard error is no terminal.
pub(crate) fn show(text: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(err, "\r\x1b[2K{text}");
        let _ = err.flush();
    }
}

/// Wipes the line.
pub(crate) fn clear() {
    show("");
}

/// Writes a line that stays, to standard error.
pub(crate) fn line(text: &str) {
    clear();
    let _ = writeln!(io::stderr().lock(), "{text}");
}
