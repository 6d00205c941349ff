//! Tokens as an application's backend signs them.

use std::sync::Mutex;
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
    let token = encode(&Header::default(), claims, &key).expect("a token");
    hide(&token);
    token
}

/// What no node may write down: the secrets of all tests.
static HIDDEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes a secret, or a token, of which the signature is one: no node's log may show it. Each node
/// is looked at as it goes.
pub(crate) fn hide(secret: &str) {
    let secret = secret.rsplit('.').next().unwrap_or(secret);
    HIDDEN.lock().expect("no panic").push(secret.to_owned());
}

/// Those that a text shows.
pub(crate) fn shown(text: &str) -> Vec<String> {
    let hidden = HIDDEN.lock().expect("no panic");
    let hidden = hidden.iter().map(String::as_str).chain([SECRET]);
    let shown = hidden.filter(|secret| text.contains(secret));
    shown.map(str::to_owned).collect()
}

/// A token of a user for an hour, with these grants.
pub(crate) fn token(user: &str, rooms: &Value) -> String {
    sign(&json!({"sub": user, "exp": now() + 3600, "rooms": rooms}))
}

/// The header lines that bring a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
