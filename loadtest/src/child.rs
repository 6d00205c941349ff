//! Processes that this one starts, and that end with it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// A process that ends with this value, and with the thread that started it however that ends: by
/// a signal, too, SIGKILL included, when no destructor runs.
#[derive(Debug)]
pub(crate) struct Dependent(Child);

impl Dependent {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self(tie(command).spawn()?))
    }

    /// The process.
    pub(crate) const fn process(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Dependent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the process that `command` starts be killed when the thread that starts it ends.
#[allow(
    unsafe_code,
    reason = "what runs between fork and exec is two system calls and a comparison: no allocation, \
              no lock, nothing that another thread may have held at the fork"
)]
pub(crate) fn tie(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let die_with_parent = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before the kernel was told.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(Errno::SRCH.into())
        }
    };
    // SAFETY: the closure is async-signal-safe, see the reason above.
    unsafe { command.pre_exec(die_with_parent) }
}
