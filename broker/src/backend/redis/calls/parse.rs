//! Reads the parts of replies.

use redis::Value;

/// Reads a number: how many were taken out, or that something was done.
pub(crate) fn integer(reply: &Value) -> Option<u64> {
    match reply {
        Value::Int(count) => u64::try_from(*count).ok(),
        _ => None,
    }
}

pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    u64::from_str_radix(text, 16).ok()
}

pub(crate) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// Reads that something was done.
#[allow(
    clippy::needless_pass_by_value,
    reason = "a reply is read where it came"
)]
pub(crate) fn done(reply: Value) -> Option<()> {
    integer(&reply).map(drop)
}
