//! Who clients are: the keys that sign their tokens, and what a token has to say.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// Whose tokens are taken. Without a key nobody has a name, and the rules of the rooms decide alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The secret of an HS256 key, shared with the backend that signs the tokens: 32 random bytes
    /// or more. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file with a JWK set (`{"keys":[…]}`) or one public key in PEM. It is read anew when it
    /// changes. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Where the identity provider publishes its JWK set, `https://…`. It is fetched at the start,
    /// in the background from time to time, and when a token names an unknown key. Default: none;
    /// needs `auth.audience`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Whether `auth.jwks_url` may lead to a private address or use plain HTTP. Default false; set
    /// it where the identity provider is in the same cluster.
    pub jwks_private: bool,
    /// The `aud` that tokens must have. Default: none, and `aud` is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The `iss` that tokens must have. Default: none, and `iss` is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whether clients without a token are let in, for the rooms that are open to anyone. Without
    /// keys everybody is. Default false.
    pub anonymous: bool,
    /// Whether a token may stand in the address, `?token=…`. Default false: proxies and browsers
    /// write addresses into their logs.
    pub query: bool,
    /// The cookie that has the token of a browser. Default: none. Its origin is always checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The web pages that browsers may connect from, as origins with `*` for any text
    /// (`https://*.example.com`), as a list or with commas in between. Default: none, which means
    /// any without keys, and with keys those of the host that is connected to.
    #[serde(skip_serializing_if = "Origins::is_empty")]
    pub origins: Origins,
    /// How long a connection stays after its token ran out, so that the client can renew it by
    /// `auth`. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// For how long a revocation holds that does not say until when: longer than any token lives.
    /// Default 30 days.
    #[serde(with = "humantime_serde")]
    pub revocation_ttl: Duration,
    /// Where the token has what Fanfare asks for.
    pub claims: Claims,
    /// Further keys. All are tried that fit a token: keep the previous one while you rotate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<AuthKey>,
}

/// The origins of `auth.origins`.
pub type Origins = Vec<String>;

/// Where a token has what Fanfare asks for: each the name of a claim, or a path with dots
/// (`app_metadata.fanfare`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Claims {
    /// The user. Default `sub`.
    pub user: String,
    /// What members may know of the user. Default `info`.
    pub info: String,
    /// The grants: patterns of rooms, each with its verbs. Default `rooms`.
    pub rooms: String,
    /// The rooms that are joined with the handshake. Default `auto`.
    pub auto: String,
}

/// One key of `[[auth.keys]]`: a `secret`, a `public_key` or a `file` with either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthKey {
    /// The `kid` of the tokens that it signs. A key without one is tried for every token that names
    /// no other key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Its algorithm; a token that names another is refused. Default `HS256`.
    pub algorithm: String,
    /// The secret of an HS key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The public key of any other, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// A file with the secret or the public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            secret: None,
            key_file: None,
            jwks_url: None,
            jwks_private: false,
            audience: None,
            issuer: None,
            anonymous: false,
            query: false,
            cookie: None,
            origins: Origins::new(),
            grace: Duration::from_secs(30),
            revocation_ttl: Duration::from_secs(30 * 24 * 60 * 60),
            claims: Claims::default(),
            keys: Vec::new(),
        }
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            user: "sub".to_owned(),
            info: "info".to_owned(),
            rooms: "rooms".to_owned(),
            auto: "auto".to_owned(),
        }
    }
}

impl Default for AuthKey {
    fn default() -> Self {
        Self {
            kid: None,
            algorithm: "HS256".to_owned(),
            secret: None,
            public_key: None,
            file: None,
        }
    }
}

/// The algorithms that a key may have.
pub(super) const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

impl Auth {
    /// Whether there is a key, or a place to get one from: clients then need a token.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.secret.is_some()
            || self.key_file.is_some()
            || self.jwks_url.is_some()
            || !self.keys.is_empty()
    }

    /// Checks what the keys say together.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        if let Some(url) = &self.jwks_url
            && self.audience.is_none()
        {
            return Err(refusal(
                "auth.jwks_url",
                &format!("\"{url}\""),
                "given without auth.audience",
                "give the `aud` of your tokens: the provider signs those of other services, too",
            ));
        }
        if let Some(url) = &self.jwks_url
            && !url.starts_with("https://")
            && !self.jwks_private
        {
            return Err(refusal(
                "auth.jwks_url",
                &format!("\"{url}\""),
                "not encrypted",
                "write https://, or set auth.jwks_private = true for a provider in your own network",
            ));
        }
        if !self.has_keys() {
            for (key, is_set) in [
                ("auth.audience", self.audience.is_some()),
                ("auth.issuer", self.issuer.is_some()),
                ("auth.cookie", self.cookie.is_some()),
                ("auth.query", self.query),
            ] {
                if is_set {
                    return Err(refusal(
                        key,
                        "…",
                        "there is no key that tokens are checked with",
                        "set auth.secret, auth.keys, auth.key_file or auth.jwks_url as well",
                    ));
                }
            }
        }
        for (number, key) in (1..).zip(&self.keys) {
            key.check(number)?;
            let mut others = (1..number).zip(&self.keys);
            if key.kid.is_some()
                && let Some((other, _)) = others.find(|(_, other)| other.kid == key.kid)
            {
                return Err(refusal(
                    &format!("auth.keys[{number}].kid"),
                    &format!("\"{}\"", key.kid.as_deref().unwrap_or_default()),
                    &format!("auth.keys[{other}] has the same"),
                    "give each key a `kid` of its own",
                ));
            }
        }
        Ok(())
    }
}

impl AuthKey {
    /// Whether its algorithm needs a shared secret.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.algorithm.starts_with("HS")
    }

    fn check(&self, number: usize) -> Result<(), ConfigError> {
        let at = format!("auth.keys[{number}]");
        let given = [
            self.secret.is_some(),
            self.public_key.is_some(),
            self.file.is_some(),
        ];
        let (problem, remedy) = match given.iter().filter(|is_set| **is_set).count() {
            0 => (
                "it has no key",
                "give `secret` for an HS algorithm, `public_key` for another, or `file`",
            ),
            1 if self.secret.is_some() && !self.is_shared() => (
                "a secret cannot check this algorithm",
                "give the public key in PEM as `public_key` or `file`",
            ),
            1 if self.public_key.is_some() && self.is_shared() => (
                "a public key must not be used as a shared secret",
                "give `secret`, or the algorithm that the key is for, such as RS256",
            ),
            1 => return Ok(()),
            _ => (
                "it has more than one key",
                "give one of `secret`, `public_key` and `file`",
            ),
        };
        Err(refusal(
            &at,
            &format!("{{ algorithm = \"{}\", … }}", self.algorithm),
            problem,
            remedy,
        ))
    }
}

fn refusal(key: &str, value: &str, problem: &str, remedy: &str) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: None,
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    }
}
