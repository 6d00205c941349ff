//! A connection to a server: commands go out as they come, a pipeline after the other, and what
//! comes back goes to whoever asked, or to who takes what is said unasked.
//!
//! Whoever asks writes to the socket right away, if it takes it; a task of the connection's own,
//! its driver, reads, and writes what the socket did not take at once. A reply is read where it
//! lies; so is a publication, before it goes to the rooms.
//!
//! What waits here is bounded by those who ask: each of a link's duties has one exchange under way.
//! What is received is bounded by what was asked for.

mod driver;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ErrorKind, RedisResult, Value};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::driver::Driver;
pub(crate) use self::shared::Unasked;
use self::shared::{Shared, State, Waiting, closed};
use super::command::{Command, Pipeline};
use super::stream::Stream;

/// A connection. Its clones are one and the same; it is closed when the last is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    timeout: Duration,
    _driver: Arc<AbortOnDropHandle<()>>,
}

impl Connection {
    /// Takes up a stream; `unasked` is called with all that the server says unasked, and must not
    /// block. A request waits for `timeout`.
    pub(crate) fn new(
        stream: Stream,
        timeout: Duration,
        unasked: impl Fn(Unasked<'_>) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                stream,
                out: Vec::new(),
                written: 0,
                waiting: VecDeque::new(),
                driver: None,
                lost: None,
            }),
        });
        let mut driver = Driver::new(Arc::clone(&shared), unasked);
        let driving = async move { std::future::poll_fn(|context| driver.poll(context)).await };
        let driver = Arc::new(AbortOnDropHandle::new(tokio::spawn(driving)));
        Self {
            shared,
            timeout,
            _driver: driver,
        }
    }

    /// Sets how long a request waits from now on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends the commands of a pipeline and awaits as many replies, errors among them.
    ///
    /// Dropped, it leaves the commands sent.
    pub(crate) async fn exchange(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let replies = self.send(pipeline.len(), |out| {
            out.extend_from_slice(pipeline.bytes());
        });
        self.in_time(replies).await
    }

    /// The same, where an error among the replies fails all of it.
    pub(crate) async fn call<const N: usize>(
        &self,
        pipeline: &Pipeline,
    ) -> RedisResult<[Value; N]> {
        let replies = self.exchange(pipeline).await?;
        let replies: Vec<_> = replies
            .into_iter()
            .map(Value::extract_error)
            .collect::<RedisResult<_>>()?;
        replies.try_into().map_err(|_| {
            (
                ErrorKind::UnexpectedReturnType,
                "not as many replies as commands",
            )
                .into()
        })
    }

    /// Subscribes to channels, or ends subscriptions, by one command.
    pub(crate) async fn subscribe(&self, verb: &str, channels: &[String]) -> RedisResult<()> {
        let confirmations = self.request(channels.len(), true, |out| {
            let mut command = Command::new(out, 1 + channels.len());
            command.arg(verb);
            for channel in channels {
                command.arg(channel);
            }
        });
        self.in_time(confirmations).await.map(drop)
    }

    /// Sends so many commands, which `write` writes, and awaits as many replies, errors among
    /// them, however long that takes: until the connection is lost.
    ///
    /// Dropped, it leaves the commands sent.
    pub(crate) async fn send(
        &self,
        commands: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> RedisResult<Vec<Value>> {
        self.request(commands, false, write).await
    }

    /// Sends so many commands, which `write` writes, and has `answer` told as many replies, errors
    /// among them, or that the connection was lost meanwhile.
    pub(crate) fn ask(
        &self,
        commands: usize,
        write: impl FnOnce(&mut Vec<u8>),
        answer: oneshot::Sender<RedisResult<Vec<Value>>>,
    ) -> RedisResult<()> {
        let waiting = Waiting::new(commands, false, answer);
        self.shared.lock().ask(write, waiting)
    }

    async fn request(
        &self,
        expected: usize,
        is_one: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> RedisResult<Vec<Value>> {
        if expected == 0 {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting::new(expected, is_one, answer);
        self.shared.lock().ask(write, waiting)?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn in_time(
        &self,
        replies: impl Future<Output = RedisResult<Vec<Value>>>,
    ) -> RedisResult<Vec<Value>> {
        timeout(self.timeout, replies)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }
}
