//! A node's standard error: a named pipe that is copied into the node's log, as a supervisor does
//! it. A fault can leave it full and unread, or without a reader.
//!
//! Invariant: a write end of our own is open all the time, so that the node's is a plain, blocking
//! one, and its end is not taken for that of the log.

use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// They go into the log.
    On,
    /// Nobody takes them out of the pipe.
    Stopped,
    /// The pipe has no reader.
    Closed,
}

pub(crate) struct Stderr {
    pipe: PathBuf,
    writer: File,
    reading: watch::Sender<Reading>,
    /// What the copier is at.
    done: watch::Receiver<Reading>,
    _copier: JoinSet<()>,
}

impl Stderr {
    /// Makes the pipe beside the log, and begins to copy.
    pub(crate) fn new(log: &Path) -> anyhow::Result<Self> {
        let pipe = log.with_extension("stderr");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("cannot make the pipe {}", pipe.display()))?;
        let receiver = pipe::OpenOptions::new().open_receiver(&pipe)?;
        let writer = File::options().write(true).open(&pipe)?;
        let log = File::options().create(true).append(true).open(log)?;
        let reading = watch::Sender::new(Reading::On);
        let (at, done) = watch::channel(Reading::On);
        let mut copier = JoinSet::new();
        copier.spawn(copy(pipe.clone(), receiver, log, reading.subscribe(), at));
        Ok(Self {
            pipe,
            writer,
            reading,
            done,
            _copier: copier,
        })
    }

    /// The end that a process writes to.
    pub(crate) fn end(&self) -> anyhow::Result<Stdio> {
        Ok(self.writer.try_clone()?.into())
    }

    /// Has it read, or not, from here on.
    pub(crate) async fn set(&self, reading: Reading) {
        self.reading.send_replace(reading);
        // The copier lives as long as this.
        let _ = self.done.clone().wait_for(|done| *done == reading).await;
    }

    /// Leaves no room in the pipe, so that the next line finds none. Nobody may be reading.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits())?;
        let mut options = OpenOptions::new();
        let mut pipe = options.write(true).custom_flags(flags).open(&self.pipe)?;
        let filler = format!("{:.<4095}\n", "chaos: nobody reads this");
        // Smaller and smaller, into what is left of the last page.
        for size in [4096, 64, 1] {
            while pipe.write(&filler.as_bytes()[4096 - size..]).is_ok() {}
        }
        Ok(())
    }
}

async fn copy(
    pipe: PathBuf,
    receiver: pipe::Receiver,
    mut log: File,
    mut reading: watch::Receiver<Reading>,
    at: watch::Sender<Reading>,
) {
    let mut receiver = Some(receiver);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let now = *reading.borrow_and_update();
        match now {
            Reading::On if receiver.is_none() => {
                receiver = pipe::OpenOptions::new().open_receiver(&pipe).ok();
            }
            Reading::On | Reading::Stopped => {}
            Reading::Closed => receiver = None,
        }
        at.send_replace(now);
        let reader = receiver.as_mut().filter(|_| now == Reading::On);
        let read = async {
            match reader {
                Some(reader) => reader.read(&mut chunk).await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = reading.changed() => if changed.is_err() {
                return;
            },
            read = read => {
                // A log that cannot be written is missed when somebody looks into it.
                let _ = log.write_all(&chunk[..read.unwrap_or(0)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_pipe_is_read_left_full_left_without_a_reader_and_read_again() {
        let directory = std::env::temp_dir().join(format!("chaos-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let log = directory.join("log");
        let stderr = Stderr::new(&log).unwrap();
        let mut node = stderr.writer.try_clone().unwrap();

        stderr.set(Reading::Stopped).await;
        stderr.fill().unwrap();
        rustix::io::ioctl_fionbio(&node, true).unwrap();
        let refused = node.write(b"no room\n").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        stderr.set(Reading::Closed).await;
        let refused = node.write(b"no reader\n").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);

        stderr.set(Reading::On).await;
        // Once what was in the pipe is read.
        while node.write_all(b"read again\n").is_err() {
            tokio::task::yield_now().await;
        }
        let said = || std::fs::read_to_string(&log).unwrap();
        while !said().ends_with("read again\n") {
            tokio::task::yield_now().await;
        }
        assert!(!said().contains("no r"), "{}", said());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
