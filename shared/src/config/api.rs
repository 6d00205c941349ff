//! The keys of the server's HTTP API.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// Who may use the HTTP API on the internal port. Without a key nobody may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// A key for all that the API can do: 32 random bytes or more. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// Further keys, each with a name and with what it is for. Two are good at once while you rotate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ApiKey>,
}

/// One key of `[[api.keys]]`: its `secret`, or the `sha256` of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKey {
    /// What it is called in the log.
    pub name: String,
    /// The key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The SHA-256 of the key in hexadecimal digits, so that the file need not have the key. A plain
    /// hash does: a key of 256 random bits cannot be guessed, however fast guesses are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it may do. Default: everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

/// What a key can be allowed.
pub const API_VERBS: &[&str] = &[
    "publish",
    "history",
    "forget",
    "presence",
    "rooms",
    "send",
    "members",
    "disconnect",
    "revoke",
];

impl Api {
    /// Whether there is a key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.key.is_some() || !self.keys.is_empty()
    }

    /// Checks what the keys say together.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        for (number, key) in (1..).zip(&self.keys) {
            let (problem, remedy) = match (&key.secret, &key.sha256) {
                _ if key.name.is_empty() => ("it has no name", "give `name`, as the log shows it"),
                (None, None) => ("it has no key", "give `secret` or `sha256`"),
                (Some(_), Some(_)) => ("it has two keys", "give `secret` or `sha256`"),
                _ => continue,
            };
            return Err(ConfigError::Value {
                key: format!("api.keys[{number}]"),
                value: "…".to_owned(),
                origin: None,
                problem: problem.to_owned(),
                remedy: remedy.to_owned(),
            });
        }
        Ok(())
    }
}
