//! Room names: validated once at the edge, then shared by reference count.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The name of a room: 1 to 255 bytes of UTF-8 without control characters.
///
/// Cloning copies a pointer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a text is no room name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RoomNameError {
    /// The name has no characters.
    #[error("room: must not be empty")]
    Empty,
    /// The name is longer than [`RoomName::MAX_BYTES`].
    #[error("room: {0} bytes long; at most {max} are allowed", max = RoomName::MAX_BYTES)]
    TooLong(usize),
    /// The name holds a control character (Unicode category Cc).
    #[error("room: must not contain control characters")]
    Control,
}

impl RoomName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 255;

    /// Checks `name` and takes it over.
    pub fn new(name: &str) -> Result<Self, RoomNameError> {
        Self::check(name)?;
        Ok(Self(name.into()))
    }

    /// Says whether `name` would be accepted, without copying it.
    pub fn check(name: &str) -> Result<(), RoomNameError> {
        if name.is_empty() {
            Err(RoomNameError::Empty)
        } else if name.len() > Self::MAX_BYTES {
            Err(RoomNameError::TooLong(name.len()))
        } else if name.chars().any(char::is_control) {
            Err(RoomNameError::Control)
        } else {
            Ok(())
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_to_255_bytes_without_control_characters() {
        assert_eq!(RoomName::check(""), Err(RoomNameError::Empty));
        assert_eq!(RoomName::check(&"x".repeat(255)), Ok(()));
        assert_eq!(
            RoomName::check(&"x".repeat(256)),
            Err(RoomNameError::TooLong(256))
        );
        assert_eq!(RoomName::check("a\nb"), Err(RoomNameError::Control));
        assert_eq!(RoomName::check("a\u{85}b"), Err(RoomNameError::Control));
        assert_eq!(RoomName::check("чат:1 🎺"), Ok(()));
    }
}
