//! Room names: validated once at the edge, then shared by reference count.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The name of a room: 1 to 255 bytes of UTF-8 without control characters. Or one that no client can
/// say, by which a user or a node is reached: see [`Hidden`].
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

/// Whom a room reaches that no client can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden<'a> {
    /// Every connection of a user.
    User(&'a str),
    /// One node.
    Node(&'a str),
    /// Every node, with something of one kind.
    Nodes(&'a str),
}

/// What hidden names begin with: control characters, which the names of rooms exclude.
const USER: char = '\u{1}';
const NODE: char = '\u{2}';
const NODES: char = '\u{3}';

impl RoomName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 255;

    /// The room by which a user's connections are reached. A user's name has at most
    /// [`MAX_BYTES`](Self::MAX_BYTES), too.
    #[must_use]
    pub fn of_user(user: &str) -> Self {
        Self(format!("{USER}{user}").into())
    }

    /// The room by which a node is reached.
    #[must_use]
    pub fn of_node(node: u32) -> Self {
        Self(format!("{NODE}{node:08x}").into())
    }

    /// The room by which every node is reached with something of one kind.
    #[must_use]
    pub fn of_nodes(kind: &str) -> Self {
        Self(format!("{NODES}{kind}").into())
    }

    /// Takes over what another node wrote: a room's name, or a hidden one.
    pub fn from_node(name: &str) -> Result<Self, RoomNameError> {
        match name.strip_prefix([USER, NODE, NODES]) {
            None => Self::new(name),
            Some("") => Err(RoomNameError::Empty),
            Some(rest) if rest.len() > Self::MAX_BYTES => Err(RoomNameError::TooLong(rest.len())),
            Some(_) => Ok(Self(name.into())),
        }
    }

    /// Whom it reaches, if no client can name it.
    #[must_use]
    pub fn hidden(&self) -> Option<Hidden<'_>> {
        // Asked for each publication, of which hardly any is: one look at one byte.
        let mut rest = self.0.chars();
        match rest.next()? {
            USER => Some(Hidden::User(rest.as_str())),
            NODE => Some(Hidden::Node(rest.as_str())),
            NODES => Some(Hidden::Nodes(rest.as_str())),
            _ => None,
        }
    }

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

    #[test]
    fn a_hidden_name_is_one_that_no_client_can_say() {
        for (name, hidden) in [
            (RoomName::of_user("ann"), Hidden::User("ann")),
            (RoomName::of_user("a\nb}"), Hidden::User("a\nb}")),
            (RoomName::of_node(255), Hidden::Node("000000ff")),
            (RoomName::of_nodes("a"), Hidden::Nodes("a")),
        ] {
            assert_eq!(RoomName::check(name.as_str()), Err(RoomNameError::Control));
            assert_eq!(RoomName::from_node(name.as_str()), Ok(name.clone()));
            assert_eq!(name.hidden(), Some(hidden));
        }
        assert_eq!(RoomName::new("ann").unwrap().hidden(), None);
        assert_eq!(RoomName::from_node("a\nb"), Err(RoomNameError::Control));
        assert_eq!(RoomName::from_node("\u{1}"), Err(RoomNameError::Empty));
        let long = format!("\u{1}{}", "x".repeat(256));
        assert_eq!(RoomName::from_node(&long), Err(RoomNameError::TooLong(256)));
    }
}
