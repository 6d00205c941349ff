//! A node: `fanfare serve` as it comes, in a process of its own.

mod limits;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::process::Process;
use crate::stderr::Stderr;

/// How long a node may take until it says where it listens.
const START: Duration = Duration::from_secs(30);
/// How long its health may take to answer.
const HEALTH: Duration = Duration::from_secs(1);
/// How long a line may take from a node into its log.
const LINE: Duration = Duration::from_secs(10);
/// How long a call of its API may take.
const CALL: Duration = Duration::from_secs(3);

pub(crate) struct Node {
    pub(crate) public: SocketAddr,
    internal: SocketAddr,
    recipe: Recipe,
    process: Process,
    pub(crate) stderr: Stderr,
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

/// A process that has begun to listen.
struct Started {
    process: Process,
    stdout: Lines<BufReader<ChildStdout>>,
    public: SocketAddr,
    internal: SocketAddr,
}

impl Recipe {
    fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name()))
    }

    async fn start(
        &self,
        public: SocketAddr,
        internal: SocketAddr,
        stderr: &Stderr,
    ) -> anyhow::Result<Started> {
        let name = self.name();
        let mut command = Command::new(&self.program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(variable);
            }
        }
        command
            .args(["serve", "--wait", "--node", &name])
            .args(["--listen", &public.to_string()])
            .args(["--internal-listen", &internal.to_string()])
            .env("FANFARE_CONFIG", self.directory.join("fanfare.toml"))
            .env("FANFARE_LOG__LEVEL", "info,fanfare_broker=debug")
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdout(Stdio::piped())
            .stderr(stderr.end()?);
        let mut process = Process::spawn(&mut command, &name)?;
        let stdout = process.take_stdout().context("standard output is piped")?;
        let mut stdout = BufReader::new(stdout).lines();
        let mut address = async |listener: &str| {
            let line = timeout(START, stdout.next_line()).await;
            let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
            let url = line.strip_prefix(listener).map(str::trim_start);
            url.and_then(|url| url.strip_prefix("http://")?.split('/').next()?.parse().ok())
                .with_context(|| {
                    format!(
                        "{name} did not start: {line:?}; its log: {}",
                        tail(&self.log())
                    )
                })
        };
        let public = address("public").await?;
        let internal = address("internal").await?;
        Ok(Started {
            process,
            stdout,
            public,
            internal,
        })
    }
}

impl Node {
    /// Starts a node and waits until it says where it listens.
    pub(crate) async fn start(recipe: Recipe) -> anyhow::Result<Self> {
        // An address of its own: after a restart its ports are still free.
        let [.., high, low] = std::process::id().to_be_bytes();
        let number = u8::try_from(recipe.number + 1)?;
        let own = SocketAddr::from((Ipv4Addr::new(127, 64 | (high & 0x3f), low, number), 0));
        let stderr = Stderr::new(&recipe.log())?;
        let started = recipe.start(own, own, &stderr).await?;
        Ok(Self {
            public: started.public,
            internal: started.internal,
            recipe,
            process: started.process,
            stderr,
            _stdout: started.stdout,
        })
    }

    /// Starts it again where it was, after its end.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        let (public, internal) = (self.public, self.internal);
        let started = self.recipe.start(public, internal, &self.stderr).await?;
        self.process = started.process;
        self._stdout = started.stdout;
        Ok(())
    }

    /// Whether it says that it is ready; fails once its process has ended by itself.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<bool> {
        if let Err(error) = self.process.check() {
            bail!("{error}; its log: {}", tail(&self.recipe.log()));
        }
        Ok(self.status("/readyz", HEALTH).await == Some(200))
    }

    /// What its internal port answers, if it does in time: the status.
    pub(crate) async fn status(&self, path: &str, patience: Duration) -> Option<u16> {
        let answer = timeout(patience, self.get(path)).await;
        let answer = answer.ok()?.ok()?;
        answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    /// The sum of a metric's series.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let page = timeout(LINE, self.get("/metrics")).await??;
        let samples = page.lines().filter_map(|line| line.rsplit_once(' '));
        let samples =
            samples.filter(|(series, _)| series.split('{').next().is_some_and(|of| of == name));
        let values = samples.map(|(_, value)| Ok(value.parse::<f64>()?));
        values.sum()
    }

    /// Whether it is linked to every server of Redis, and has read what it missed there.
    pub(crate) async fn is_linked(&self) -> anyhow::Result<bool> {
        let page = timeout(LINE, self.get("/metrics")).await??;
        let of_links = |line: &&str| line.starts_with("fanfare_backend_connected{");
        let mut links = page.lines().filter(of_links).peekable();
        Ok(links.peek().is_some() && links.all(|line| line.ends_with(" 1")))
    }

    /// Where its internal port is.
    pub(crate) const fn internal(&self) -> SocketAddr {
        self.internal
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        exchange(self.internal, &request).await
    }

    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Asks it to stop in good order and waits until it has.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.end().await?;
        ensure!(status.success(), "{}: {status}", self.recipe.name());
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// Has it log a line, and waits until that is in the log.
    pub(crate) async fn speak(&self) -> anyhow::Result<()> {
        let mut log = File::open(self.recipe.log())?;
        log.seek(SeekFrom::End(0))?;
        self.signal(Signal::HUP)?;
        let since = Instant::now();
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("SIGHUP") {
            ensure!(
                since.elapsed() < LINE,
                "{} logs nothing any more",
                self.recipe.name()
            );
            sleep(Duration::from_millis(20)).await;
            log.read_to_end(&mut said)?;
        }
        Ok(())
    }
}

/// Calls a node's HTTP API; answers the status, or gives up after [`CALL`].
pub(crate) async fn call(
    internal: SocketAddr,
    path: &str,
    key: &str,
    body: &Value,
) -> anyhow::Result<u16> {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\
         Authorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = timeout(CALL, exchange(internal, &request)).await??;
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    Ok(status.context("no status")?.parse()?)
}

async fn exchange(internal: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(internal).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
