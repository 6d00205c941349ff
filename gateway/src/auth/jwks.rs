//! The keys of an identity provider, fetched from where it publishes them (`auth.jwks_url`).
//!
//! The address is the configuration's, never a token's. It leads to no private address and is not
//! redirected, unless the configuration says so: who controls the provider's name should not have
//! nodes ask around in their own network. An outage costs nothing but new keys.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::config::Auth;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::key::Key;
use super::keyring::KeyError;
use crate::causes::chain;

/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest set, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// How often unknown keys may have the set fetched.
const AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// Where a set is published, and when it was last asked for.
pub(super) struct Remote {
    client: Client,
    url: Url,
    /// Held while it is fetched: all who want it wait for the one fetch.
    last: Mutex<Option<Instant>>,
}

impl Remote {
    /// Reads the address of a configuration, if it has one.
    pub(super) fn new(auth: &Auth) -> Result<Option<Self>, KeyError> {
        let Some(url) = &auth.jwks_url else {
            return Ok(None);
        };
        let error = |problem: String| KeyError::new("auth.jwks_url", problem);
        let url = Url::parse(url).map_err(|problem| error(problem.to_string()))?;
        let mut builder = Client::builder()
            .timeout(PATIENCE)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent("fanfare");
        if !auth.jwks_private {
            builder = builder.https_only(true).dns_resolver(Arc::new(Public));
            let host = url.host_str().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if host.parse().is_ok_and(is_private) {
                return Err(error(format!("{host} is a private address; {ALLOW}")));
            }
        }
        let client = builder.build().map_err(|problem| error(chain(&problem)))?;
        Ok(Some(Self {
            client,
            url,
            last: Mutex::new(None),
        }))
    }

    /// Fetches the set, whenever it was last asked for, and has `take` take its keys.
    pub(super) async fn fetch(&self, take: impl FnOnce(Vec<Key>)) -> Result<(), KeyError> {
        let mut last = self.last.lock().await;
        *last = Some(Instant::now());
        take(self.ask().await?);
        Ok(())
    }

    /// The same for a key that is not known, unless the set was asked for only just now. Once this
    /// is done, what another's fetch brought has been taken, too.
    pub(super) async fn fetch_unknown(&self, take: impl FnOnce(Vec<Key>)) -> Result<(), KeyError> {
        let mut last = self.last.lock().await;
        if last.is_some_and(|last| last.elapsed() < AT_MOST_EVERY) {
            return Ok(());
        }
        *last = Some(Instant::now());
        take(self.ask().await?);
        Ok(())
    }

    async fn ask(&self) -> Result<Vec<Key>, KeyError> {
        let error = |problem: String| KeyError::new("auth.jwks_url", problem);
        let failed = |problem: reqwest::Error| error(chain(&problem.without_url()));
        let mut response = self
            .client
            .get(self.url.clone())
            .send()
            .await
            .map_err(failed)?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(error(format!(
                "it answered {status}, where a JWK set was expected"
            )));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                return Err(error(format!("the set is larger than {MAX_BYTES} bytes")));
            }
        }
        let text = String::from_utf8(body).map_err(|_| error("it is no text".to_owned()))?;
        // A secret that is published is none.
        Key::from_set(&text, false).map_err(error)
    }
}

const ALLOW: &str = "set auth.jwks_private = true for a provider in your own network";

/// Finds public addresses alone.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is the address's own.
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<_> = found
                .into_iter()
                .filter(|address| !is_private(address.ip()))
                .collect();
            if public.is_empty() {
                let problem = format!("{} has no public address; {ALLOW}", name.as_str());
                return Err(io::Error::other(problem).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one that only the own network leads to.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_private_v4(mapped),
            None => is_private_v6(address),
        },
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        // Shared by carriers (RFC 6598), and kept for benchmarks (RFC 2544) and the future.
        || (first == 100 && (64..128).contains(&second))
        || (first == 198 && (18..20).contains(&second))
        || first == 0
        || first >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfe80
        // NAT64 and 6to4 lead to addresses of version 4.
        || first == 0x2002
        || (first == 0x64 && address.segments()[1] == 0xff9b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn a_private_provider_is_asked_only_where_that_is_allowed() {
        let auth = |url: &str, jwks_private| Auth {
            jwks_url: Some(url.to_owned()),
            audience: Some("a".to_owned()),
            jwks_private,
            ..Auth::default()
        };
        for url in ["https://127.0.0.1/keys", "https://[::1]/keys"] {
            let refused = Remote::new(&auth(url, false)).err().unwrap().to_string();
            assert!(refused.contains("is a private address"), "{refused}");
        }
        let named = Remote::new(&auth("https://localhost/keys", false))
            .unwrap()
            .unwrap();
        let refused = named.fetch(drop).await.err().unwrap().to_string();
        assert!(
            refused.contains("localhost has no public address"),
            "{refused}"
        );
    }
}
