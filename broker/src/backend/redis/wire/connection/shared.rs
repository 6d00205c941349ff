//! What the callers of a connection and its driver share: the stream, and who waits for replies.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use redis::{PushInfo, RedisError, RedisResult, Value};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use crate::backend::redis::wire::resp::Message;
use crate::backend::redis::wire::stream::Stream;

/// Buffers larger than this are given back when they are empty.
pub(super) const KEPT_BYTES: usize = 1024 * 1024;

/// What a server says unasked, or about subscriptions.
pub(crate) enum Unasked<'a> {
    /// What came on a channel.
    Message(Message<'a>),
    /// Anything else.
    Push(PushInfo),
    /// The connection is lost: the last that is heard of it.
    Closed,
}

/// What the callers of a connection and its driver share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) stream: Stream,
    /// What the stream has not taken yet, from `written` on.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Who waits for replies, in order.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) driver: Option<Waker>,
    /// Why the connection is lost.
    pub(super) lost: Option<RedisError>,
}

pub(super) struct Waiting {
    replies: Vec<Value>,
    expected: usize,
    /// Whether an error answers all of it: a command for several channels gets one error only.
    is_one: bool,
    answer: oneshot::Sender<RedisResult<Vec<Value>>>,
}

impl Waiting {
    pub(super) fn new(
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

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Writes a request, at once as far as the stream takes it, and has somebody wait for the
    /// replies.
    pub(super) fn ask(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        waiting: Waiting,
    ) -> RedisResult<()> {
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
    pub(super) fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
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
    pub(super) fn reply(&mut self, reply: Value) {
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

    pub(super) fn lose(&mut self, error: &RedisError) {
        self.lost = Some(error.clone());
        for waiting in self.waiting.drain(..) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

pub(super) fn closed() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}
