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
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, PushInfo, RedisError, RedisFuture, RedisResult};
use redis::{Value, cmd};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::connect::Stream;
use super::resp::Message;
use driver::Driver;

/// Buffers larger than this are given back when they are empty.
const KEPT_BYTES: usize = 1024 * 1024;

/// What a server says unasked, or about subscriptions.
pub(super) enum Unasked<'a> {
    /// What came on a channel.
    Message(Message<'a>),
    /// Anything else.
    Push(PushInfo),
    /// The connection is lost: the last that is heard of it.
    Closed,
}

/// A connection. Its clones are one and the same; it is closed when the last is dropped.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    timeout: Duration,
    _driver: Arc<Abort>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    stream: Stream,
    /// What the stream has not taken yet, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Who waits for replies, in order.
    waiting: VecDeque<Waiting>,
    driver: Option<Waker>,
    /// Why the connection is lost.
    lost: Option<RedisError>,
}

struct Waiting {
    replies: Vec<Value>,
    expected: usize,
    /// Whether an error answers all of it: a command for several channels gets one error only.
    is_one: bool,
    answer: oneshot::Sender<RedisResult<Vec<Value>>>,
}

impl Waiting {
    fn new(
        expected: usize,
        is_one: bool,
        answer: oneshot::Sender<RedisResult<Vec<Value>>>,
    ) -> Self {
        Self {
            replies: Vec::with_capacity(expected),
            expected,
            is_one,
            answer,
        }
    }
}

/// Ends a task when it is dropped.
struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Takes up a stream; `unasked` is called with all that the server says unasked, and must not
    /// block. A request waits for `timeout`.
    pub(super) fn new(
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
        let driver = Arc::new(Abort(tokio::spawn(driving).abort_handle()));
        Self {
            shared,
            timeout,
            _driver: driver,
        }
    }

    /// Sets how long a request waits from now on.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends the commands of a pipeline and awaits as many replies, errors among them.
    ///
    /// Dropped, it leaves the commands sent.
    pub(super) async fn exchange(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let replies = self.send(pipeline.len(), |out| {
            out.extend_from_slice(&pipeline.get_packed_pipeline());
        });
        self.in_time(replies).await
    }

    /// Subscribes to channels, or ends subscriptions, by one command.
    pub(super) async fn subscribe(&self, command: &str, channels: &[String]) -> RedisResult<()> {
        let command = cmd(command).arg(channels).get_packed_command();
        let confirmations = self.request(channels.len(), true, |out| {
            out.extend_from_slice(&command);
        });
        self.in_time(confirmations).await.map(drop)
    }

    /// Sends so many commands, which `write` writes, and awaits as many replies, errors among
    /// them, however long that takes: until the connection is lost.
    ///
    /// Dropped, it leaves the commands sent.
    pub(super) async fn send(
        &self,
        commands: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> RedisResult<Vec<Value>> {
        self.request(commands, false, write).await
    }

    /// Sends so many commands, which `write` writes, and has `answer` told as many replies, errors
    /// among them, or that the connection was lost meanwhile.
    pub(super) fn ask(
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

/// For the commands that redis-rs knows how to send and to read.
impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let command = command.get_packed_command();
            let reply = self.send(1, |out| out.extend_from_slice(&command));
            Ok(self.in_time(reply).await?.pop().unwrap_or(Value::Nil))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let replies = self.exchange(pipeline).await?;
            Ok(replies.into_iter().skip(offset).take(count).collect())
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl Shared {
    /// No code panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes a request, at once as far as the stream takes it, and has somebody wait for the
    /// replies.
    fn ask(&mut self, write: impl FnOnce(&mut Vec<u8>), waiting: Waiting) -> RedisResult<()> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        write(&mut self.out);
        self.waiting.push_back(waiting);
        // The driver wakes for what is not written at once, and only for that.
        if let Some(driver) = self.driver.clone()
            && self.write(&mut Context::from_waker(&driver)).is_err()
        {
            driver.wake();
        }
        Ok(())
    }

    /// Writes as much as the stream takes.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            match Pin::new(&mut self.stream).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        self.written = 0;
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Hands a reply to who waits for it.
    fn reply(&mut self, reply: Value) {
        let Some(waiting) = self.waiting.front_mut() else {
            return;
        };
        let outcome = match reply {
            Value::ServerError(error) if waiting.is_one => Err(error.into()),
            reply => {
                waiting.replies.push(reply);
                if waiting.replies.len() < waiting.expected {
                    return;
                }
                Ok(std::mem::take(&mut waiting.replies))
            }
        };
        if let Some(done) = self.waiting.pop_front() {
            // Whoever asked may have gone.
            let _ = done.answer.send(outcome);
        }
    }

    fn lose(&mut self, error: &RedisError) {
        self.lost = Some(error.clone());
        for waiting in self.waiting.drain(..) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

fn closed() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}
