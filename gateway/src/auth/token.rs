//! Tokens: from a JWT (RFC 7519) to who the client is and what it may do.

use std::sync::Arc;

use fanfare_shared::config::{Auth, Claims};
use fanfare_shared::{Identity, RoomName};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use thiserror::Error;

use super::grants::Grants;
use super::jwks::Remote;
use super::keyring::{KeyError, Keyring};

/// What a token says, once it was found to be good.
#[derive(Debug, PartialEq, Eq)]
pub struct Credential {
    /// Who the client is.
    pub identity: Arc<Identity>,
    /// What it may do.
    pub grants: Grants,
    /// The rooms that it joins with the handshake.
    pub auto: Vec<RoomName>,
    /// When the token runs out, in seconds since 1970; never, where it is `u64::MAX`.
    pub expires: u64,
    /// When it was issued, in seconds since 1970.
    pub issued: Option<u64>,
    /// Which token it is (`jti`).
    pub id: Option<Box<str>>,
}

/// Why a token is not taken. The text is for the client, and has nothing of the token but what
/// anyone can read in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejected {
    /// It was good, and ran out.
    #[error("token: it ran out; get a new one")]
    Expired,
    /// It names a key that is not known here.
    #[error("token: no key here has the `kid` \"{}\"", .0.escape_default())]
    UnknownKey(String),
    /// It is good by its signature, and was taken back.
    #[error("token: it was revoked; get a new one")]
    Revoked,
    /// It is wrong.
    #[error("token: {0}")]
    Invalid(String),
}

/// How much two clocks may differ, in seconds.
const LEEWAY: u64 = 30;

/// The longest user, in bytes.
const MAX_USER: usize = 255;

/// The largest `info`, in bytes of JSON.
const MAX_INFO: usize = 2048;

/// The most rooms that are joined with the handshake.
const MAX_AUTO: usize = 100;

/// What a node checks tokens with.
pub struct Tokens {
    ring: Keyring,
    /// Where more keys are published.
    remote: Option<Remote>,
    audience: Option<String>,
    issuer: Option<String>,
    claims: Claims,
}

impl Tokens {
    /// Reads the keys of a configuration; `None` where it has none and so asks for no tokens.
    ///
    /// # Errors
    ///
    /// Says which key cannot be used, and why.
    pub fn new(auth: &Auth) -> Result<Option<Self>, KeyError> {
        if !auth.has_keys() {
            return Ok(None);
        }
        Ok(Some(Self {
            ring: Keyring::read(auth)?,
            remote: Remote::new(auth)?,
            audience: auth.audience.clone(),
            issuer: auth.issuer.clone(),
            claims: auth.claims.clone(),
        }))
    }

    /// Reads the file of keys anew if it changed; answers whether it did.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or has no key. Those of before stay.
    pub fn reread(&self) -> Result<bool, KeyError> {
        self.ring.reread()
    }

    /// Whether keys are fetched from a provider.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Fetches the keys of the provider, if there is one.
    ///
    /// # Errors
    ///
    /// If they cannot be had. Those of before stay.
    pub async fn fetch(&self) -> Result<(), KeyError> {
        if let Some(remote) = &self.remote {
            remote.fetch(|keys| self.ring.replace_fetched(keys)).await?;
        }
        Ok(())
    }

    /// Checks a token like [`Tokens::check`]; where it names an unknown key, the provider is asked
    /// first, if that was not only just done.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and what would be right.
    pub async fn check_anew(&self, token: &str) -> Result<Credential, Rejected> {
        let rejected = match self.check(token) {
            Err(rejected @ Rejected::UnknownKey(_)) => rejected,
            checked => return checked,
        };
        let Some(remote) = &self.remote else {
            return Err(rejected);
        };
        let fetched = remote.fetch_unknown(|keys| self.ring.replace_fetched(keys));
        if let Err(error) = fetched.await {
            tracing::warn!("{error}");
        }
        self.check(token)
    }

    /// What the operator should know of the keys.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.ring.warnings().to_vec()
    }

    /// Checks a token and reads what it says.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and what would be right.
    pub fn check(&self, token: &str) -> Result<Credential, Rejected> {
        let header = decode_header(token).map_err(|error| invalid(not_a_token(error.kind())))?;
        let claims = self.claims_of(token, &header)?;
        Credential::read(&claims, &self.claims)
    }

    /// The claims of a token that a key here fits.
    fn claims_of(&self, token: &str, header: &Header) -> Result<Map<String, Value>, Rejected> {
        let keys = self.ring.keys();
        let named = |key: &&Arc<_>| {
            let key: &super::key::Key = key;
            key.id.is_some() && key.id.as_deref() == header.kid.as_deref()
        };
        let mut fitting: Vec<_> = keys.iter().filter(named).collect();
        if fitting.is_empty() {
            fitting = keys.iter().filter(|key| key.id.is_none()).collect();
        }
        if fitting.is_empty() {
            return Err(match &header.kid {
                Some(id) => Rejected::UnknownKey(id.chars().take(64).collect()),
                None => invalid("it names no key; its header needs the `kid` of one".into()),
            });
        }
        let taken: Vec<_> = fitting.iter().flat_map(|key| &key.algorithms).collect();
        let mut rejected = invalid(wrong_algorithm(header.alg, &taken));
        for key in fitting {
            if !key.algorithms.contains(&header.alg) {
                continue;
            }
            match decode(token, &key.decoding, &self.validation(header.alg)) {
                Ok(found) => return Ok(found.claims),
                Err(error) => {
                    rejected = self.rejected(error.kind());
                    if !matches!(error.kind(), ErrorKind::InvalidSignature) {
                        // The key fits, and so no other will.
                        break;
                    }
                }
            }
        }
        Err(rejected)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        // A claim that is looked at is needed: the library passes over one that is missing.
        let mut needed = vec!["exp"];
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            needed.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            needed.push("iss");
        }
        validation.set_required_spec_claims(&needed);
        validation
    }

    fn rejected(&self, kind: &ErrorKind) -> Rejected {
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        invalid(match kind {
            ErrorKind::ExpiredSignature => return Rejected::Expired,
            ErrorKind::InvalidSignature => "its signature fits no key here".to_owned(),
            ErrorKind::MissingRequiredClaim(claim) => {
                format!("it has no `{claim}`, or not in the right form")
            }
            ErrorKind::InvalidClaimFormat(claim) => {
                format!("its `{claim}` is no number of seconds")
            }
            ErrorKind::ImmatureSignature => "it is not yet good; its `nbf` is to come".to_owned(),
            ErrorKind::InvalidAudience => {
                format!("its `aud` is not \"{}\"", of(&self.audience))
            }
            ErrorKind::InvalidIssuer => format!("its `iss` is not \"{}\"", of(&self.issuer)),
            ErrorKind::Json(_) => {
                "its claims are no JSON object, or one is of the wrong kind".to_owned()
            }
            other => not_a_token(other),
        })
    }
}

impl Credential {
    /// Reads claims, which `names` names.
    ///
    /// # Errors
    ///
    /// Says which claim cannot be used, and why.
    pub fn read(claims: &Map<String, Value>, names: &Claims) -> Result<Self, Rejected> {
        let user = user_of(claims, names)?;
        let info = match find(claims, &names.info) {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.to_string().into_boxed_str()),
        };
        if info.as_ref().is_some_and(|info| info.len() > MAX_INFO) {
            let name = &names.info;
            let problem = format!("its `{name}` is larger than {MAX_INFO} bytes");
            return Err(invalid(problem));
        }
        let grants = match find(claims, &names.rooms) {
            None | Some(Value::Null) => Grants::default(),
            Some(Value::Object(rooms)) => Grants::read(rooms, user.as_deref())
                .map_err(|problem| invalid(format!("its `{}` {problem}", names.rooms)))?,
            Some(_) => {
                let name = &names.rooms;
                let problem = format!("its `{name}` is no object of patterns, each with its verbs");
                return Err(invalid(problem));
            }
        };
        let auto = auto_of(claims, names, user.as_deref())?;
        Ok(Self {
            identity: Arc::new(Identity { user, info }),
            grants,
            auto,
            expires: claims
                .get("exp")
                .map_or(u64::MAX, |value| seconds(value).unwrap_or_default()),
            issued: claims.get("iat").and_then(seconds),
            id: claims.get("jti").and_then(Value::as_str).map(Box::from),
        })
    }
}

fn user_of(claims: &Map<String, Value>, names: &Claims) -> Result<Option<Box<str>>, Rejected> {
    let name = &names.user;
    let user = match find(claims, name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(user)) => user.clone(),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
        Some(_) => return Err(invalid(format!("its `{name}` is no text"))),
    };
    if user.is_empty() || user.len() > MAX_USER || user.chars().any(char::is_control) {
        return Err(invalid(format!(
            "its `{name}` is not 1 to {MAX_USER} bytes without control characters"
        )));
    }
    Ok(Some(user.into_boxed_str()))
}

fn auto_of(
    claims: &Map<String, Value>,
    names: &Claims,
    user: Option<&str>,
) -> Result<Vec<RoomName>, Rejected> {
    let name = &names.auto;
    let problem = |problem: String| invalid(format!("its `{name}` {problem}"));
    let rooms = match find(claims, name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(rooms)) if rooms.len() <= MAX_AUTO => rooms,
        _ => return Err(problem(format!("is no list of up to {MAX_AUTO} rooms"))),
    };
    rooms
        .iter()
        .map(|room| {
            let text = room
                .as_str()
                .ok_or_else(|| problem(format!("has {room}, which is no room")))?;
            if user.is_none() && text.contains("{sub}") {
                return Err(problem("needs a user, and the token names none".to_owned()));
            }
            let text = text.replace("{sub}", user.unwrap_or_default());
            RoomName::new(&text).map_err(|error| problem(format!("has {room}: {error}")))
        })
        .collect()
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

const fn invalid(problem: String) -> Rejected {
    Rejected::Invalid(problem)
}

fn not_a_token(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
            "it is no JWT: three parts in base64url with dots in between".to_owned()
        }
        ErrorKind::Json(_) => {
            "its header is no JSON, or names an algorithm that is not taken".to_owned()
        }
        _ => "it cannot be checked with the key that it names".to_owned(),
    }
}

fn wrong_algorithm(named: Algorithm, taken: &[&Algorithm]) -> String {
    let mut taken: Vec<_> = taken.iter().map(|one| format!("{one:?}")).collect();
    taken.sort_unstable();
    taken.dedup();
    format!(
        "it is signed by {named:?}, and the key for it is for {}",
        taken.join(", ")
    )
}

/// The claim of this name; or what the path of names with dots leads to.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    // The whole first: providers have claims whose names are addresses, with dots.
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// Seconds since 1970, which may have a fraction (RFC 7519, section 2).
fn seconds(value: &Value) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and a fraction of a second does not matter"
    )]
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests;
