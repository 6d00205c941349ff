//! What Redis itself can take: `redis-benchmark` with the very script that nodes publish with, and
//! a subscriber for what is published.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::{io, thread};

use anyhow::{Context as _, ensure};
use sha1::{Digest as _, Sha1};

use super::{Redis, connect, write_command};
use crate::child::Dependent;

/// The script that the nodes publish with.
const SCRIPT: &str = include_str!("../../../broker/src/backend/redis/calls/publish.lua");

/// What a script is given besides the room's names and the envelope: a room's history as it comes
/// (256 publications, 5 minutes and an eighth; what the log's epoch is kept for beyond that is a
/// day), and that it is not to be renewed: once in 37 seconds it is.
const SIZE_AND_TTLS: [&str; 4] = ["256", "337500", "86737500", "0"];

/// Bytes of the name that nodes have for the server's run.
const RUN_BYTES: usize = 32;

/// How large the newest entry of a log is.
const NEWEST: &[u8] = b"return #redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][2][2]";

/// A benchmark of one Redis.
pub(crate) struct Benchmark<'a> {
    redis: &'a Redis,
    sha: String,
    /// The server's run: any name will do, as long as the one that nodes hand to the script.
    run: String,
    rooms: u16,
    /// Reads what is published, as a node with members does.
    subscriber: TcpStream,
}

impl<'a> Benchmark<'a> {
    /// Prepares it: a node must be connected, whose script this is compared with.
    pub(crate) fn new(redis: &'a Redis, rooms: u16) -> anyhow::Result<Self> {
        let sha = hex(&Sha1::digest(SCRIPT));
        let known = redis.ask(&[b"SCRIPT", b"EXISTS", sha.as_bytes()])?;
        ensure!(
            known == ":1",
            "the node publishes by another script than the one this program was built with; \
             build both from one source"
        );
        let info = redis.ask(&[b"INFO", b"server"])?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let run = run.and_then(|run| run.get(..RUN_BYTES));
        let subscriber = connect(redis.address)?;
        subscriber.set_read_timeout(None)?;
        let channels: Vec<_> = (0..rooms).map(channel).collect();
        let mut words = vec![&b"SUBSCRIBE"[..]];
        words.extend(channels.iter().map(String::as_bytes));
        write_command(&mut &subscriber, &words)?;
        let mut messages = subscriber.try_clone()?;
        thread::spawn(move || io::copy(&mut messages, &mut io::sink()));
        Ok(Self {
            redis,
            sha,
            run: run.context("INFO has no run_id")?.to_owned(),
            rooms,
            subscriber,
        })
    }

    /// Publishes `count` envelopes without a zero byte, at which redis-benchmark would end them, a
    /// multiple of `pipeline`, on each of as many connections as there are rooms, `pipeline` at
    /// once on each; answers how many Redis took a second.
    ///
    /// A process for each: several rooms in one would not do, since redis-benchmark replaces each
    /// `__rand_int__` of a command by another number, and the names would not belong together. Where
    /// it is to send a part of a pipeline at the end, it now and then says that all clients are gone.
    pub(crate) fn publish(
        &self,
        envelope: &[u8],
        count: u32,
        pipeline: u32,
    ) -> anyhow::Result<f64> {
        let start = |room| self.start(room, envelope, count, pipeline);
        let mut running = (0..self.rooms)
            .map(start)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut sum = 0.0;
        for child in &mut running {
            let mut stdout = child
                .process()
                .stdout
                .take()
                .context("standard output is piped")?;
            let mut output = Vec::new();
            stdout.read_to_end(&mut output)?;
            sum += rate(&output).context("redis-benchmark failed; its own words are above")?;
        }
        let log = format!("{}:log", channel(0));
        let kept = self.redis.ask(&[b"EVAL", NEWEST, b"1", log.as_bytes()])?;
        ensure!(
            kept == format!(":{}", envelope.len()),
            "redis-benchmark published envelopes of another size: {kept} bytes"
        );
        Ok(sum)
    }

    fn start(
        &self,
        room: u16,
        envelope: &[u8],
        count: u32,
        pipeline: u32,
    ) -> anyhow::Result<Dependent> {
        let channel = channel(room);
        let mut command = Command::new("redis-benchmark");
        command
            .args(["-p", &self.redis.address.port().to_string()])
            .args(["-c", "1"])
            .args(["-P", &pipeline.to_string()])
            .args(["-n", &count.to_string()])
            .args(["-q", "-x", "EVALSHA", &self.sha, "2"])
            .args([format!("{channel}:meta"), format!("{channel}:log")])
            .args(SIZE_AND_TTLS)
            .args(["0123456789abcdef", &self.run, "PUBLISH", &channel])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = Dependent::spawn(&mut command)
            .context("cannot start redis-benchmark; is it installed?")?;
        let mut stdin = child
            .process()
            .stdin
            .take()
            .context("standard input is piped")?;
        stdin.write_all(envelope)?;
        Ok(child)
    }
}

impl Drop for Benchmark<'_> {
    fn drop(&mut self) {
        // Its reader ends with it; the connection may have ended by itself.
        let _ = self.subscriber.shutdown(Shutdown::Both);
    }
}

/// Names as long as the load generator's rooms have them.
fn channel(room: u16) -> String {
    format!("fanfare:{{bare-0000-{room:06}}}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number before the words, which are in the last line.
fn rate(output: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(output);
    let (before, _) = text.rsplit_once(" requests per second")?;
    before.rsplit([' ', '\r', '\n']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_behind_progress_and_an_envelope() {
        let output = b"EVALSHA x \xff: rps=1.0 (overall: 2.0)\r    \rEVALSHA x \xff: \
                       98765.43 requests per second, p50=1.2 msec\n\n";
        assert_eq!(rate(output), Some(98765.43));
        assert_eq!(rate(b"Error: NOSCRIPT"), None);
    }
}
