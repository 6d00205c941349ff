//! Where a port listens: an address of the network, or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";

/// The longest path of a Unix socket in bytes: the kernel takes no longer one.
const PATH_MAX: usize = 107;

/// Where a port listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// The IP address and the port, unless it is a Unix socket.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix(UNIX) else {
            let address = text.parse().map_err(|_| "not an address with a port")?;
            return Ok(Self::Tcp(address));
        };
        if !path.starts_with('/') || path.len() > PATH_MAX || path.chars().any(char::is_control) {
            return Err(format!(
                "a Unix socket has an absolute path of {PATH_MAX} bytes at most, such as \
                 unix:/run/fanfare.sock"
            ));
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}
