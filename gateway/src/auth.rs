//! Who may do what. So far nobody has a name, and the rules of the rooms decide.

mod rules;

use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::{PublishRule, RoomRule};

pub use self::rules::Rules;

/// What somebody wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Give a message to its members.
    Publish,
    /// Ask who is in it.
    Presence,
}

/// Why something may not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What kind of refusal it is.
    pub code: ErrorCode,
    /// What was missing, for the client.
    pub message: String,
}

/// Decides whether something may be done in a room under its rule.
///
/// # Errors
///
/// [`Denied`] names the room and what was missing.
pub fn authorize(verb: Verb, room: &str, rule: &RoomRule, is_member: bool) -> Result<(), Denied> {
    let denied = |code, message| Err(Denied { code, message });
    match verb {
        Verb::Publish => match rule.publish {
            PublishRule::Server => denied(
                ErrorCode::Forbidden,
                format!("room: only the server publishes in `{room}`"),
            ),
            PublishRule::Members if !is_member => denied(
                ErrorCode::NotJoined,
                format!("room: `{room}` is not joined, and only members publish there"),
            ),
            PublishRule::Members | PublishRule::Anyone => Ok(()),
        },
        Verb::Presence if !rule.presence => denied(
            ErrorCode::Forbidden,
            format!("room: who is in `{room}` is not kept; its rule has no presence"),
        ),
        Verb::Presence => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_who_may_publish() {
        let missing = |publish, is_member| {
            let rule = RoomRule {
                publish,
                ..RoomRule::default()
            };
            let decided = authorize(Verb::Publish, "a", &rule, is_member);
            decided.map_err(|denied| denied.code)
        };
        for (publish, member, other) in [
            (PublishRule::Anyone, Ok(()), Ok(())),
            (PublishRule::Members, Ok(()), Err(ErrorCode::NotJoined)),
            (
                PublishRule::Server,
                Err(ErrorCode::Forbidden),
                Err(ErrorCode::Forbidden),
            ),
        ] {
            assert_eq!(missing(publish, true), member, "{publish:?}");
            assert_eq!(missing(publish, false), other, "{publish:?}");
        }
    }

    #[test]
    fn a_rule_without_presence_shows_nobody() {
        for presence in [true, false] {
            let rule = RoomRule {
                presence,
                ..RoomRule::default()
            };
            for is_member in [true, false] {
                let decided = authorize(Verb::Presence, "a", &rule, is_member);
                assert_eq!(decided.is_ok(), presence);
            }
        }
    }
}
