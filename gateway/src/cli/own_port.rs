//! The internal port of this host's node, as the configuration says where it is.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::bail;
use fanfare_shared::config::{Internal, Listen};

use super::client::{Endpoint, Trust};
use super::failure::Failure;
use crate::stream::Files;

/// Where `path` of it is asked. Where it speaks TLS its certificate is for other names, and is taken
/// as it is; where it asks for one, it is shown its own. `flag` is what to give in its place.
pub(super) fn own_port(internal: &Internal, path: &str, flag: &str) -> Result<Endpoint, Failure> {
    let files = Files::of_internal(&internal.tls)?;
    let endpoint = match &internal.listen {
        Listen::Tcp(address) => of_host(*address, files.is_some(), path, flag)?,
        Listen::Unix(socket) => Endpoint::unix(socket.clone(), path, files.is_some()),
    };
    match files {
        None => Ok(endpoint),
        Some(files) => {
            let trust = Trust::anyone(files.pair()?).map_err(anyhow::Error::msg)?;
            Ok(endpoint.trusting(trust))
        }
    }
}

/// Where a listener of this address is asked from its own host.
fn of_host(listen: SocketAddr, is_tls: bool, path: &str, flag: &str) -> anyhow::Result<Endpoint> {
    if listen.port() == 0 {
        bail!("internal.listen has port 0, which names no port; give {flag}");
    }
    let mut address = listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let s = if is_tls { "s" } else { "" };
    Endpoint::http(&format!("http{s}://{address}{path}")).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_every_interface_is_asked_on_the_loopback() {
        for (listen, url) in [
            ("0.0.0.0:8081", "http://127.0.0.1:8081/readyz"),
            ("[::]:8081", "http://[::1]:8081/readyz"),
            ("10.0.0.1:9", "http://10.0.0.1:9/readyz"),
        ] {
            let listen = listen.parse().expect("an address");
            let endpoint = of_host(listen, false, "/readyz", "--url").expect("a URL");
            assert_eq!(endpoint.to_string(), url);
        }
        let none = "0.0.0.0:0".parse().expect("an address");
        let problem = of_host(none, false, "/", "--api-url").expect_err("no port");
        assert!(problem.to_string().ends_with("give --api-url"), "{problem}");
    }
}
