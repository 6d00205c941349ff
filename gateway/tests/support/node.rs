//! A real node: the `fanfare` program in a process of its own, on free ports.
//!
//! Each has a loopback address of its own where the platform has more than one, so that a node
//! which is started again finds its port free however many sockets other tests open meanwhile.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::deadline::{until, within};
use crate::http;
use crate::metrics::Exposition;
use crate::redis_server::RedisServer;

/// What links a node to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Nothing: it is alone.
    Memory,
    /// A Redis of its own.
    Redis,
}

/// Both, for tests of what must not depend on it.
pub(crate) const BACKENDS: [Backend; 2] = [Backend::Memory, Backend::Redis];

/// A node under the test's control. Killed when dropped; its log is printed if the test failed.
pub(crate) struct Node {
    /// Where clients connect.
    pub(crate) public: SocketAddr,
    /// Health and metrics.
    pub(crate) internal: SocketAddr,
    process: Child,
    // Open as long as the node may write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
    /// Holds the configuration and the log.
    directory: TempDir,
    /// A Redis that is gone with the node.
    own_redis: Option<RedisServer>,
}

impl Node {
    /// Starts a node with the defaults.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// Starts a node with a configuration in TOML and waits until it serves.
    pub(crate) async fn with(config: &str) -> Self {
        Self::with_arguments(config, &[]).await
    }

    /// Starts a node with a configuration and a backend.
    pub(crate) async fn on(backend: Backend, config: &str) -> Self {
        if backend == Backend::Memory {
            return Self::with(config).await;
        }
        let redis = RedisServer::start();
        let mut node = Self::with_arguments(config, &["--redis", &redis.url()]).await;
        node.own_redis = Some(redis);
        node
    }

    /// Starts a node with flags as well.
    pub(crate) async fn with_arguments(config: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the node");
        fs::write(directory.path().join("fanfare.toml"), config).expect("the configuration");
        let address = SocketAddr::from((own_address(), 0));
        Self::spawn(directory, address, address, arguments, None).await
    }

    /// Starts a node that may have only so many open files.
    pub(crate) async fn with_open_files(limit: u32, config: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the node");
        fs::write(directory.path().join("fanfare.toml"), config).expect("the configuration");
        let address = SocketAddr::from((own_address(), 0));
        Self::spawn(directory, address, address, arguments, Some(limit)).await
    }

    /// Runs a node that is expected to end by itself, and answers how, with what it said on
    /// standard error.
    pub(crate) async fn fail(config: &str, arguments: &[&str]) -> (ExitStatus, String) {
        let directory = tempfile::tempdir().expect("a directory for the node");
        fs::write(directory.path().join("fanfare.toml"), config).expect("the configuration");
        let address = SocketAddr::from((own_address(), 0));
        let mut process = command(&directory, address, address, arguments, None)
            .spawn()
            .expect("the program starts");
        let status = within("the node to give up", process.wait()).await;
        (status.expect("the node's end"), log(&directory))
    }

    async fn spawn(
        directory: TempDir,
        public: SocketAddr,
        internal: SocketAddr,
        arguments: &[&str],
        open_files: Option<u32>,
    ) -> Self {
        let mut process = command(&directory, public, internal, arguments, open_files)
            .spawn()
            .expect("the program starts");
        let stdout = process.stdout.take().expect("standard output is piped");
        let mut stdout = BufReader::new(stdout).lines();
        let mut address_of = async |listener: &str| {
            let line = within("the node's addresses", stdout.next_line()).await;
            let line = line.expect("standard output").unwrap_or_default();
            line.strip_prefix(listener)
                .and_then(|rest| rest.split_once("://"))
                .and_then(|(_, rest)| rest.split('/').next()?.parse().ok())
                .unwrap_or_else(|| {
                    panic!(
                        "no address of the {listener} listener: {line:?}\n{}",
                        log(&directory)
                    )
                })
        };
        let public = address_of("public").await;
        let internal = address_of("internal").await;
        Self {
            public,
            internal,
            process,
            _stdout: stdout,
            directory,
            own_redis: None,
        }
    }

    /// Kills the node without a word.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.exit().await;
    }

    /// Starts the node again after its end, on the same ports.
    pub(crate) async fn restart(self) -> Self {
        let (public, internal) = (self.public, self.internal);
        let directory = self.into_directory();
        Self::spawn(directory, public, internal, &[], None).await
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the node can be signalled");
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        let id = self.process.id().expect("the node runs");
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        id.expect("a process id")
    }

    /// What the node has said on standard error.
    pub(crate) fn log(&self) -> String {
        log(&self.directory)
    }

    /// The Redis of a node that has one of its own.
    pub(crate) fn redis(&self) -> Option<&RedisServer> {
        self.own_redis.as_ref()
    }

    /// Waits until the log says something. A line is written by a thread of its own, and so may
    /// come later than what it tells of.
    pub(crate) async fn logged(&self, said: &str) {
        until(said, async || self.log().contains(said).then_some(())).await;
    }

    /// Waits for the end of the process.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        within("the node's end", self.process.wait())
            .await
            .expect("the node's status")
    }

    /// The page's address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.public)
    }

    /// Asks the internal listener.
    pub(crate) async fn internal(&self, path: &str) -> http::Response {
        http::get(self.internal, path).await
    }

    /// The node's metrics, checked for their format.
    pub(crate) async fn metrics(&self) -> Exposition {
        Exposition::parse(&self.internal("/metrics").await.body)
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until_metric(&self, series: &str, value: f64) {
        until(&format!("{series} to be {value}"), async || {
            (self.metrics().await.value(series) == Some(value)).then_some(())
        })
        .await;
    }

    fn into_directory(mut self) -> TempDir {
        let substitute = tempfile::tempdir().expect("a directory");
        std::mem::replace(&mut self.directory, substitute)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        // Killed, it is gone within moments.
        while let Ok(None) = self.process.try_wait() {
            std::thread::yield_now();
        }
        let shown = crate::token::shown(&log(&self.directory));
        if !std::thread::panicking() {
            assert!(shown.is_empty(), "a node's log shows {shown:?}");
        } else {
            #[allow(
                clippy::print_stdout,
                reason = "shown by the harness where a test fails"
            )]
            {
                println!(
                    "the log of the node at {}:\n{}",
                    self.public,
                    log(&self.directory)
                );
            }
        }
    }
}

fn command(
    directory: &TempDir,
    public: SocketAddr,
    internal: SocketAddr,
    arguments: &[&str],
    open_files: Option<u32>,
) -> Command {
    let stderr = File::options()
        .create(true)
        .append(true)
        .open(directory.path().join("log"))
        .expect("a file for the log");
    let program = env!("CARGO_BIN_EXE_fanfare");
    let mut command = match open_files {
        None => Command::new(program),
        Some(limit) => {
            let mut shell = Command::new("sh");
            let limited = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            shell.args(["-c", &limited, program]);
            shell
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .args(arguments)
        .env("FANFARE_CONFIG", directory.path().join("fanfare.toml"))
        .env("FANFARE_LISTEN", public.to_string())
        .env("FANFARE_INTERNAL__LISTEN", internal.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .kill_on_drop(true);
    command
}

fn log(directory: &TempDir) -> String {
    fs::read_to_string(directory.path().join("log")).unwrap_or_default()
}

/// A loopback address that no other node has.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    numbered(number)
}

/// Every address that [`own_address`] may give.
pub(crate) fn own_addresses() -> impl Iterator<Item = Ipv4Addr> {
    (0..=u8::MAX).map(numbered)
}

/// Two test runs at once should not meet either.
fn numbered(number: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, number)
}
