//! The signals that a process gets, heard on a thread of their own: whatever the node is at, it can
//! be told to stop, and a stop that is stuck is given up.

use std::time::Duration;
use std::{process, thread};

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::log;

/// How long a stop at once may take.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Hears SIGTERM and SIGINT from now on: the first asks for a stop in good order, the second for one
/// at once. Further ones have nothing to add. A stop that takes longer than `patience` is given up.
///
/// Other signals that would end the process are taken note of.
pub(crate) fn stops(patience: Duration) -> anyhow::Result<mpsc::Receiver<()>> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let (sender, receiver) = mpsc::channel(2);
    let entered = runtime.enter();
    let signals = Signals::new().context("cannot listen for signals")?;
    drop(entered);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(signals.hear(sender, patience)))
        .context("cannot start the thread that listens for signals")?;
    Ok(receiver)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    ignored: Ignored,
}

/// Signals that mean nothing, and would end the process.
struct Ignored {
    user_1: Signal,
    user_2: Signal,
    alarm: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            ignored: Ignored {
                user_1: signal(SignalKind::user_defined1())?,
                user_2: signal(SignalKind::user_defined2())?,
                alarm: signal(SignalKind::alarm())?,
            },
        })
    }

    /// Goes on until the process ends.
    async fn hear(mut self, stops: mpsc::Sender<()>, mut patience: Duration) {
        loop {
            let stop = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hangup.recv() => {
                    info!(signal = "SIGHUP", "nothing is read again; restart to change the configuration");
                    continue;
                }
                ignored = self.ignored.next() => {
                    debug!(signal = ignored, "ignored");
                    continue;
                }
            };
            info!(signal = stop, "asked to stop; a second time stops at once");
            end_after(patience);
            patience = AT_ONCE;
            // Where nobody waits for it any more, the end is near.
            let _ = stops.try_send(());
        }
    }
}

impl Ignored {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.user_1.recv() => "SIGUSR1",
            _ = self.user_2.recv() => "SIGUSR2",
            _ = self.alarm.recv() => "SIGALRM",
        }
    }
}

/// Ends the process after a while, if it has not ended by then, whatever its threads are at.
fn end_after(patience: Duration) {
    let end = move || {
        thread::sleep(patience);
        log::last_words("error: the stop is stuck; ending without it");
        process::exit(1);
    };
    // Without a thread there is nothing that could be done.
    let _ = thread::Builder::new()
        .name("last-resort".to_owned())
        .spawn(end);
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Runs one of these tests in a process of its own, where it ends in `child`.
    fn in_a_process(test: &str, child: impl FnOnce()) -> Option<process::ExitStatus> {
        if env::var_os("A_PROCESS_OF_ITS_OWN").is_some() {
            child();
            process::exit(77);
        }
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture"])
            .env("A_PROCESS_OF_ITS_OWN", "");
        Some(command.status().unwrap())
    }

    #[test]
    fn a_stop_that_is_stuck_is_given_up_with_exit_code_1() {
        let test = "signals::tests::a_stop_that_is_stuck_is_given_up_with_exit_code_1";
        let status = in_a_process(test, || {
            let _nobody_stops = stops(Duration::from_millis(10)).unwrap();
            kill_process(getpid(), Signal::TERM).unwrap();
            thread::sleep(Duration::from_secs(60));
        });
        assert_eq!(status.and_then(|status| status.code()), Some(1));
    }

    #[test]
    fn a_stop_is_heard_whatever_the_runtime_is_at() {
        let test = "signals::tests::a_stop_is_heard_whatever_the_runtime_is_at";
        let status = in_a_process(test, || {
            // As in a node: whoever waits has a thread, all else another, which is at something.
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut stops = stops(Duration::from_secs(60)).unwrap();
                let (begun, busy) = tokio::sync::oneshot::channel();
                tokio::spawn(async {
                    begun.send(()).unwrap();
                    thread::sleep(Duration::from_secs(600));
                });
                busy.await.unwrap();
                kill_process(getpid(), Signal::TERM).unwrap();
                stops.recv().await.unwrap();
                process::exit(0);
            });
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    }
}
