//! What nodes and Redis servers have in common: a process that is killed, paused, ended in good
//! order, and gone with its owner.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take to end once it was asked to.
const END: Duration = Duration::from_secs(20);

pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a command.
    pub(crate) fn spawn(command: &mut Command, name: &str) -> anyhow::Result<Self> {
        let program = command.as_std().get_program().display().to_string();
        let child = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {program}; is it installed?"))?;
        let name = name.to_owned();
        Ok(Self { child, name })
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Fails once the process has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.name),
        }
    }

    /// Its number; fails once its end was waited for.
    pub(crate) fn id(&self) -> anyhow::Result<Pid> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw);
        id.with_context(|| format!("{} does not run", self.name))
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.id()?, signal)?)
    }

    /// Ends it at once, with `kill -9`.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.end().await?;
        Ok(())
    }

    /// Waits until it has ended, and answers how.
    pub(crate) async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = timeout(END, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not end", self.name))??)
    }
}
