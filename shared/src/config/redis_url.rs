//! The addresses of Redis, whose passwords show only where they are asked for.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// The address of Redis. `Debug`, `Display` and serialization show `***` for the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedisUrl(String);

/// Through TCP, plain or with TLS.
const NETWORK_SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
/// Through a socket of the same host.
const SOCKET_SCHEMES: [&str; 3] = ["unix", "redis+unix", "valkey+unix"];

const MASK: &str = "***";

impl RedisUrl {
    /// The whole address, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What it leads to: host, port and database, without user and password. Two addresses with
    /// the same place lead to one server.
    #[must_use]
    pub fn place(&self) -> String {
        let (address, path) = self.address_and_path();
        if address.is_empty() {
            // A socket's.
            return path.to_owned();
        }
        let port = if self.names_port() { "" } else { ":6379" };
        let database = match path.trim_matches('/') {
            "" => "0",
            database => database,
        };
        format!("{}{port}/{database}", address.to_ascii_lowercase())
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.0.starts_with("rediss://") || self.0.starts_with("valkeys://")
    }

    /// Whether it says which port.
    pub(super) fn names_port(&self) -> bool {
        let (address, _) = self.address_and_path();
        address.contains(':') && !address.ends_with(']')
    }

    /// Host and port, and what follows up to the query.
    fn address_and_path(&self) -> (&str, &str) {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let address = authority.rsplit_once('@').map_or(authority, |(_, a)| a);
        (address, tail.split(['?', '#']).next().unwrap_or_default())
    }

    /// Says what is wrong with `url`, if anything.
    pub(super) fn check(url: &str) -> Result<(), &'static str> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("no scheme");
        };
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("it has a space or a control character");
        }
        if SOCKET_SCHEMES.contains(&scheme) {
            return if rest.starts_with('/') {
                Ok(())
            } else {
                Err("the socket's path must start with `/`")
            };
        }
        if !NETWORK_SCHEMES.contains(&scheme) {
            return Err("the scheme is not redis, rediss (with TLS), valkey, valkeys or unix");
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if tail.contains('@') {
            return Err("`/`, `?` and `#` in a password must be percent-encoded: %2F, %3F, %23");
        }
        let address = authority.rsplit_once('@').map_or(authority, |(_, a)| a);
        // The brackets of an IPv6 address keep its colons apart from the port's.
        let (host, port) = match address.rfind(']') {
            Some(end) => (&address[..=end], address[end + 1..].strip_prefix(':')),
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        if host.is_empty() {
            return Err("no host");
        }
        if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err("the port is not a number from 1 to 65535");
        }
        let database = tail.split(['?', '#']).next().unwrap_or_default();
        let database = database.trim_start_matches('/').trim_end_matches('/');
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err("the database is not a number");
        }
        Ok(())
    }

    /// `url` without its password. One that makes no sense keeps nothing after its scheme: who
    /// knows where its password is.
    pub(super) fn mask(url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else {
            return MASK.to_owned();
        };
        if Self::check(url).is_err() {
            return format!("{scheme}://{MASK}");
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((user, address)) => match user.split_once(':') {
                Some((name, _)) => format!("{name}:{MASK}@{address}"),
                None => authority.to_owned(),
            },
            None => authority.to_owned(),
        };
        format!("{scheme}://{authority}{}", mask_query(tail))
    }
}

/// A socket's password is the `pass` of the query.
fn mask_query(tail: &str) -> String {
    let Some((path, query)) = tail.split_once('?') else {
        return tail.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name @ ("pass" | "password"), _)) => format!("{name}={MASK}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// One address or several. Serialized as a text where there is one, and as a list otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct RedisUrls(Vec<RedisUrl>);

impl RedisUrls {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses, in the order in which they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, RedisUrl> {
        self.0.iter()
    }
}

impl FromIterator<RedisUrl> for RedisUrls {
    fn from_iter<T: IntoIterator<Item = RedisUrl>>(urls: T) -> Self {
        Self(urls.into_iter().collect())
    }
}

impl Serialize for RedisUrls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl TryFrom<String> for RedisUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        Self::check(&url)?;
        Ok(Self(url))
    }
}

impl From<RedisUrl> for String {
    fn from(url: RedisUrl) -> Self {
        RedisUrl::mask(&url.0)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::mask(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Self::mask(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_redis_clients_take_are_taken() {
        for url in [
            "redis://localhost",
            "redis://localhost:6379/0",
            "rediss://user:p%40ss@redis.example:6380/3?protocol=resp3",
            "redis://:secret@10.0.0.1",
            "valkey://[::1]:6379",
            "unix:///run/redis.sock?pass=secret",
            "redis://123:123@h",
        ] {
            assert_eq!(RedisUrl::check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_what_is_wrong() {
        for (url, wrong) in [
            ("localhost:6379", "no scheme"),
            ("http://localhost", "the scheme"),
            ("redis://", "no host"),
            ("redis://:6379", "no host"),
            ("redis://h:99999", "the port"),
            ("redis://h:0", "the port"),
            ("redis://h/zero", "the database"),
            ("redis://u:a/b@h", "percent-encoded"),
            ("redis://h/a@b", "percent-encoded"),
            ("redis:// h", "a space"),
            ("unix://run/redis.sock", "the socket's path"),
        ] {
            let problem = RedisUrl::check(url).expect_err(url);
            assert!(problem.contains(wrong), "{url}: {problem}");
        }
    }

    #[test]
    fn a_place_is_host_port_and_database() {
        for (url, place) in [
            ("redis://h", "h:6379/0"),
            ("rediss://u:pw@H:6380/3?protocol=resp3", "h:6380/3"),
            ("redis://:pw@[::1]/", "[::1]:6379/0"),
            ("redis://[::1]:7000", "[::1]:7000/0"),
            ("unix:///run/r.sock?pass=secret", "/run/r.sock"),
        ] {
            let url = RedisUrl::try_from(url.to_owned()).expect(url);
            assert_eq!(url.place(), place);
        }
    }

    #[test]
    fn the_password_never_shows() {
        for (url, shown) in [
            ("redis://u:secret@h:1/2", "redis://u:***@h:1/2"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://u:secr@et@h", "redis://u:***@h"),
            ("redis://h", "redis://h"),
            ("unix:///s?db=1&pass=secret", "unix:///s?db=1&pass=***"),
            ("http://u:secret@h", "http://***"),
            ("redis://u:sec/ret@h", "redis://***"),
            ("u:secret@h", "***"),
        ] {
            assert_eq!(RedisUrl::mask(url), shown);
            if let Ok(url) = RedisUrl::try_from(url.to_owned()) {
                assert_eq!(url.to_string(), shown);
                assert_eq!(format!("{url:?}"), format!("{shown:?}"));
                // What is shown can be read again, so that printed configuration loads.
                assert_eq!(RedisUrl::check(shown), Ok(()));
            }
        }
    }
}
