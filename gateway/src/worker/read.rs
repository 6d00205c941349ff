//! Reading a connection: from readiness to messages, through the worker's scratch buffer.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use fanfare_shared::frame::{Opcode, frame};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::Worker;
use super::connection::Connection;
use super::shared::SCRATCH_BYTES;
use crate::dispatch::{self, Next};
use crate::socket::message::{Fault, Received};
use crate::socket::{Inbound, Phase, Socket};
use crate::stream::Stream;

/// What to do after some bytes were taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Read on.
    Read,
    /// Read no more until the session can go on.
    Wait,
    /// Read no more until others had their turn.
    Pause,
    /// Read no more for a while: it has sent all that it may.
    Throttle(Duration),
    /// Nothing that the peer sends from now on is of interest.
    Finish(Last),
    /// Read only to see the end.
    Discard,
    /// The peer is gone.
    End,
}

/// The last that was read from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Its close frame, with the code if it gave one.
    Close(Option<u16>),
    /// What it may not send.
    Fault(Fault),
    /// The end of the stream.
    End,
}

/// Serves a connection until it ends, beginning with what it holds.
pub(super) async fn run(worker: &Worker, connection: &Rc<Connection>) {
    let mut flow = resume(worker, connection);
    while flow != Flow::End {
        flow = match flow {
            Flow::Wait => {
                session_ready(worker, connection).await;
                resume(worker, connection)
            }
            Flow::Pause => {
                worker.pause().await;
                resume(worker, connection)
            }
            Flow::Throttle(wait) => {
                throttled(connection, wait).await;
                resume(worker, connection)
            }
            Flow::Finish(last) => {
                answered(worker, connection).await;
                finish(worker, connection, last)
            }
            _ if connection.is_open() && worker.lacks_inbound_room() => {
                worker.inbound_room().await;
                flow
            }
            _ if readable_in_turn(worker, connection.socket.stream())
                .await
                .is_err() =>
            {
                Flow::End
            }
            Flow::Discard => discard_once(worker, connection),
            _ => read_once(worker, connection),
        };
    }
    written(connection).await;
    // The peer is to see the end even if an answer under way keeps the connection for a while.
    connection.socket.kill();
}

/// Waits until all that came before is answered and written, or for as long as a close may take.
async fn answered(worker: &Worker, connection: &Rc<Connection>) {
    if connection.is_open() && !dispatch::is_done(worker, connection) {
        let patience = worker.limits().close_timeout;
        // In a box: every connection that waits for its peer would have room for it.
        let _ = Box::pin(timeout(patience, session_ready(worker, connection))).await;
    }
    // A turn for the fan-out.
    yield_now().await;
}

/// Writes the last words. A peer that has shut its sending side still reads (RFC 9293, section
/// 3.6), and one that sent its close frame with it is owed ours (RFC 6455, section 5.5.1).
async fn written(connection: &Rc<Connection>) {
    poll_fn(|context| {
        // A closing connection is killed when its time is up.
        let socket = &connection.socket;
        if Socket::is_written(connection) || socket.is_open() || socket.phase() == Phase::Dead {
            return Poll::Ready(());
        }
        socket.wait(context.waker());
        Poll::Pending
    })
    .await;
}

/// Waits until the socket has something, after others had their turn, if it is time for that.
async fn readable_in_turn(worker: &Worker, stream: &Stream) -> io::Result<()> {
    worker.pause().await;
    stream.readable().await
}

/// Takes what the socket has, at most one scratch buffer full.
fn read_once(worker: &Worker, connection: &Rc<Connection>) -> Flow {
    let mut scratch = worker.scratch.borrow_mut();
    // A part of a header or of a control frame: 139 bytes at most.
    let kept = connection
        .socket
        .inbound
        .borrow()
        .copy_rest_to(&mut scratch);
    match connection.socket.stream().try_read(&mut scratch[kept..]) {
        Ok(0) => Flow::Finish(Last::End),
        Ok(count) => {
            if kept + count < scratch.len() {
                connection.socket.stream().expect_more_later();
            }
            take_in(worker, connection, &mut scratch[..kept + count])
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::Interrupted {
                note_part(worker, connection);
            }
            retry_or_end(connection, &error, Flow::Read)
        }
    }
}

/// Notes that something came of which nobody can read anything yet.
fn note_part(worker: &Worker, connection: &Rc<Connection>) {
    worker.charge_read(SCRATCH_BYTES);
    connection.socket.is_heard();
    let is_sealed = connection.socket.stream().held() > 0;
    connection.socket.inbound.borrow_mut().is_cut(is_sealed);
    worker.count_inbound(connection);
}

fn finish(worker: &Worker, connection: &Rc<Connection>, last: Last) -> Flow {
    match last {
        Last::Close(code) => worker.answer_close(connection, code),
        Last::Fault(fault) => {
            worker.close(connection, fault.close_code(), &fault.to_string());
            connection.socket.expect_no_answer();
        }
        Last::End => return Flow::End,
    }
    Flow::Discard
}

/// Drops what the socket has: after the last frame of interest only its end is awaited.
fn discard_once(worker: &Worker, connection: &Connection) -> Flow {
    match connection
        .socket
        .stream()
        .try_read(&mut worker.scratch.borrow_mut())
    {
        Ok(0) => Flow::End,
        Ok(count) => {
            worker.charge_read(count);
            Flow::Discard
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::Interrupted {
                worker.charge_read(SCRATCH_BYTES);
            }
            retry_or_end(connection, &error, Flow::Discard)
        }
    }
}

fn retry_or_end(connection: &Connection, error: &io::Error, retry: Flow) -> Flow {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => retry,
        _ => {
            tracing::debug!(client = %connection.client, %error, "read failed");
            Flow::End
        }
    }
}

/// Goes on where the session had to wait.
fn resume(worker: &Worker, connection: &Rc<Connection>) -> Flow {
    let (kept, mut bytes) = connection.socket.inbound.borrow_mut().take_back();
    if let Some((message, mut at)) = kept
        && connection.is_open()
        && dispatch::take(worker, connection, &message, &mut at) == Next::Wait
    {
        let mut inbound = connection.socket.inbound.borrow_mut();
        inbound.keep(message, at, bytes);
        return Flow::Wait;
    }
    if bytes.is_empty() {
        worker.count_inbound(connection);
        return Flow::Read;
    }
    take_in(worker, connection, &mut bytes)
}

/// Takes messages from `bytes` and gives them to the session; the connection holds what is not
/// used.
fn take_in(worker: &Worker, connection: &Rc<Connection>, bytes: &mut [u8]) -> Flow {
    connection.socket.is_heard();
    let mut inbound = connection.socket.inbound.take();
    let flow = take_from(worker, connection, &mut inbound, bytes);
    connection.socket.inbound.replace(inbound);
    worker.count_inbound(connection);
    flow
}

fn take_from(
    worker: &Worker,
    connection: &Rc<Connection>,
    inbound: &mut Inbound,
    bytes: &mut [u8],
) -> Flow {
    let mut at = 0;
    loop {
        if worker.is_turn_spent() {
            inbound.keep_rest(&bytes[at..]);
            return Flow::Pause;
        }
        if !connection.is_open() {
            inbound.discard();
        }
        let (used, received) = match inbound.read(&mut bytes[at..], worker.limits().max_message) {
            Ok(read) => read,
            Err(fault) => return Flow::Finish(Last::Fault(fault)),
        };
        at += used;
        worker.charge_read(used);
        let message = match received {
            None => {
                inbound.keep_rest(&bytes[at..]);
                inbound.is_cut(connection.socket.stream().held() > 0);
                let wait = worker.spend(connection, 0, used);
                return wait.map_or(Flow::Read, Flow::Throttle);
            }
            Some(Received::Message(message)) => message,
            Some(Received::Ping(payload)) => {
                // Section 5.5.2. A closing connection has said its last word.
                if connection.is_open() {
                    worker.enqueue(connection, frame(Opcode::Pong, payload));
                }
                continue;
            }
            Some(Received::Pong) => continue,
            Some(Received::Close(code)) => return Flow::Finish(Last::Close(code)),
        };
        // Section 1.4: after our close frame, data is of no interest.
        if !connection.is_open() {
            continue;
        }
        let mut taken = 0;
        let wait = worker.spend(connection, 1, used);
        if dispatch::take(worker, connection, &message, &mut taken) == Next::Wait {
            inbound.keep(message.into_owned(), taken, bytes[at..].to_vec());
            return Flow::Wait;
        }
        if let Some(wait) = wait {
            inbound.keep_rest(&bytes[at..]);
            return Flow::Throttle(wait);
        }
    }
}

/// Reads nothing for a while, unless the connection ends.
async fn throttled(connection: &Rc<Connection>, wait: Duration) {
    let _unread = connection.socket.unread();
    let closed = poll_fn(|context| {
        if !connection.is_open() {
            return Poll::Ready(());
        }
        connection.socket.wait(context.waker());
        Poll::Pending
    });
    // In a box: every connection that waits for its peer would have room for it.
    let _ = Box::pin(timeout(wait, closed)).await;
}

/// Waits until the session can take commands again, or the connection ends.
async fn session_ready(worker: &Worker, connection: &Rc<Connection>) {
    let _unread = connection.socket.unread();
    poll_fn(|context| {
        if dispatch::is_ready(worker, connection) || !connection.is_open() {
            return Poll::Ready(());
        }
        connection.socket.wait(context.waker());
        Poll::Pending
    })
    .await;
}
