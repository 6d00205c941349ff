//! The servers that are measured: started here on free ports, or running already.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use crate::floor::Method;
use crate::usage::Process;

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// A server under measurement. One that was started here is ended with this value.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// None where nobody said which process it is: then there is no accounting.
    pub(crate) process: Option<Process>,
    child: Option<Child>,
}

impl Server {
    /// Starts Fanfare on free ports and waits until it listens.
    pub(crate) fn start(
        name: &str,
        bin: &Path,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(bin);
        command
            .env("FANFARE_LISTEN", "127.0.0.1:0")
            .env("FANFARE_INTERNAL__LISTEN", "127.0.0.1:0")
            .envs(environment.iter().map(|(key, value)| (key, value)));
        Self::spawn(name, command)
    }

    /// Starts the floor, as a process of its own.
    pub(crate) fn floor(method: Method, payload: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["floor", "--listen", "127.0.0.1:0"])
            .args(["--method", method.as_str()])
            .args(["--payload", &payload.to_string()]);
        Self::spawn(&format!("floor ({})", method.as_str()), command)
    }

    /// Takes a server that runs already.
    pub(crate) fn attach(address: SocketAddr, pid: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            name: "server".into(),
            address,
            process: pid.map(Process::open).transpose()?,
            child: None,
        })
    }

    /// Starts any server that prints `public    http://ADDRESS/` once it listens.
    pub(crate) fn spawn(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let last = keep_last_line(stderr);
        let mut server = Self {
            name: name.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            process: Some(Process::open(child.id())?),
            child: Some(child),
        };
        let (found, public) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = public_address(&line) {
                    // Whoever asked has given up, where this fails.
                    let _ = found.send(address);
                }
            }
        });
        match public.recv_timeout(START) {
            Ok(address) => server.address = address,
            Err(RecvTimeoutError::Timeout) => {
                bail!("{name} did not say where it listens within {START:?}");
            }
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(Duration::from_millis(50));
                let last = last.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(anyhow!("{name} ended before it listened: {}", last.trim()));
            }
        }
        Ok(server)
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address in a line such as `public    http://127.0.0.1:40001/  (…)`.
fn public_address(line: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix("public")?.split_whitespace().next()?;
    parse_address(url)
}

/// The address of a URL such as `http://127.0.0.1:8080/`.
pub(crate) fn parse_address(url: &str) -> Option<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next()?.parse().ok()
}

/// Reads a stream to its end, so that the writer never waits, and keeps the newest line.
fn keep_last_line(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let last = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&last);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if !line.trim().is_empty() {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = line;
            }
        }
    });
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_where_to_connect_is_understood() {
        let line = "public    http://127.0.0.1:40001/  (chat page; ws://127.0.0.1:40001/ws)";
        assert_eq!(
            public_address(line),
            Some("127.0.0.1:40001".parse().unwrap())
        );
        assert_eq!(public_address("internal  http://127.0.0.1:2/"), None);
        assert_eq!(parse_address("10.0.0.1:80"), "10.0.0.1:80".parse().ok());
    }
}
