//! Standard output, as a filter treats it: what cannot be written is a failure, a reader that has
//! had enough is a way to end.
//!
//! Invariant: nothing of the command line writes to standard output but through here, and nothing
//! is left in a buffer that could fail to be written at the exit.

use std::env;
use std::io::{self, IsTerminal};
use std::thread;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// Writes all of `text`. That nobody reads any more is no failure: `| head` has what it wanted.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    offer(text.as_bytes()).map(drop)
}

/// Writes all of `bytes`; answers whether anybody reads on.
pub(super) fn offer(bytes: &[u8]) -> anyhow::Result<bool> {
    match write(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Writes all of `bytes` past the library's buffer, which would swallow a failure of the last line.
/// Blocks for as long as the reader takes, also where somebody else made the output non-blocking.
pub(super) fn write(mut bytes: &[u8]) -> io::Result<()> {
    let output = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(&output, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until nobody reads standard output any more, which may be never. Cancel safe.
///
/// A pipe tells that only to a thread that waits for it or to the next write, and in a quiet room
/// there is none. Of a file or a terminal the thread learns nothing and ends with the process.
pub(super) async fn reader_gone() {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        // Neither needs to be asked for: they are always told.
        if wait_for(PollFlags::empty()).is_ok() {
            let _ = tell.send(());
        }
    });
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn wait_for(events: PollFlags) -> io::Result<()> {
    let output = io::stdout();
    loop {
        match poll(&mut [PollFd::new(&output, events)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether colours and movements of the cursor suit an output: a terminal that knows them, whose
/// owner has not asked for none (see <https://no-color.org>).
pub(super) fn may_style(output: &impl IsTerminal) -> bool {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let able = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    output.is_terminal() && able && !plain
}
