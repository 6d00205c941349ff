//! Giving bytes to sockets that have nothing else to write: a system call for each, or one for
//! many where the kernel permits io_uring.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use rustix::net::{SendFlags, send};

use super::turn::WRITES_PER_TURN;

/// The fewest that are worth more than a system call each.
const WORTHWHILE: usize = 8;

/// No send waits for its socket, none raises a signal.
const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What one socket is to be given.
pub(super) struct Outgoing<'a> {
    pub(super) socket: BorrowedFd<'a>,
    pub(super) bytes: &'a [u8],
    /// How many bytes the socket took.
    pub(super) taken: usize,
}

/// A worker's way to the sockets.
pub(super) struct Sender {
    /// None where it is not permitted, not wanted, or has failed.
    ring: Option<IoUring>,
}

impl Sender {
    pub(super) fn new(io_uring: bool) -> Self {
        let ring = io_uring.then(ring).transpose();
        let ring = ring.unwrap_or_else(|error| {
            tracing::debug!(%error, "no io_uring here: each delivery is a system call of its own");
            None
        });
        Self { ring }
    }

    /// Gives each socket its bytes, as far as it takes them just now. One that has failed takes
    /// none, and says why when it is next written to.
    pub(super) fn send(&mut self, batch: &mut [Outgoing<'_>]) {
        match &mut self.ring {
            Some(ring) if batch.len() >= WORTHWHILE => {
                if let Err(error) = submit(ring, batch) {
                    tracing::warn!(%error, "io_uring failed: from here on without");
                    self.ring = None;
                }
            }
            _ => {
                for one in batch {
                    one.taken = send(one.socket, one.bytes, FLAGS).unwrap_or(0);
                }
            }
        }
    }
}

/// A ring, where the kernel gives one and knows what is asked of it here: since Linux 5.18.
fn ring() -> io::Result<IoUring> {
    #[allow(clippy::cast_possible_truncation, reason = "a small constant")]
    IoUring::builder()
        .setup_submit_all()
        .build(WRITES_PER_TURN as u32)
}

/// Sends a batch in one system call. After an error the ring must be dropped.
#[allow(
    unsafe_code,
    reason = "saves about 5% of the CPU of a delivery into a large room"
)]
fn submit(ring: &mut IoUring, batch: &mut [Outgoing<'_>]) -> io::Result<()> {
    let mut queue = ring.submission();
    for (index, one) in (0..).zip(&*batch) {
        let len = u32::try_from(one.bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(one.socket.as_raw_fd()), one.bytes.as_ptr(), len)
            .flags(FLAGS.bits().cast_signed())
            .build()
            .user_data(index);
        // SAFETY: the socket and the bytes are borrowed until this function returns, and the
        // kernel does not look at them later: a send that must not wait is complete when the
        // call that submits it returns, and one that was not submitted goes with the ring.
        unsafe { queue.push(&entry) }.map_err(io::Error::other)?;
    }
    drop(queue);
    let mut open = batch.len();
    while open > 0 {
        let outcome = ring.submit_and_wait(open);
        for completion in ring.completion() {
            open -= 1;
            let index = usize::try_from(completion.user_data()).ok();
            if let Some(one) = index.and_then(|index| batch.get_mut(index)) {
                // Negative for an error.
                one.taken = usize::try_from(completion.result()).unwrap_or(0);
            }
        }
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::net::Shutdown;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Both ways of sending, or the one that there is.
    fn senders() -> Vec<Sender> {
        let ring = Sender::new(true);
        if ring.ring.is_none() {
            println!("io_uring is not tested: it is not permitted here");
        }
        vec![ring, Sender::new(false)]
    }

    fn pairs(count: usize) -> Vec<(UnixStream, UnixStream)> {
        (0..count).map(|_| UnixStream::pair().unwrap()).collect()
    }

    fn outgoing<'a>((socket, _): &'a (UnixStream, UnixStream), bytes: &'a [u8]) -> Outgoing<'a> {
        let socket = socket.as_fd();
        Outgoing {
            socket,
            bytes,
            taken: 0,
        }
    }

    #[test]
    fn each_socket_gets_its_own_bytes() {
        for mut sender in senders() {
            for count in [1, WORTHWHILE, WRITES_PER_TURN, 1, WRITES_PER_TURN] {
                let mut pairs = pairs(count);
                let texts: Vec<_> = (0..count).map(|index| format!("to {index}")).collect();
                let each = pairs.iter().zip(&texts);
                let mut batch: Vec<_> = each
                    .map(|(pair, text)| outgoing(pair, text.as_bytes()))
                    .collect();
                sender.send(&mut batch);
                for one in batch {
                    assert_eq!(one.taken, one.bytes.len());
                }
                for ((sent, received), text) in pairs.iter_mut().zip(&texts) {
                    sent.shutdown(Shutdown::Write).unwrap();
                    let mut all = String::new();
                    received.read_to_string(&mut all).unwrap();
                    assert_eq!(all, *text);
                }
            }
        }
    }

    #[test]
    fn a_socket_that_is_full_or_broken_holds_up_no_other() {
        const FULL: usize = 3;
        const BROKEN: usize = 4;
        for mut sender in senders() {
            let mut pairs = pairs(WRITES_PER_TURN);
            let full = &mut pairs[FULL].0;
            full.set_nonblocking(true).unwrap();
            while full.write(&[0; 4096]).is_ok() {}
            pairs[BROKEN].1.shutdown(Shutdown::Both).unwrap();
            let mut batch: Vec<_> = pairs.iter().map(|pair| outgoing(pair, b"frame")).collect();
            sender.send(&mut batch);
            for (index, one) in batch.iter().enumerate() {
                let taken = if index == FULL || index == BROKEN {
                    0
                } else {
                    5
                };
                assert_eq!(one.taken, taken, "{index}");
            }
        }
    }

    #[test]
    fn a_socket_says_how_much_it_took() {
        let bytes = vec![7; 8 << 20];
        for mut sender in senders() {
            let pairs = pairs(WORTHWHILE);
            let mut batch: Vec<_> = pairs.iter().map(|pair| outgoing(pair, &bytes)).collect();
            sender.send(&mut batch);
            for (one, (_, received)) in batch.iter().zip(&pairs) {
                assert!(0 < one.taken && one.taken < bytes.len());
                received.set_nonblocking(true).unwrap();
                let mut arrived = Vec::new();
                // Fails after what there is.
                let _ = Read::read_to_end(&mut &*received, &mut arrived);
                assert_eq!(arrived.len(), one.taken);
            }
        }
    }

    #[test]
    fn a_ring_that_fails_is_done_without() {
        let mut sender = Sender::new(true);
        let pairs = pairs(WRITES_PER_TURN + 1);
        let mut batch: Vec<_> = pairs.iter().map(|pair| outgoing(pair, b"frame")).collect();
        // More than it has room for.
        sender.send(&mut batch);
        assert!(sender.ring.is_none());
        sender.send(&mut batch);
        assert!(batch.iter().all(|one| one.taken == 5));
    }
}
