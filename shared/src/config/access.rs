//! Who may do something in a room without a grant of their token.

use serde::{Deserialize, Serialize};

/// Who may do something in a room. A grant of the token allows it beside all but `Server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Every connection.
    Anyone,
    /// Every connection with a token.
    Users,
    /// The room's members.
    Members,
    /// Only connections whose token grants it.
    Grant,
    /// No client at all, whatever its token grants.
    Server,
}

impl Access {
    /// The words of the configuration, in the order from the widest to the narrowest.
    pub const WORDS: &'static [&'static str] = &["anyone", "users", "members", "grant", "server"];

    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Users => "users",
            Self::Members => "members",
            Self::Grant => "grant",
            Self::Server => "server",
        }
    }
}
