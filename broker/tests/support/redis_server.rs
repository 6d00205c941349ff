//! A real `redis-server` of a test's own: on a free port, in a directory of its own, gone with
//! the test.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{AsyncConnectionConfig, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The file that makes a server a sentinel.
const SENTINEL: &str = "sentinel.conf";

/// How long a server may take to answer. Generous: it is reached only when something is wrong.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a test waits for what servers do among themselves. Likewise.
const AMONG_THEMSELVES: Duration = Duration::from_secs(90);

/// A server under the test's control. Killed when dropped.
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments, in which `{dir}` is the server's directory.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        Self::start_in(directory, arguments)
    }

    /// Starts a sentinel with this configuration.
    pub(crate) fn start_sentinel(configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the sentinel");
        // A sentinel keeps what it knows in its file.
        std::fs::write(directory.path().join(SENTINEL), configuration).expect("written");
        Self::start_in(directory, &["--sentinel"])
    }

    /// Starts a server in a directory that the test has put something into.
    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let path = directory.path().to_str().expect("a path in UTF-8");
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| argument.replace("{dir}", path))
            .collect();
        // Another process may take the port before the server does: then try the next.
        for _ in 0..10 {
            let port = free_port();
            let process = spawn(port, directory.path(), &arguments);
            let mut server = Self {
                process,
                port,
                arguments: arguments.clone(),
                directory: tempfile::tempdir().expect("a directory"),
            };
            if server.answers() {
                server.directory = directory;
                return server;
            }
        }
        panic!(
            "redis-server does not start; its log: {}",
            log(directory.path())
        );
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Opens a connection of the test's own.
    pub(crate) async fn connect(&self) -> redis::aio::MultiplexedConnection {
        self.try_connect().await.expect("connected to redis-server")
    }

    async fn try_connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.url()).expect("an address");
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Asks the server something with a connection of the test's own.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).await.expect("answered")
    }

    /// Asks a server that may refuse, or be cutting off its clients just now.
    pub(crate) async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.try_connect().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }

    /// Asks the server until it answers as wanted, for what nobody is told of.
    pub(crate) async fn until<T: FromRedisValue>(
        &self,
        words: &[&str],
        wanted: impl Fn(&T) -> bool,
    ) {
        let asking = async {
            // One that changes its role may refuse, and cut off its clients.
            while !self
                .try_ask(words)
                .await
                .is_ok_and(|answer| wanted(&answer))
            {
                // Nobody else gets a core otherwise.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(AMONG_THEMSELVES, asking)
            .await
            .unwrap_or_else(|_| panic!("{words:?} was answered in vain"));
    }

    /// A number that the server counts, as a section of INFO names it; none is 0.
    pub(crate) async fn count(&self, section: &str, name: &str) -> u64 {
        let info: String = self.ask(&["INFO", section]).await;
        let count = info.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.split(',').next()?.parse().ok()
        });
        count.unwrap_or_default()
    }

    /// How often the server was asked to run a command.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let name = format!("cmdstat_{command}:calls=");
        self.count("commandstats", &name).await
    }

    /// Tells the server something, whatever it answers.
    pub(crate) async fn tell(&self, words: &[&str]) {
        let _: redis::Value = self.ask(words).await;
    }

    /// Has a script run for ever: the server answers BUSY to all but who ends it. Returns once it does.
    pub(crate) async fn keep_busy(&self) {
        self.tell(&["CONFIG", "SET", "lua-time-limit", "10"]).await;
        let mut connection = self.connect().await;
        tokio::spawn(async move {
            let forever = redis::cmd("EVAL")
                .arg("while true do end")
                .arg(0)
                .to_owned();
            // Ended from outside, or with the server.
            let _: redis::RedisResult<()> = forever.query_async(&mut connection).await;
        });
        let busy = |port| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("there");
            stream.set_read_timeout(Some(DEADLINE)).expect("set");
            stream.write_all(b"PING\r\n").expect("sent");
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).expect("an answer");
            answer == *b"-BUSY"
        };
        let deadline = Instant::now() + DEADLINE;
        while !busy(self.port) {
            assert!(Instant::now() < deadline, "no script runs");
        }
    }

    /// Ends the script that keeps it busy.
    pub(crate) async fn end_busy(&self) {
        self.tell(&["SCRIPT", "KILL"]).await;
    }

    /// Ends the server at once: what it has not saved is lost.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the server can be killed");
        self.process.wait().expect("the server ends");
    }

    /// Starts the server again after [`RedisServer::kill`], on the same port, with the data that
    /// it saved.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(self.port, self.directory.path(), &self.arguments);
        assert!(self.answers(), "redis-server does not start again");
    }

    /// Stops the server in its tracks: its connections stay open and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("a process id");
        kill_process(id, signal).expect("the server can be signalled");
    }

    /// Waits for an answer to PING: `+PONG`, or an error where a password is wanted. False if
    /// the server ended instead.
    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if self
                .process
                .try_wait()
                .expect("the server's state")
                .is_some()
            {
                return false;
            }
            if ping(self.port).is_some_and(|answer| answer == *b"+P" || answer == *b"-N") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("redis-server does not answer on port {}", self.port);
    }
}

impl Drop for RedisServer {
    #[allow(
        clippy::print_stderr,
        reason = "for whoever looks at a test that failed"
    )]
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the log of redis-server:\n{}", log(self.directory.path()));
        }
    }
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap_or_default()
}

fn ping(port: u16) -> Option<[u8; 2]> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

/// A port that is free now. Below those that the kernel gives to outgoing connections, so that it
/// is still free when a server that was killed comes back.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_768);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn spawn(port: u16, directory: &Path, arguments: &[String]) -> Child {
    let program =
        std::env::var_os("FANFARE_REDIS_SERVER").unwrap_or_else(|| OsString::from("redis-server"));
    let file = directory.join(SENTINEL);
    Command::new(&program)
        .args(file.exists().then_some(&file))
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--logfile", "log"])
        .args(["--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{} cannot be started: {error}; install redis-server (Debian: apt-get install \
                 redis-server) or name it in FANFARE_REDIS_SERVER",
                program.display()
            )
        })
}
