//! The task of a connection: reads what the server says, hands each reply to who waits for it and
//! all else to who takes what is said unasked. Ends when the connection is lost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::io::{AsyncRead, ReadBuf};

use super::shared::{KEPT_BYTES, Shared, Unasked, closed};
use crate::backend::redis::wire::resp::{self, Message, Scan};

/// How much is read at once, unless a frame is larger.
const READ_BYTES: usize = 32 * 1024;

/// Reads a connection, and writes what could not be written at once.
pub(crate) struct Driver<F> {
    shared: Arc<Shared>,
    unasked: F,
    buffer: Vec<u8>,
    /// What was received and not used yet is from here
    start: usize,
    /// to here.
    end: usize,
    scan: Scan,
}

impl<F: Fn(Unasked<'_>)> Driver<F> {
    pub(crate) fn new(shared: Arc<Shared>, unasked: F) -> Self {
        Self {
            shared,
            unasked,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            scan: Scan::default(),
        }
    }

    /// Ready when the connection is lost.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let error = match ready!(self.poll_read(context)) {
                Ok(0) => closed(),
                Ok(_) => match self.take() {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(error) => error.into(),
            };
            self.shared.lock().lose(&error);
            (self.unasked)(Unasked::Closed);
            return Poll::Ready(());
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let state = &mut *self.shared.lock();
        if !state
            .driver
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            state.driver = Some(context.waker().clone());
        }
        state.write(context)?;
        let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(Pin::new(&mut state.stream).poll_read(context, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT_BYTES {
                self.buffer = Vec::new();
            }
        }
        if self.end < self.buffer.len() {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.resize(self.buffer.len() * 2 + READ_BYTES, 0);
        }
    }

    /// Takes the frames that are there in full.
    fn take(&mut self) -> RedisResult<()> {
        while self.start < self.end {
            let bytes = &self.buffer[self.start..self.end];
            let size = self.scan.end(bytes).map_err(|malformed| {
                RedisError::from((ErrorKind::Parse, "not Redis", malformed.to_string()))
            })?;
            let Some(size) = size else { break };
            self.start += size;
            let frame = &bytes[..size];
            match Message::read(frame) {
                Some(message) => (self.unasked)(Unasked::Message(message)),
                None => self.take_other(resp::value(frame)?),
            }
        }
        Ok(())
    }

    fn take_other(&self, value: Value) {
        match value {
            Value::Push { kind, data } if answers(&kind) => {
                let push = PushInfo {
                    kind: kind.clone(),
                    data: data.clone(),
                };
                (self.unasked)(Unasked::Push(push));
                self.shared.lock().reply(Value::Push { kind, data });
            }
            Value::Push { kind, data } => (self.unasked)(Unasked::Push(PushInfo { kind, data })),
            value => self.shared.lock().reply(value),
        }
    }
}

/// Whether a push is the answer to a command.
fn answers(kind: &PushKind) -> bool {
    matches!(
        kind,
        PushKind::Subscribe | PushKind::Unsubscribe | PushKind::SSubscribe | PushKind::SUnsubscribe
    )
}
