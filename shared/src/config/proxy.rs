//! The proxies in front of a node.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Who is in front of the node, and says where clients are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// The addresses of proxies whose word is taken for a client's address: `Forwarded` (RFC 7239), or
    /// else `X-Forwarded-For`, the last address that is not itself one of these. Default none: what
    /// connects is the client. Name a load balancer in HTTP here, or all its clients have one address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<IpNet>,
    /// Whether the proxies begin each connection with the PROXY protocol, version 1 or 2. Then every
    /// connection from one of `trusted` has to, and no other may. Default false; for load balancers
    /// in TCP.
    pub protocol: bool,
}

impl Proxy {
    /// Whether an address is a proxy's.
    #[must_use]
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|net| net.contains(&address.to_canonical()))
    }
}
