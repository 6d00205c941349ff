//! TLS of one connection, by rustls without its buffers: bytes are decrypted and encrypted in one
//! buffer of the thread, and a connection holds only what it must.
//!
//! That is a part of a record that has come (16 KiB and its head at most), what was decrypted and
//! its reader had no room for, and one record that the socket did not take. Idle, none of these.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::net::TcpStream;

/// How much is encrypted at once: as much as fits one record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;

/// The largest record on the wire (RFC 5246, section 6.2.3), and so the most that is held of what
/// has come: of a handshake, too, whose messages may have several records.
const SEALED_RECORD: usize = 5 + RECORD + 2048;

/// How much is read from a socket at once, what is held of it included.
const SEALED: usize = 64 * 1024;

/// The least that is read at once, however little room the reader has.
const LEAST: usize = 4096;

/// The type of every record that a client may begin with (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// For who begins in plain.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 53\r\nConnection: close\r\n\r\n\
    this port speaks TLS: connect with wss:// or https://";

thread_local! {
    /// Lent to the connection that is read or written. None where no TLS is spoken.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SEALED + RECORD].into());
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its client has sent nothing yet.
    Silent,
    /// The handshake is under way.
    Handshake,
    /// Data goes both ways.
    Open,
    /// The peer sends no more.
    Finished,
    /// It spoke otherwise than it may.
    Failed,
}

/// One connection.
pub(crate) struct Tls {
    socket: TcpStream,
    /// Of one task at a time, which may go from thread to thread: nobody ever waits for it.
    state: Mutex<State>,
}

/// How far it is, its keys, and what it holds.
struct State {
    stage: Stage,
    connection: UnbufferedServerConnection,
    /// What has come of a record, or of a message of the handshake.
    sealed: Vec<u8>,
    /// What was decrypted, and its reader had no room for.
    opened: Vec<u8>,
    /// What was encrypted, and the socket did not take.
    unsent: Vec<u8>,
}

impl Tls {
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Ok(Self {
            socket,
            state: Mutex::new(State {
                stage: Stage::Silent,
                connection,
                sealed: Vec::new(),
                opened: Vec::new(),
                unsent: Vec::new(),
            }),
        })
    }

    pub(super) const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn is_shaking_hands(&self) -> bool {
        matches!(self.state.lock().stage, Stage::Silent | Stage::Handshake)
    }

    pub(super) fn held(&self) -> usize {
        let state = self.state.lock();
        state.sealed.capacity() + state.opened.capacity()
    }

    pub(super) fn unsent(&self) -> usize {
        self.state.lock().unsent.len()
    }

    // --- reading ---

    /// Also sends what the handshake has to say and the socket did not take.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.lock();
        if !state.opened.is_empty() || state.stage == Stage::Finished {
            return Poll::Ready(Ok(()));
        }
        drop(state);
        // Whether it is sent or waits: what matters here is that it is watched.
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            return Poll::Ready(Err(error));
        }
        self.socket.poll_read_ready(context)
    }

    /// Decrypts what `receive` takes from the socket.
    pub(super) fn read(
        &self,
        into: &mut [u8],
        receive: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut state = self.state.lock();
        if !state.opened.is_empty() {
            return Ok(state.take_opened(into));
        }
        match state.stage {
            Stage::Finished => return Ok(0),
            Stage::Failed => return Err(io::ErrorKind::InvalidData.into()),
            Stage::Silent | Stage::Handshake | Stage::Open => {}
        }
        BUFFER.with_borrow_mut(|buffer| {
            let kept = state.sealed.len();
            let most = (kept + into.len().max(LEAST)).min(SEALED);
            buffer[..kept].copy_from_slice(&state.sealed);
            let count = receive(&mut buffer[kept..most])?;
            if count == 0 {
                // Without a goodbye; what is said over it has ends of its own.
                return Ok(0);
            }
            if state.stage == Stage::Silent {
                state.stage = Stage::Handshake;
                if buffer[0] != HANDSHAKE {
                    state.stage = Stage::Failed;
                    return Err(self.refuse_plain());
                }
            }
            let opened = state.open(&mut buffer[..kept + count], into);
            // The alert that says why, among what is sent.
            let sent = state.send(|bytes| self.socket.try_write(bytes));
            match opened {
                Err(error) => {
                    state.stage = Stage::Failed;
                    Err(error)
                }
                Ok(0) if state.stage == Stage::Finished => Ok(0),
                Ok(0) => match sent {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    _ => Err(io::ErrorKind::Interrupted.into()),
                },
                Ok(count) => Ok(count),
            }
        })
    }

    /// Tells who has begun in plain HTTP what is spoken here.
    fn refuse_plain(&self) -> io::Error {
        let _ = socket2::SockRef::from(&self.socket).send(NOT_TLS);
        io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak TLS")
    }

    // --- writing ---

    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_by(slices, |bytes| self.socket.try_write(bytes))
    }

    /// Encrypts one record of `slices`, unless the last one is not sent yet, and has `send` send it.
    pub(super) fn write_by(
        &self,
        slices: &[IoSlice<'_>],
        send: impl Fn(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut state = self.state.lock();
        match state.stage {
            Stage::Open | Stage::Finished => {}
            Stage::Silent | Stage::Handshake => return Err(io::ErrorKind::NotConnected.into()),
            Stage::Failed => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        state.send(&send)?;
        BUFFER.with_borrow_mut(|buffer| {
            let (sealed, plain) = buffer.split_at_mut(SEALED);
            let count = gather(slices, plain);
            if count == 0 {
                return Ok(0);
            }
            let len = state.seal(Some(&plain[..count]), sealed)?;
            if state.unsent.is_empty() {
                let sent = match send(&sealed[..len]) {
                    Ok(sent) => sent,
                    Err(error) if super::is_to_be_repeated(&error) => 0,
                    Err(error) => return Err(error),
                };
                state.unsent = sealed[sent..len].to_vec();
            } else {
                // Behind an answer of TLS itself.
                state.unsent.extend_from_slice(&sealed[..len]);
            }
            Ok(count)
        })
    }

    /// Sends what is encrypted; `WouldBlock` where the socket takes no more.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.state.lock().send(|bytes| self.socket.try_write(bytes))
    }

    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent() > 0 {
            ready!(self.socket.poll_write_ready(context))?;
            match self.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                flushed => return Poll::Ready(flushed),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.write(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
            ready!(self.socket.poll_write_ready(context))?;
        }
    }

    /// Says that nothing follows (RFC 8446, section 6.1), if the socket takes it at once: who is not
    /// told so sees the end of the socket.
    pub(super) fn say_goodbye(&self) {
        let mut state = self.state.lock();
        if !matches!(state.stage, Stage::Open | Stage::Finished) {
            return;
        }
        let mut goodbye = [0; 256];
        if let Ok(len) = state.seal(None, &mut goodbye)
            && state.unsent.is_empty()
        {
            let _ = self.socket.try_write(&goodbye[..len]);
        }
    }
}

impl State {
    fn take_opened(&mut self, into: &mut [u8]) -> usize {
        let count = self.opened.len().min(into.len());
        into[..count].copy_from_slice(&self.opened[..count]);
        if count == self.opened.len() {
            self.opened = Vec::new();
        } else {
            self.opened.drain(..count);
        }
        count
    }

    /// Decrypts `sealed` into `into`, and holds what does not fit or is not whole. Answers how many
    /// bytes are in `into`.
    fn open(&mut self, sealed: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        let (mut used, mut count) = (0, 0);
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut sealed[used..]);
            let mut is_done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        used += record.discard;
                        let fits = record.payload.len().min(into.len() - count);
                        let (now, later) = record.payload.split_at(fits);
                        into[count..count + fits].copy_from_slice(now);
                        self.opened.extend_from_slice(later);
                        count += fits;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|room| data.encode(room), &mut self.unsent)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.stage = Stage::Open;
                    is_done = true;
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.stage = Stage::Finished;
                    is_done = true;
                }
                Ok(ConnectionState::BlockedHandshake) => is_done = true,
                // Early data, which is not offered, and what rustls may add.
                Ok(_) => return Err(io::ErrorKind::Unsupported.into()),
                Err(error) => {
                    used += discard;
                    self.say_why(&mut sealed[used..])?;
                    return Err(invalid(error));
                }
            }
            used += discard;
            if is_done {
                break;
            }
        }
        let rest = &sealed[used..];
        if rest.len() > SEALED_RECORD {
            return Err(invalid("a message of the handshake is too large"));
        }
        self.sealed = rest.to_vec();
        Ok(count)
    }

    /// Takes what is left to be said after a failure: an alert, and what comes before it. rustls must
    /// not be asked any further.
    fn say_why(&mut self, rest: &mut [u8]) -> io::Result<()> {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.connection.process_tls_records(rest).state
        {
            encode(|room| data.encode(room), &mut self.unsent)?;
        }
        self.sealed = Vec::new();
        Ok(())
    }

    /// Encrypts `plain`, or a goodbye; answers how many bytes that has become. What TLS itself has
    /// to say comes before it.
    fn seal(&mut self, plain: Option<&[u8]>, sealed: &mut [u8]) -> io::Result<usize> {
        loop {
            // What is held is passed again: rustls remembers how far it has looked at it.
            let status = self.connection.process_tls_records(&mut self.sealed);
            let state = status.state.map_err(|error| {
                self.stage = Stage::Failed;
                invalid(error)
            });
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let len = match plain {
                        Some(plain) => traffic.encrypt(plain, sealed),
                        None => traffic.queue_close_notify(sealed),
                    };
                    return len.map_err(|error: EncryptError| invalid(error));
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(|room| data.encode(room), &mut self.unsent)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// Sends what is encrypted. `WouldBlock` where not all of it was taken.
    fn send(&mut self, send: impl Fn(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match send(&self.unsent) {
                Ok(sent) if sent == self.unsent.len() => self.unsent = Vec::new(),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Appends what TLS itself has to say.
fn encode(
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    let len = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => needed.required_size,
        Ok(_) => return Ok(()),
        Err(error) => return Err(invalid(error)),
    };
    let at = unsent.len();
    unsent.resize(at + len, 0);
    encode(&mut unsent[at..]).map_err(invalid)?;
    Ok(())
}

/// Copies as much as there is room for; answers how much.
fn gather(slices: &[IoSlice<'_>], room: &mut [u8]) -> usize {
    let mut count = 0;
    for slice in slices {
        let fits = slice.len().min(room.len() - count);
        room[count..count + fits].copy_from_slice(&slice[..fits]);
        count += fits;
    }
    count
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
