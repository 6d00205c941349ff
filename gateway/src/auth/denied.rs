//! Why something may not be done.

use fanfare_shared::code::ErrorCode;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What kind of refusal it is.
    pub code: ErrorCode,
    /// What was missing, for the client.
    pub message: String,
}
