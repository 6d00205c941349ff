//! The bytes of one connection, whatever carries them: TCP or a Unix socket, in plain or in TLS.
//!
//! Workers ask it as they would ask a [`TcpStream`] and hyper reads and writes it as any other
//! stream. In plain it is a `TcpStream` and as large, and what it is asked costs one branch more.

mod certificate;
mod tls;
mod validity;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub(crate) use self::certificate::{Certificate, Files};
use self::tls::Tls;

/// A stream of bytes to and from a client.
pub(crate) enum Stream {
    /// What is written goes to the socket as it is.
    Plain(TcpStream),
    /// What is written is encrypted, and what is read decrypted. In a box: those in plain should
    /// not have room for it.
    Tls(Box<Tls>),
}

impl Stream {
    /// Begins TLS with a client, whose hello is yet to come. The handshake goes on with each read,
    /// so that its time and its place are those of what is read.
    pub(crate) fn tls(socket: TcpStream, certificate: &Certificate) -> io::Result<Self> {
        Ok(Self::Tls(Box::new(Tls::new(
            socket,
            certificate.current(),
        )?)))
    }

    /// The same in TLS where there is a certificate for it.
    pub(crate) fn with(socket: TcpStream, certificate: Option<&Certificate>) -> io::Result<Self> {
        match certificate {
            None => Ok(Self::Plain(socket)),
            Some(certificate) => Self::tls(socket, certificate),
        }
    }

    /// The socket.
    pub(crate) const fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.socket(),
        }
    }

    /// Whether bytes may be given to the socket past the stream.
    pub(crate) const fn is_direct(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Whether the TLS handshake is under way.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.is_shaking_hands(),
        }
    }

    /// How many bytes it holds that the peer has sent: a part of a record. Nothing in plain.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.held(),
        }
    }

    /// How many bytes it holds that the peer is yet to take: one record at most. Nothing in plain.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.unsent(),
        }
    }

    // --- reading ---

    /// Waits until there is something to read. One task at a time may wait: so it is smaller and
    /// cheaper than [`TcpStream::readable`].
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(context),
            Self::Tls(tls) => tls.poll_readable(context),
        }
    }

    /// Reads what is there. `Interrupted` says that something came and went no further: a part of a
    /// record, or of the handshake.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(into),
            Self::Tls(tls) => tls.read(into, |bytes| {
                let count = tls.socket().try_read(bytes)?;
                if count < bytes.len() {
                    is_drained(tls.socket());
                }
                Ok(count)
            }),
        }
    }

    /// The same past tokio, which may not know yet that there is something.
    pub(crate) fn read_now(&self, into: &mut [u8]) -> io::Result<usize> {
        let receive = |bytes: &mut [u8]| loop {
            match recv(self.socket(), &mut *bytes, RecvFlags::DONTWAIT) {
                Ok((_, count)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        match self {
            Self::Plain(_) => receive(into),
            Self::Tls(tls) => tls.read(into, receive),
        }
    }

    /// Notes that a read took all there was: the next one would only learn that from the kernel, at
    /// the price of a system call. What arrives from now on is a new event (the sockets are
    /// registered edge-triggered), and so is not missed.
    pub(crate) fn expect_more_later(&self) {
        // TLS knows by itself what it took from the socket.
        if let Self::Plain(socket) = self {
            is_drained(socket);
        }
    }

    // --- writing ---

    /// Waits until the socket takes more. Several tasks may wait.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket().writable().await
    }

    /// Writes as much as the stream takes.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => tls.write(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes as much as the stream takes of several slices.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write_vectored(slices),
            Self::Tls(tls) => tls.write(slices),
        }
    }

    /// Writes past tokio, which may not know yet that the socket can be written.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => SockRef::from(socket).send(bytes),
            Self::Tls(tls) => tls.write_by(&[IoSlice::new(bytes)], |bytes| {
                SockRef::from(tls.socket()).send(bytes)
            }),
        }
    }

    /// Sends what the stream took and the socket did not. `WouldBlock` where that takes no more.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }

    // --- the end ---

    /// Says that nothing follows what was written.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.say_goodbye();
        }
        SockRef::from(self.socket()).shutdown(Shutdown::Write)
    }

    /// Gives the stream up in both directions.
    pub(crate) fn cut(&self) {
        let _ = SockRef::from(self.socket()).shutdown(Shutdown::Both);
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// Takes a Unix socket for what the rest of the node has: of a stream socket it asks nothing but
/// what all of them do, whatever their family.
pub(crate) fn of_unix(socket: UnixStream) -> io::Result<TcpStream> {
    let socket = OwnedFd::from(socket.into_std()?);
    TcpStream::from_std(socket.into())
}

fn is_drained(socket: &TcpStream) {
    let drained = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    let _ = socket.try_io(Interest::READABLE, drained);
}

/// Whether to try once more.
pub(crate) fn is_to_be_repeated(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}

// For hyper.

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Plain(socket) = &mut *self {
            return Pin::new(socket).poll_read(context, into);
        }
        loop {
            ready!(self.poll_readable(context))?;
            match self.try_read(into.initialize_unfilled()) {
                Ok(count) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if is_to_be_repeated(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(tls) => tls.poll_write(context, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(tls) => tls.poll_write(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(tls) => tls.poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Plain(socket) = &mut *self {
            return Pin::new(socket).poll_shutdown(context);
        }
        ready!(self.as_mut().poll_flush(context))?;
        Poll::Ready(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_stream_in_plain_is_as_large_as_its_socket() {
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }
}
