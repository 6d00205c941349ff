//! A real `redis-server` on a free port, in a directory of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use redis::{AsyncConnectionConfig, FromRedisValue};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::process::Process;

/// How long a server may take to answer its first PING.
const START: Duration = Duration::from_secs(20);
/// Where it writes to.
const DATA: &str = "appendonlydir";
/// Where a copy of that is kept.
const COPY: &str = "copy";
/// How long any other answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A server, or a sentinel.
pub(crate) struct RedisServer {
    pub(crate) address: SocketAddr,
    name: String,
    directory: PathBuf,
    arguments: Vec<String>,
    process: Process,
}

impl RedisServer {
    /// Starts a server that has written to disk what it answers, so that a kill loses nothing.
    pub(crate) async fn start(
        directory: PathBuf,
        name: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let durable = [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ];
        let arguments = durable.iter().chain(arguments).map(ToString::to_string);
        Self::start_at(directory, name, free_port()?, arguments.collect()).await
    }

    /// Starts a sentinel that watches `master` under the name `mymaster`.
    pub(crate) async fn sentinel(
        directory: PathBuf,
        name: &str,
        master: SocketAddr,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory)?;
        let config = directory.join("sentinel.conf");
        let port = master.port();
        fs::write(
            &config,
            format!(
                "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds mymaster 1500\n\
                 sentinel failover-timeout mymaster 10000\n"
            ),
        )?;
        let arguments = vec![config.display().to_string(), "--sentinel".to_owned()];
        Self::start_at(directory, name, free_port()?, arguments).await
    }

    async fn start_at(
        directory: PathBuf,
        name: &str,
        port: u16,
        arguments: Vec<String>,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut server = Self {
            process: spawn(&directory, name, port, &arguments)?,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            name: name.to_owned(),
            directory,
            arguments,
        };
        server.answers().await?;
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Asks it something on a connection of our own.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> anyhow::Result<T> {
        let asked = async {
            let client = redis::Client::open(self.url())?;
            // The library's own patience is half a second: too little for a busy disk.
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(None);
            let connection = client.get_multiplexed_async_connection_with_config(&config);
            let mut connection = connection.await?;
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            command.query_async(&mut connection).await
        };
        let answer = timeout(ANSWER, asked).await;
        let what = || format!("{}: {}", self.name, words.join(" "));
        answer.with_context(what)?.with_context(what)
    }

    /// Tells it something, whatever it answers but an error.
    pub(crate) async fn tell(&self, words: &[&str]) -> anyhow::Result<()> {
        let _: redis::Value = self.ask(words).await?;
        Ok(())
    }

    /// A field of INFO.
    pub(crate) async fn info(&self, section: &str, field: &str) -> anyhow::Result<String> {
        let info: String = self.ask(&["INFO", section]).await?;
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| *name == field);
        Ok(found.map_or(String::new(), |(_, value)| value.to_owned()))
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Deletes what it has written, after its end.
    pub(crate) fn wipe(&self) -> anyhow::Result<()> {
        Ok(fs::remove_dir_all(self.directory.join(DATA))?)
    }

    /// Keeps a copy of what it has written up to now.
    pub(crate) fn remember(&self) -> anyhow::Result<()> {
        let (data, copy) = (self.directory.join(DATA), self.directory.join(COPY));
        fs::create_dir_all(&copy)?;
        // While it writes on: a last command that is there in part is left out when it is loaded.
        for file in fs::read_dir(data)? {
            let file = file?;
            fs::copy(file.path(), copy.join(file.file_name()))?;
        }
        Ok(())
    }

    /// Puts the copy in the place of what it has written since, after its end.
    pub(crate) fn recall(&self) -> anyhow::Result<()> {
        self.wipe()?;
        let (data, copy) = (self.directory.join(DATA), self.directory.join(COPY));
        Ok(fs::rename(copy, data)?)
    }

    /// Starts it again where it was, after its end.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        let port = self.address.port();
        self.process = spawn(&self.directory, &self.name, port, &self.arguments)?;
        self.answers().await
    }

    /// Waits until it answers and has loaded what it had written.
    async fn answers(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        while since.elapsed() < START {
            self.process.check()?;
            if self.ask::<String>(&["PING"]).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("{} does not answer on {}", self.name, self.address)
    }
}

fn spawn(
    directory: &PathBuf,
    name: &str,
    port: u16,
    arguments: &[String],
) -> anyhow::Result<Process> {
    let program = std::env::var_os("FANFARE_REDIS_SERVER").unwrap_or("redis-server".into());
    let mut command = Command::new(program);
    // A sentinel's file has to come first.
    command
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--logfile", "log", "--dir"])
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(
            fs::File::options()
                .create(true)
                .append(true)
                .open(directory.join("stderr"))?,
        );
    Process::spawn(&mut command, name)
}

/// A port that is free now. Below those that the kernel gives to outgoing connections, so that it
/// is still free when a server that was killed comes back; and low enough for a cluster's bus,
/// which is 10,000 above.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..1_000 {
        let port = fastrand::u16(10_000..22_000);
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return Ok(port);
        }
    }
    bail!("no port between 10000 and 22000 is free")
}
