//! One message to many sockets in one system call: a batch of sends by io_uring.
//!
//! Kernels and the seccomp profiles of containers may forbid io_uring; [`Ring::new`] tells.

use anyhow::{Context as _, bail};
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Sends in one batch.
const BATCH: usize = 1024;

/// A ring for sends.
pub(super) struct Ring {
    ring: IoUring,
    /// What is being sent.
    frame: Vec<u8>,
}

/// What became of one send.
pub(super) struct Sent {
    pub(super) file: usize,
    /// How many bytes the socket took; none if it failed for good.
    pub(super) bytes: Option<usize>,
}

impl Ring {
    /// A ring, if the kernel gives one.
    pub(super) fn new() -> anyhow::Result<Self> {
        #[allow(clippy::cast_possible_truncation, reason = "a small constant")]
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(BATCH as u32)
            .context("the kernel does not permit io_uring here")?;
        Ok(Self {
            ring,
            frame: Vec::new(),
        })
    }

    /// Sends `frame` to all `files`, and tells `note` of each what became of it. No send waits for
    /// its socket.
    pub(super) fn send(
        &mut self,
        frame: &[u8],
        files: &[usize],
        mut note: impl FnMut(Sent),
    ) -> anyhow::Result<()> {
        self.frame.clear();
        self.frame.extend_from_slice(frame);
        for batch in files.chunks(BATCH) {
            for file in batch {
                self.push(*file)?;
            }
            let mut open = batch.len();
            while open > 0 {
                match self.ring.submit_and_wait(open) {
                    Ok(_) => {}
                    Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
                    Err(error) => return Err(error).context("io_uring"),
                }
                for entry in self.ring.completion() {
                    open -= 1;
                    #[allow(clippy::cast_possible_truncation, reason = "a file's number")]
                    let file = entry.user_data() as usize;
                    let bytes = match usize::try_from(entry.result()) {
                        Ok(bytes) => Some(bytes),
                        Err(_) if entry.result() == -Errno::AGAIN.raw_os_error() => Some(0),
                        Err(_) => None,
                    };
                    note(Sent { file, bytes });
                }
            }
        }
        Ok(())
    }

    #[allow(
        unsafe_code,
        reason = "the kernel reads the frame behind the compiler's back; it is this value's own, \
                  and `send` neither changes it nor returns before all sends are complete"
    )]
    fn push(&mut self, file: usize) -> anyhow::Result<()> {
        let fd = Fd(i32::try_from(file)?);
        let len = u32::try_from(self.frame.len())?;
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let entry = opcode::Send::new(fd, self.frame.as_ptr(), len)
            .flags(flags.bits().cast_signed())
            .build()
            .user_data(file as u64);
        // SAFETY: the frame outlives the send, see the reason above.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            bail!("io_uring has no room for {BATCH} sends");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn every_socket_gets_the_frame_and_a_broken_one_is_told_apart() {
        let Ok(mut ring) = Ring::new() else {
            println!("not tested: this kernel does not permit io_uring");
            return;
        };
        let mut pairs: Vec<_> = (0..3 * BATCH / 2)
            .map(|_| UnixStream::pair().unwrap())
            .collect();
        let file = |pair: &(UnixStream, UnixStream)| usize::try_from(pair.0.as_raw_fd()).unwrap();
        let files: Vec<_> = pairs.iter().map(file).collect();
        pairs[0].1.shutdown(std::net::Shutdown::Both).unwrap();
        let (mut whole, mut broken) = (0, Vec::new());
        ring.send(b"frame", &files, |Sent { file, bytes }| match bytes {
            Some(5) => whole += 1,
            other => broken.push((file, other)),
        })
        .unwrap();
        assert_eq!(broken, [(files[0], None)]);
        assert_eq!(whole, files.len() - 1);
        for (_, reader) in &mut pairs[1..] {
            let mut read = [0; 5];
            reader.read_exact(&mut read).unwrap();
            assert_eq!(&read, b"frame");
        }
    }
}
