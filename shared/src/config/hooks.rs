//! The backend that is asked before clients may do something.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};

/// Which addresses of your backend are asked whether a client may do something, where its token does not
/// say. Without an address nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Asked before a client connects, once its token was found good. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<String>,
    /// Asked before a client joins a room, once that was found allowed. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    /// Asked before a client publishes into a room, once that was found allowed. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<String>,
    /// What questions are signed with: 32 random bytes or more, as they stand or as `whsec_` and base64.
    /// Default: none; needed where there is an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Another one that questions are signed with, too, while you rotate. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret: Option<Secret>,
    /// The headers of a handshake that `hooks.connect` is told, such as `cookie`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// How long an answer may take, with the wait for its turn. Default 3 s.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// What holds without an answer: `closed`, and the client may not; or `open`, and it may. Default
    /// `closed`.
    pub fail: Fail,
    /// How many questions of a node are under way at once. Default 64.
    pub concurrency: usize,
    /// How many more may wait for their turn; one more counts as without an answer. Default 1024.
    pub queue: usize,
    /// How many answers a node remembers, for as long as each says; beyond, the one that was used least
    /// recently is forgotten. Default 65536.
    pub answers: usize,
}

/// What holds without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// No.
    #[default]
    Closed,
    /// Yes.
    Open,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            connect: None,
            join: None,
            publish: None,
            secret: None,
            previous_secret: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(3),
            fail: Fail::Closed,
            concurrency: 64,
            queue: 1024,
            answers: 65_536,
        }
    }
}

impl Hooks {
    /// The addresses, with the names of their keys.
    #[must_use]
    pub fn addresses(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("hooks.connect", self.connect.as_deref()),
            ("hooks.join", self.join.as_deref()),
            ("hooks.publish", self.publish.as_deref()),
        ]
    }

    /// Checks what the keys say together.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        let mut addresses = self.addresses().into_iter();
        if self.secret.is_none()
            && let Some((key, Some(url))) = addresses.find(|(_, url)| url.is_some())
        {
            return Err(ConfigError::Value {
                key: key.to_owned(),
                value: format!("\"{url}\""),
                origin: None,
                problem: "given without hooks.secret".to_owned(),
                remedy: "give a secret, by which your backend knows who asks".to_owned(),
            });
        }
        Ok(())
    }
}
