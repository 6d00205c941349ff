//! The servers that are measured: started here on free ports, or running already.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use parking_lot::Mutex;

use crate::child::Dependent;
use crate::floor::Method;
use crate::usage::{Process, Usage};

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// Loopback, a free port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server under measurement. One that was started here is ended with this value.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// None where nobody said which process it is: then there is no accounting.
    pub(crate) process: Option<Process>,
    child: Option<Dependent>,
    recipe: Recipe,
}

/// How a server is started, so that it can be started again where it was.
enum Recipe {
    Fanfare {
        bin: PathBuf,
        environment: Vec<(String, String)>,
    },
    Floor {
        method: Method,
        payload: usize,
    },
    /// By others, or not by us.
    None,
}

impl Recipe {
    fn command(&self, listen: SocketAddr) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::Fanfare { bin, .. } => Command::new(bin),
            _ => Command::new(std::env::current_exe()?),
        };
        match self {
            Self::Fanfare { environment, .. } => command
                .env("FANFARE_LISTEN", listen.to_string())
                .env("FANFARE_INTERNAL__LISTEN", "127.0.0.1:0")
                .envs(environment.iter().map(|(key, value)| (key, value))),
            Self::Floor { method, payload } => command
                .args(["floor", "--listen", &listen.to_string()])
                .args(["--method", method.as_str()])
                .args(["--payload", &payload.to_string()]),
            Self::None => bail!("a server that was not started here cannot be started again"),
        };
        Ok(command)
    }
}

impl Server {
    /// Starts Fanfare on free ports and waits until it listens.
    pub(crate) fn start(
        name: &str,
        bin: PathBuf,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        Self::cook(name, Recipe::Fanfare { bin, environment }, ANY_PORT)
    }

    /// Starts the floor, as a process of its own.
    pub(crate) fn floor(method: Method, payload: usize) -> anyhow::Result<Self> {
        Self::cook(
            &Self::floor_name(method),
            Recipe::Floor { method, payload },
            ANY_PORT,
        )
    }

    /// The name of a floor in tables.
    pub(crate) fn floor_name(method: Method) -> String {
        format!("floor ({})", method.as_str())
    }

    /// Starts any other server: it must print `public    http://ADDRESS/` once it listens.
    pub(crate) fn peer(name: &str, command: &[String]) -> anyhow::Result<Self> {
        let [program, arguments @ ..] = command else {
            bail!("{name} has no command");
        };
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(name, command)
    }

    /// What it has used so far; none where there is no accounting.
    pub(crate) fn usage(&self) -> anyhow::Result<Option<Usage>> {
        self.process.as_ref().map(Process::usage).transpose()
    }

    /// What it has used since `before`, which [`Self::usage`] answered.
    pub(crate) fn used_since(&self, before: Option<Usage>) -> anyhow::Result<Option<Usage>> {
        let both = self.usage()?.zip(before);
        Ok(both.map(|(after, before)| after.since(before)))
    }

    /// Its resident memory in bytes; none where there is no accounting.
    pub(crate) fn rss(&self) -> anyhow::Result<Option<u64>> {
        self.process.as_ref().map(Process::rss).transpose()
    }

    /// Kills it, as a crash would, and starts it again where it was.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let recipe = std::mem::replace(&mut self.recipe, Recipe::None);
        let name = self.name.clone();
        *self = Self::cook(&name, recipe, self.address)?;
        Ok(())
    }

    fn cook(name: &str, recipe: Recipe, listen: SocketAddr) -> anyhow::Result<Self> {
        let mut server = Self::spawn(name, recipe.command(listen)?)?;
        server.recipe = recipe;
        Ok(server)
    }

    /// Takes a server that runs already.
    pub(crate) fn attach(address: SocketAddr, pid: Option<u32>) -> anyhow::Result<Self> {
        Ok(Self {
            name: "server".into(),
            address,
            process: pid.map(Process::open).transpose()?,
            child: None,
            recipe: Recipe::None,
        })
    }

    /// Starts a process and waits until it says where it listens.
    fn spawn(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Dependent::spawn(&mut command)
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let process = child.process();
        let stdout = process.stdout.take().context("standard output is piped")?;
        let stderr = process.stderr.take().context("standard error is piped")?;
        let last = keep_last_line(stderr);
        let mut server = Self {
            name: name.to_owned(),
            address: ANY_PORT,
            process: Some(Process::open(process.id())?),
            child: Some(child),
            recipe: Recipe::None,
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
                let last = last.lock();
                return Err(anyhow!("{name} ended before it listened: {}", last.trim()));
            }
        }
        Ok(server)
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child = None;
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
pub(crate) fn keep_last_line(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let last = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&last);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if !line.trim().is_empty() {
                *kept.lock() = line;
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
