//! A port that is listened on: an address of the network, or a Unix socket, whose file goes with it.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fanfare_shared::config::Listen;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::stream::of_unix;

/// Unsent bytes at which the kernel calls a socket full. Backpressure so reaches the outbox, where
/// the slow-consumer rule is, and not first megabytes of the kernel's buffer.
pub(super) const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Who may connect to a Unix socket, its folder permitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Every user, as with an address of the network.
    Anyone,
    /// The node's user and group.
    Group,
}

/// A port that is listened on.
pub(crate) enum Listener {
    /// An address of the network.
    Tcp(TcpListener, SocketAddr),
    /// A Unix socket.
    Unix(UnixListener, PathBuf),
}

/// The file of a Unix socket, removed when dropped.
///
/// Apart from the listener, whose task may not be at its end when the process is.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Which file it is: another node may have its own there by now.
    inode: Option<u64>,
}

/// Binds a port; its connections inherit what is set here. Errors name the address and the remedy.
pub(crate) fn bind(
    listen: &Listen,
    backlog: u32,
    key: &str,
    access: Access,
) -> anyhow::Result<(Listener, Option<SocketFile>)> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    match listen {
        Listen::Tcp(address) => bind_tcp(*address, backlog)
            .map(|listener| (listener, None))
            .with_context(|| {
                format!("cannot listen on {address}; set another address with `{key}`")
            }),
        Listen::Unix(path) => {
            make_way(path).with_context(|| format!("cannot listen on {listen} (`{key}`)"))?;
            bind_unix(path, backlog, access)
                .map(|(listener, file)| (listener, Some(file))).with_context(|| {
                format!(
                    "cannot listen on {listen}; give `{key}` a path in a folder of the node's own"
                )
            })
        }
    }
}

fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    let listener = TcpListener::from_std(socket.into())?;
    let address = listener.local_addr()?;
    Ok(Listener::Tcp(listener, address))
}

/// Removes the file that a node left which did not end in good order. One at which somebody listens
/// is an error, and so is whatever is no socket.
fn make_way(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        bail!("there is a file that is no socket; remove it, or give another path");
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("another process listens there; stop it, or give another path"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("an old socket is there and cannot be removed")
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            bail!("another process listens there, and is busy; stop it, or give another path")
        }
        Err(error) => Err(error).context("a socket is there that cannot be asked whose it is"),
    }
}

fn bind_unix(path: &Path, backlog: i32, access: Access) -> io::Result<(Listener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: inode(path),
    };
    let mode = match access {
        Access::Anyone => 0o666,
        Access::Group => 0o660,
    };
    // Before anybody can connect.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok((Listener::Unix(listener, path.to_owned()), file))
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|file| file.ino())
}

impl Listener {
    /// Where it listens.
    pub(crate) fn address(&self) -> Listen {
        match self {
            Self::Tcp(_, address) => Listen::Tcp(*address),
            Self::Unix(_, path) => Listen::Unix(path.clone()),
        }
    }

    /// The next socket. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Tcp(listener, _) => Ok(listener.accept().await?.0),
            Self::Unix(listener, _) => of_unix(listener.accept().await?.0),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener, _) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}
