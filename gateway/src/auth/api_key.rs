//! The keys of the HTTP API. A node keeps only their hashes.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::{API_VERBS, Api};

use super::denied::Denied;

/// Every key of a node.
#[derive(Debug)]
pub struct ApiKeys(Vec<Known>);

#[derive(Debug)]
struct Known {
    key: ApiKey,
    sha256: [u8; 32],
}

/// A key of the API, without its secret. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiKey {
    name: Arc<str>,
    allow: Arc<[String]>,
}

impl ApiKeys {
    /// Hashes the keys of a configuration.
    #[must_use]
    pub fn new(api: &Api) -> Self {
        let all: Arc<[String]> = API_VERBS.iter().map(ToString::to_string).collect();
        let own = api.key.iter().map(|secret| Known {
            key: ApiKey {
                name: "api.key".into(),
                allow: Arc::clone(&all),
            },
            sha256: hash(secret.expose()),
        });
        let named = api.keys.iter().filter_map(|key| {
            let sha256 = match (&key.secret, &key.sha256) {
                (Some(secret), _) => hash(secret.expose()),
                (None, Some(digits)) => read(digits)?,
                (None, None) => return None,
            };
            let allow = if key.allow.is_empty() {
                Arc::clone(&all)
            } else {
                key.allow.clone().into()
            };
            let name = key.name.as_str().into();
            Some(Known {
                key: ApiKey { name, allow },
                sha256,
            })
        });
        Self(own.chain(named).collect())
    }

    /// The key whose secret is shown. Takes equally long for each of them, and for none.
    ///
    /// # Errors
    ///
    /// [`Denied`] if nothing is shown, if the secret is none of theirs, or if there are no keys.
    pub fn check(&self, shown: Option<&str>) -> Result<ApiKey, Denied> {
        let unauthorized = |message: &str| Denied {
            code: ErrorCode::Unauthorized,
            message: message.to_owned(),
        };
        if self.0.is_empty() {
            return Err(unauthorized(
                "no key is configured; set api.key (FANFARE_API__KEY) to 32 random bytes",
            ));
        }
        let shown = shown.ok_or_else(|| unauthorized("send `Authorization: Bearer KEY`"))?;
        let sha256 = hash(shown);
        let mut found = None;
        for known in &self.0 {
            if verify_slices_are_equal(&known.sha256, &sha256).is_ok() {
                found = Some(&known.key);
            }
        }
        let found = found.ok_or_else(|| unauthorized("the key is not known here"))?;
        Ok(found.clone())
    }
}

impl ApiKey {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes sure that it allows something, by one of [`API_VERBS`].
    ///
    /// # Errors
    ///
    /// [`Denied`] names the key and the verb.
    pub fn may(&self, verb: &str) -> Result<(), Denied> {
        if self.allow.iter().any(|allowed| allowed == verb) {
            return Ok(());
        }
        let message = format!("the key `{}` does not allow `{verb}`", self.name);
        let code = ErrorCode::Forbidden;
        Err(Denied { code, message })
    }
}

fn hash(key: &str) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
    sha256
}

fn read(digits: &str) -> Option<[u8; 32]> {
    let mut sha256 = [0; 32];
    for (index, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(sha256)
}
