//! A connection to a server: commands go out as they come, a pipeline after the other, and what
//! comes back goes to whoever asked, or to who takes what is said unasked.
//!
//! Whoever asks writes to the socket right away, if it takes it; a task of the connection's own,
//! its driver, reads, and writes what the socket did not take at once. A reply is read where it
//! lies; so is a publication, before it goes to the rooms.
//!
//! What waits here is bounded by those who ask: each of a link's duties has one exchange under way.
//! What is received is bounded by what was asked for.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, Pipeline, PushInfo, PushKind, RedisError, RedisFuture, RedisResult};
use redis::{Value, cmd};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::connect::Stream;
use super::resp::{self, Message, Scan};

/// How much is read at once, unless a frame is larger.
const READ_BYTES: usize = 32 * 1024;

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
        let mut driver = Driver {
            shared: Arc::clone(&shared),
            unasked,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            scan: Scan::default(),
        };
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

/// Reads a connection, and writes what could not be written at once.
struct Driver<F> {
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
    /// Ready when the connection is lost.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
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

fn closed() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A connection, what it is told unasked, and the server's end of it.
    async fn connected(
        timeout: Duration,
    ) -> (Connection, mpsc::UnboundedReceiver<String>, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (heard, hearing) = mpsc::unbounded_channel();
        let unasked = move |unasked: Unasked<'_>| {
            let text = match unasked {
                Unasked::Message(Message { payload, .. }) => {
                    String::from_utf8_lossy(payload).into()
                }
                Unasked::Push(push) => format!("{:?}", push.kind),
                Unasked::Closed => "closed".to_owned(),
            };
            let _ = heard.send(text);
        };
        let connection = Connection::new(Stream::Tcp(client.unwrap()), timeout, unasked);
        (connection, hearing, server.unwrap().0)
    }

    fn pings(count: usize) -> Pipeline {
        let mut pipeline = redis::pipe();
        for _ in 0..count {
            pipeline.cmd("PING");
        }
        pipeline
    }

    #[tokio::test]
    async fn replies_and_pushes_find_their_way_however_they_are_cut() {
        let (connection, mut heard, mut server) = connected(LONG).await;
        let serving = tokio::spawn(async move {
            let replies = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nfirst\r\n+one\r\n:2\r\n\
                            >3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$6\r\nsecond\r\n-ERR three\r\n";
            for byte in replies {
                server.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            server
        });
        let (first, second) = (pings(1), pings(2));
        let (first, second) =
            tokio::join!(connection.exchange(&first), connection.exchange(&second));
        assert_eq!(first.unwrap(), [Value::SimpleString("one".into())]);
        let second = second.unwrap();
        assert_eq!(second[0], Value::Int(2));
        assert!(matches!(second[1], Value::ServerError(_)));
        assert_eq!(heard.recv().await.unwrap(), "first");
        assert_eq!(heard.recv().await.unwrap(), "second");
        drop(serving.await.unwrap());
        assert_eq!(heard.recv().await.unwrap(), "closed");
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_at_once_follows_in_order() {
        const BYTES: usize = 16 * 1024 * 1024;
        let (connection, _heard, mut server) = connected(LONG).await;
        let reading = tokio::spawn(async move {
            // Late, when the buffers between are full.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut all = vec![0; BYTES + 2];
            server.read_exact(&mut all).await.unwrap();
            let ends = [all[0], all[BYTES - 1], all[BYTES], all[BYTES + 1]];
            // A reply larger than what is read at once.
            let reply = [b"$1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n+2\r\n+3\r\n"].concat();
            server.write_all(&reply).await.unwrap();
            (ends, server)
        });
        let large = connection.send(1, |out| out.resize(BYTES, b'1'));
        let (one, two, three) = tokio::join!(
            large,
            connection.send(1, |out| out.push(b'2')),
            connection.send(1, |out| out.push(b'3')),
        );
        assert_eq!(one.unwrap(), [Value::BulkString(vec![b'x'; 1_000_000])]);
        assert_eq!(two.unwrap(), [Value::SimpleString("2".into())]);
        assert_eq!(three.unwrap(), [Value::SimpleString("3".into())]);
        assert_eq!(reading.await.unwrap().0, *b"1123");
    }

    #[tokio::test]
    async fn one_error_answers_a_command_for_several_channels() {
        let (connection, mut heard, mut server) = connected(LONG).await;
        let channels = ["a".to_owned(), "b".to_owned()];
        let confirm = |channel: &str| format!(">3\r\n$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:1\r\n");
        server.write_all(b"-NOPERM no\r\n").await.unwrap();
        let refused = connection.subscribe("SUBSCRIBE", &channels).await;
        assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
        let replies = confirm("a") + &confirm("b");
        let (confirmed, _) = tokio::join!(
            connection.subscribe("SUBSCRIBE", &channels),
            server.write_all(replies.as_bytes()),
        );
        confirmed.unwrap();
        for _ in 0..2 {
            assert_eq!(heard.recv().await.unwrap(), "Subscribe");
        }
    }

    #[tokio::test]
    async fn a_lost_connection_fails_whoever_waits_and_whoever_comes() {
        let (connection, mut heard, server) = connected(LONG).await;
        let request = pings(1);
        let (outcome, ()) = tokio::join!(connection.exchange(&request), async { drop(server) });
        assert!(outcome.is_err());
        assert_eq!(heard.recv().await.unwrap(), "closed");
        assert!(connection.exchange(&request).await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_resp_ends_the_connection() {
        let (connection, mut heard, mut server) = connected(LONG).await;
        server.write_all(b"HTTP/1.1 400 \r\n").await.unwrap();
        let error = connection.exchange(&pings(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parse);
        assert_eq!(heard.recv().await.unwrap(), "closed");
    }

    #[tokio::test]
    async fn a_request_waits_so_long_and_its_late_reply_is_nobody_elses() {
        let (connection, _heard, mut server) = connected(Duration::from_millis(20)).await;
        let late = connection.exchange(&pings(1)).await.unwrap_err();
        assert!(late.is_timeout());
        server.write_all(b":1\r\n:2\r\n").await.unwrap();
        assert_eq!(
            connection.exchange(&pings(1)).await.unwrap(),
            [Value::Int(2)]
        );
    }

    #[tokio::test]
    async fn it_is_closed_when_the_last_clone_is_dropped() {
        let (connection, _heard, mut server) = connected(LONG).await;
        let other = connection.clone();
        drop(connection);
        let asked = pings(1);
        let (reply, _) = tokio::join!(other.exchange(&asked), server.write_all(b"+OK\r\n"));
        assert_eq!(reply.unwrap(), [Value::Okay]);
        drop(other);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, asked.get_packed_pipeline());
    }
}
