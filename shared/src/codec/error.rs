//! What decoding answers where a command cannot be read.

use crate::code::ErrorCode;

/// A command that could not be read, and what to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The command's id, where at least that could be read.
    pub id: Option<u64>,
    /// `bad_request` or `unknown_type`.
    pub code: ErrorCode,
    /// What is wrong, naming the field.
    pub message: String,
}
