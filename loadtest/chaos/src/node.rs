//! A node: `fanfare serve` as it comes, in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use crate::process::Process;

/// How long a node may take until it says where it listens.
const START: Duration = Duration::from_secs(30);
/// How long its health may take to answer.
const HEALTH: Duration = Duration::from_secs(1);

pub(crate) struct Node {
    pub(crate) public: SocketAddr,
    internal: SocketAddr,
    recipe: Recipe,
    process: Process,
    // Open as long as the node may write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// How it is started, the first time and again.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) program: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) number: usize,
    /// Configuration, as environment variables.
    pub(crate) environment: Vec<(String, String)>,
}

impl Node {
    /// Starts a node and waits until it says where it listens.
    pub(crate) async fn start(recipe: Recipe) -> anyhow::Result<Self> {
        // An address of its own: after a restart its ports are still free.
        let [.., high, low] = std::process::id().to_be_bytes();
        let number = u8::try_from(recipe.number + 1)?;
        let own = SocketAddr::from((Ipv4Addr::new(127, 64 | (high & 0x3f), low, number), 0));
        Self::start_at(recipe, own, own).await
    }

    /// Starts it again where it was, after its end.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        *self = Self::start_at(self.recipe.clone(), self.public, self.internal).await?;
        Ok(())
    }

    async fn start_at(
        recipe: Recipe,
        public: SocketAddr,
        internal: SocketAddr,
    ) -> anyhow::Result<Self> {
        let name = format!("node-{}", recipe.number);
        let mut command = Command::new(&recipe.program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(variable);
            }
        }
        command
            .args(["serve", "--wait", "--node", &name])
            .args(["--listen", &public.to_string()])
            .args(["--internal-listen", &internal.to_string()])
            .env("FANFARE_CONFIG", recipe.directory.join("fanfare.toml"))
            .env("FANFARE_LOG__LEVEL", "info,fanfare_broker=debug")
            .envs(recipe.environment.iter().map(|(key, value)| (key, value)))
            .stdout(Stdio::piped());
        let log = recipe.directory.join(format!("{name}.log"));
        let mut process = Process::spawn(&mut command, &name, &log)?;
        let stdout = process.take_stdout().context("standard output is piped")?;
        let mut stdout = BufReader::new(stdout).lines();
        let mut address = async |listener: &str| {
            let line = timeout(START, stdout.next_line()).await;
            let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
            let url = line.strip_prefix(listener).map(str::trim_start);
            url.and_then(|url| url.strip_prefix("http://")?.split('/').next()?.parse().ok())
                .with_context(|| {
                    format!("{name} did not start: {:?}; its log: {}", line, tail(&log))
                })
        };
        Ok(Self {
            public: address("public").await?,
            internal: address("internal").await?,
            recipe,
            process,
            _stdout: stdout,
        })
    }

    /// Whether it says that it is ready; fails once its process has ended by itself.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<bool> {
        if let Err(error) = self.process.check() {
            let log = self
                .recipe
                .directory
                .join(format!("node-{}.log", self.recipe.number));
            bail!("{error}; its log: {}", tail(&log));
        }
        let asked = async {
            let mut stream = TcpStream::connect(self.internal).await.ok()?;
            let request = "GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.ok()?;
            Some(answer == *b"HTTP/1.1 200")
        };
        Ok(timeout(HEALTH, asked).await.ok().flatten().unwrap_or(false))
    }

    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Asks it to stop in good order and waits until it has.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.end().await
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
