//! The keys of the API. Nodes keep their hashes alone.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::{API_VERBS, Api};

use super::error::ApiError;

/// Every key.
pub(super) struct ApiKeys(Vec<Key>);

struct Key {
    caller: Caller,
    sha256: [u8; 32],
}

/// Whose call it is, and what it may do.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    name: Arc<str>,
    allow: Arc<[String]>,
}

impl ApiKeys {
    /// Hashes the keys of a configuration.
    pub(super) fn new(api: &Api) -> Self {
        let all: Arc<[String]> = API_VERBS.iter().map(ToString::to_string).collect();
        let own = api.key.iter().map(|secret| Key {
            caller: Caller {
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
            Some(Key {
                caller: Caller { name, allow },
                sha256,
            })
        });
        Self(own.chain(named).collect())
    }

    /// Whose a key is. Takes as long whichever of them it is, or none.
    pub(super) fn check(&self, shown: Option<&str>) -> Result<Caller, ApiError> {
        let unauthorized = |message: &str| ApiError::new(ErrorCode::Unauthorized, message);
        if self.0.is_empty() {
            return Err(unauthorized(
                "no key is configured; set api.key (FANFARE_API__KEY) to 32 random bytes",
            ));
        }
        let shown = shown.ok_or_else(|| unauthorized("send `Authorization: Bearer KEY`"))?;
        let sha256 = hash(shown);
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.sha256, &sha256).is_ok() {
                found = Some(&key.caller);
            }
        }
        let found = found.ok_or_else(|| unauthorized("the key is not known here"))?;
        Ok(found.clone())
    }
}

impl Caller {
    /// What the key is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes sure that a call is among those that the key is for.
    pub(super) fn may(&self, verb: &str) -> Result<(), ApiError> {
        if self.allow.iter().any(|allowed| allowed == verb) {
            return Ok(());
        }
        let message = format!("the key `{}` does not allow `{verb}`", self.name);
        Err(ApiError::new(ErrorCode::Forbidden, message))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Put there before the routes, or the request is not let through.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "no key"))
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
