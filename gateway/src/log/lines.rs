//! Lines on their way to a stream that may be slow, full, closed or gone: a bounded buffer, and a
//! thread that empties it.
//!
//! Whoever has a line puts it in and goes on. Invariant: only the thread ever waits for the stream;
//! what does not fit, and what the stream refuses, is dropped and counted.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Lines that were not written.
#[allow(clippy::expect_used, reason = "the name is a good one")]
pub(super) static DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    IntCounter::new(
        "fanfare_log_lines_dropped_total",
        "Lines of the log that could not be written to standard error, or did not fit what may wait for it",
    )
    .expect("a metric's name")
});

/// Lines that wait for a stream.
pub(crate) struct Lines {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
    /// The most bytes that wait or are being written.
    bound: usize,
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// How many bytes the thread has taken, and has not done with.
    taken: usize,
}

impl Lines {
    /// Starts the thread, which goes on until the process ends.
    pub(crate) fn start(
        name: &str,
        bound: usize,
        stream: impl AsFd + Send + 'static,
    ) -> anyhow::Result<Arc<Self>> {
        let lines = Arc::new(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            bound,
            dropped: DROPPED.clone(),
        });
        let taken = Arc::clone(&lines);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || taken.write_to(&stream))
            .with_context(|| format!("cannot start the thread that writes the {name}"))?;
        Ok(lines)
    }

    /// Takes whole lines. Never waits for the stream.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.len() + state.taken + lines.len() > self.bound {
            drop(state);
            self.count(lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until all is written or dropped, or the time is up.
    pub(crate) fn flush(&self, within: Duration) {
        let is_busy = |state: &mut State| state.taken > 0 || !state.waiting.is_empty();
        let state = &mut self.state.lock();
        self.emptied.wait_while_for(state, is_busy, within);
    }

    fn write_to(&self, stream: &impl AsFd) {
        let mut batch = Vec::new();
        // Whether what was written last ends within a line.
        let mut torn = false;
        loop {
            self.take(&mut batch);
            if torn && write(stream, b"\n") == 1 {
                torn = false;
            }
            let written = if torn { 0 } else { write(stream, &batch) };
            if written > 0 {
                torn = batch[written - 1] != b'\n';
            }
            self.count(&batch[written..]);
        }
    }

    /// Waits for lines; those that were taken before are done with.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut state = self.state.lock();
        state.taken = 0;
        if state.waiting.is_empty() {
            self.emptied.notify_all();
        }
        self.filled
            .wait_while(&mut state, |state| state.waiting.is_empty());
        std::mem::swap(batch, &mut state.waiting);
        state.taken = batch.len();
    }

    fn count(&self, lost: &[u8]) {
        let lines = lost.iter().filter(|byte| **byte == b'\n').count();
        self.dropped.inc_by(lines as u64);
    }
}

/// Writes as much as the stream takes, however long that takes, until it refuses; answers how much.
///
/// Past the standard library's handle, whose lock everything else that writes there would wait for.
pub(crate) fn write(stream: &impl AsFd, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(stream, &bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            // Another process has set what it shares with this one to be non-blocking.
            Err(Errno::AGAIN) => {
                let mut writable = [PollFd::new(stream, PollFlags::OUT)];
                match poll(&mut writable, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            Err(_) => break,
        }
    }
    written
}

/// Puts whole lines among the [`Lines`].
pub(crate) struct LineWriter(pub(crate) Arc<Lines>);

impl Write for LineWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Read as _, pipe};
    use std::time::Instant;

    use super::*;

    /// Lines with a counter of their own.
    fn lines(bound: usize, stream: impl AsFd + Send + 'static) -> Arc<Lines> {
        let lines = Arc::new(Lines {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            bound,
            dropped: IntCounter::new("dropped", "lines").unwrap(),
        });
        let taken = Arc::clone(&lines);
        thread::spawn(move || taken.write_to(&stream));
        lines
    }

    /// Far longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_pushed_is_written_in_order_by_the_flush() {
        let (mut reader, writer) = pipe().unwrap();
        let lines = lines(1 << 20, writer);
        let mut expected = String::new();
        for n in 0..500 {
            let line = format!("line {n}\n");
            lines.push(line.as_bytes());
            expected.push_str(&line);
        }
        lines.flush(LONG);
        let mut written = vec![0; expected.len()];
        reader.read_exact(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
        assert_eq!(lines.dropped.get(), 0);
    }

    #[test]
    fn a_stream_whose_reader_is_gone_or_that_is_full_costs_its_lines_and_nothing_else() {
        let gone = {
            let (_, writer) = pipe().unwrap();
            lines(1 << 20, writer)
        };
        let full = lines(
            1 << 20,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        for lines in [gone, full] {
            for said in 1..=3 {
                lines.push(b"one\n");
                lines.flush(LONG);
                assert_eq!(lines.dropped.get(), said);
            }
        }
    }

    /// A pipe that takes no more, and how much it took.
    fn full_pipe() -> (PipeReader, PipeWriter, usize) {
        let (reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut taken = 0;
        while let Ok(count) = rustix::io::write(&writer, &[b'.'; 4096]) {
            taken += count;
        }
        (reader, writer, taken)
    }

    #[test]
    fn a_pipe_that_nobody_reads_makes_nobody_wait_and_loses_what_does_not_fit() {
        for non_blocking in [false, true] {
            let (mut reader, writer, before) = full_pipe();
            rustix::io::ioctl_fionbio(&writer, non_blocking).unwrap();
            let lines = lines(100, writer);
            for _ in 0..1_000 {
                lines.push(b"123456789\n");
            }
            let begun = Instant::now();
            lines.flush(Duration::from_millis(10));
            assert!(begun.elapsed() < LONG / 2);
            // What is being written counts among what waits.
            assert_eq!(lines.dropped.get(), 990);
            // Read on, it goes on.
            let mut bytes = vec![0; before + 100];
            reader.read_exact(&mut bytes).unwrap();
            assert!(bytes.ends_with(b"123456789\n"));
            lines.flush(LONG);
            lines.push(b"later\n");
            lines.flush(LONG);
            assert_eq!(lines.dropped.get(), 990);
        }
    }

    #[test]
    fn a_line_after_one_that_was_cut_short_begins_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = lines(1 << 20, file.reopen().unwrap());
        lines.push(b"cut sho");
        lines.flush(LONG);
        lines.push(b"whole\n");
        lines.flush(LONG);
        let written = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(written, "cut sho\nwhole\n");
    }
}
