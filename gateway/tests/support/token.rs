//! Tokens as an application's backend signs them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A secret that is long enough.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The configuration of a node that asks for tokens.
pub(crate) const KEYED: &str = "[auth]\nsecret = '0123456789abcdef0123456789abcdef'\n";

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_secs()
}

/// Signs claims as they are.
pub(crate) fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}

/// A token of a user for an hour, with these grants.
pub(crate) fn token(user: &str, rooms: &Value) -> String {
    sign(&json!({"sub": user, "exp": now() + 3600, "rooms": rooms}))
}

/// The header lines that bring a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
