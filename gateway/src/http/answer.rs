//! Giving a plain HTTP answer, after which the connection ends: in a bounded time, and so that no
//! reset overtakes it. Workers answer handshakes with it, the listener those it cannot hand on.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::stream::{Stream, is_to_be_repeated};

/// How long the peer may take to close once it has its answer.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// How much more of a refused peer is read meanwhile.
const MAX_UNREAD: usize = 256 * 1024;

/// Writes an answer, which the peer has to take `within` this time, and waits until it has closed:
/// a socket that is closed with something unread resets, and the peer may then lose the answer.
pub(crate) async fn give(stream: &Stream, answer: &[u8], within: Duration) -> io::Result<()> {
    let rest = &answer[start(stream, answer)?..];
    finish(stream, rest, within).await
}

/// Writes what the socket takes at once; mostly all. Past tokio, which may not know yet that the
/// socket can be written.
pub(crate) fn start(stream: &Stream, answer: &[u8]) -> io::Result<usize> {
    match stream.write_now(answer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        sent => sent,
    }
}

/// Goes on where [`start`] could not.
pub(crate) async fn finish(stream: &Stream, rest: &[u8], within: Duration) -> io::Result<()> {
    timeout(within, write(stream, rest)).await??;
    stream.finish()?;
    timeout(LINGER, discard(stream)).await?
}

async fn write(stream: &Stream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    while let Err(error) = stream.try_flush() {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        stream.writable().await?;
    }
    Ok(())
}

async fn discard(stream: &Stream) -> io::Result<()> {
    let mut left = MAX_UNREAD;
    while left > 0 {
        stream.readable().await?;
        match stream.try_read(&mut [0; 4096]) {
            Ok(0) => break,
            Ok(count) => left = left.saturating_sub(count),
            Err(error) if is_to_be_repeated(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
