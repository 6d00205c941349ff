//! TLS of a port: the certificate that it shows, and on the internal port whose certificates it
//! asks for.
//!
//! That a certificate and its key are both there, and fit each other, is checked where they are
//! read: by the node at its start.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// TLS of the public port. Without a certificate it speaks plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A file with the certificate in PEM, and after it those that lead to its authority. It is read
    /// anew when it changes, for the connections to come. Default: none, and the port speaks plain
    /// HTTP. Set it where no proxy ends TLS before the node.
    pub cert: Option<PathBuf>,
    /// A file with the private key of the certificate in PEM. It is read anew when it changes.
    /// Default: none.
    pub key: Option<PathBuf>,
}

/// TLS of the internal port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalTls {
    /// As `tls.cert`. Default: none, and the port speaks plain HTTP.
    pub cert: Option<PathBuf>,
    /// As `tls.key`. Default: none.
    pub key: Option<PathBuf>,
    /// A file with the authorities, in PEM, by one of which the certificate of every caller has to
    /// be signed (mTLS). It is read anew when it changes. Default: none, and callers need no
    /// certificate.
    pub client_ca: Option<PathBuf>,
}
