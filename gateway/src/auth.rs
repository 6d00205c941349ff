//! Who may do what: tokens, what they grant, and the one decision.

mod api_key;
mod denied;
mod grants;
mod jwks;
mod key;
mod keyring;
mod mint;
mod origin;
mod revocations;
mod rules;
mod token;

use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::{Access, RoomPattern, RoomRule};

pub use self::api_key::{ApiKey, ApiKeys};
pub use self::denied::Denied;
pub use self::grants::{Grants, Verb, Verbs};
pub use self::keyring::KeyError;
pub use self::mint::Signer;
pub use self::origin::OriginPolicy;
pub use self::revocations::{MAX_REVOCATIONS, Revocation, Revocations, Revoked};
pub use self::rules::Rules;
pub use self::token::{Credential, Rejected, Tokens};

/// In whose name something is done in a room.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// A client.
    Client {
        /// What its token says, if it has one.
        credential: Option<&'a Credential>,
        /// Whether it is a member of the room.
        is_member: bool,
        /// The rooms in which its token is good for nothing any more.
        revoked: &'a [RoomPattern],
    },
    /// A backend, with a key of the API.
    Backend(&'a ApiKey),
}

impl Actor<'_> {
    /// The same as a member of the room.
    #[must_use]
    pub const fn as_member(mut self) -> Self {
        if let Self::Client { is_member, .. } = &mut self {
            *is_member = true;
        }
        self
    }
}

/// Decides whether something may be done in a room under its rule. The rule of a room gives a right,
/// or a grant does; neither takes one away, but that no client has what a rule keeps for the server.
/// A backend has what its key allows.
///
/// # Errors
///
/// [`Denied`] names the verb, the room and what would have allowed it.
pub fn authorize(verb: Verb, room: &str, rule: &RoomRule, actor: Actor<'_>) -> Result<(), Denied> {
    let denied = |code, message| Err(Denied { code, message });
    if verb == Verb::Presence && !rule.presence {
        return denied(
            ErrorCode::Forbidden,
            format!("room: who is in `{room}` is not kept; its rule has no presence"),
        );
    }
    let (credential, is_member) = match actor {
        Actor::Client { revoked, .. } if revoked.iter().any(|pattern| pattern.matches(room)) => {
            return denied(
                ErrorCode::Forbidden,
                format!("room: what the token grants in `{room}` was revoked; get a new one"),
            );
        }
        Actor::Client {
            credential,
            is_member,
            ..
        } => (credential, is_member),
        Actor::Backend(key) => return key.may(verb.as_str()),
    };
    let access = access(verb, rule);
    let is_open = match access {
        Access::Anyone => true,
        Access::Users => credential.is_some(),
        Access::Members => is_member,
        Access::Grant | Access::Server => false,
    };
    let is_granted = || {
        let grants = credential.map(|credential| &credential.grants);
        grants.is_some_and(|grants| grants.of(room).has(verb))
    };
    if is_open || (access != Access::Server && is_granted()) {
        return Ok(());
    }
    let has_token = credential.is_some();
    match (access, verb) {
        (Access::Server, Verb::Publish) => denied(
            ErrorCode::Forbidden,
            format!("room: only the server publishes in `{room}`"),
        ),
        (Access::Server, _) => denied(
            ErrorCode::Forbidden,
            format!("room: `{verb}` in `{room}` is for the server alone"),
        ),
        (Access::Members, Verb::Publish) => denied(
            ErrorCode::NotJoined,
            format!("room: `{room}` is not joined, and only members publish there"),
        ),
        (Access::Members, Verb::History | Verb::Presence) => denied(
            ErrorCode::NotJoined,
            format!("room: `{room}` is not joined, and `{verb}` there is for members"),
        ),
        (Access::Users, _) => denied(
            ErrorCode::Unauthorized,
            format!("room: `{verb}` in `{room}` needs a token; any will do"),
        ),
        _ if has_token => denied(
            ErrorCode::Forbidden,
            format!("room: the token does not grant `{verb}` in `{room}`"),
        ),
        _ => denied(
            ErrorCode::Unauthorized,
            format!("room: `{verb}` in `{room}` needs a token that grants it"),
        ),
    }
}

/// Who may do something in the rooms of a rule without a grant.
const fn access(verb: Verb, rule: &RoomRule) -> Access {
    match verb {
        Verb::Join => rule.join,
        Verb::Publish => rule.publish,
        Verb::History => rule.history.read,
        Verb::Presence => rule.members,
        // A message to a user has no room, and so no rule.
        Verb::Send => Access::Grant,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fanfare_shared::config::History;
    use serde_json::json;

    use super::*;

    const ACCESSES: [Access; 5] = [
        Access::Anyone,
        Access::Users,
        Access::Members,
        Access::Grant,
        Access::Server,
    ];

    fn rule(access: Access) -> RoomRule {
        RoomRule {
            join: access,
            publish: access,
            members: access,
            history: History {
                read: access,
                ..History::default()
            },
            ..RoomRule::default()
        }
    }

    fn credential(verbs: &[Verb]) -> Credential {
        let verbs: Vec<_> = verbs.iter().map(|verb| verb.as_str()).collect();
        let claim = json!({ "a": verbs });
        Credential {
            identity: Arc::default(),
            grants: Grants::read(claim.as_object().unwrap(), None).unwrap(),
            auto: Vec::new(),
            expires: 0,
            issued: None,
            id: None,
        }
    }

    /// Every combination of rule, token and membership, against what DESIGN says of each.
    #[test]
    fn a_rule_or_a_grant_gives_each_right() {
        for verb in Verb::ALL {
            let tokens = [None, Some(credential(&[])), Some(credential(&[verb]))];
            let others: Vec<_> = Verb::ALL.into_iter().filter(|one| *one != verb).collect();
            let useless = Some(credential(&others));
            for access in ACCESSES {
                for (token, is_member) in tokens
                    .iter()
                    .chain([&useless])
                    .flat_map(|token| [(token, false), (token, true)])
                {
                    let granted = token
                        .as_ref()
                        .is_some_and(|token| token.grants.of("a").has(verb));
                    let expected = match access {
                        _ if verb == Verb::Send => granted,
                        Access::Anyone => true,
                        Access::Users => token.is_some(),
                        Access::Members => is_member || granted,
                        Access::Grant => granted,
                        Access::Server => false,
                    };
                    let actor = Actor::Client {
                        credential: token.as_ref(),
                        is_member,
                        revoked: &[],
                    };
                    let decided = authorize(verb, "a", &rule(access), actor);
                    assert_eq!(decided.is_ok(), expected, "{verb} {access:?} {actor:?}");
                    if let Err(denied) = decided {
                        assert!(denied.message.contains("`a`"), "{denied:?}");
                        let names_verb = denied.message.contains(verb.as_str());
                        assert!(names_verb, "{denied:?}");
                    }
                    // Elsewhere the grant is worth nothing.
                    let elsewhere = authorize(verb, "b", &rule(Access::Grant), actor);
                    assert!(elsewhere.is_err());
                }
            }
        }
    }

    #[test]
    fn a_rule_says_who_may_publish() {
        let missing = |publish, is_member| {
            let rule = RoomRule {
                publish,
                ..RoomRule::default()
            };
            let actor = Actor::Client {
                credential: None,
                is_member,
                revoked: &[],
            };
            let decided = authorize(Verb::Publish, "a", &rule, actor);
            decided.map_err(|denied| denied.code)
        };
        for (publish, member, other) in [
            (Access::Anyone, Ok(()), Ok(())),
            (Access::Members, Ok(()), Err(ErrorCode::NotJoined)),
            (
                Access::Server,
                Err(ErrorCode::Forbidden),
                Err(ErrorCode::Forbidden),
            ),
            (
                Access::Grant,
                Err(ErrorCode::Unauthorized),
                Err(ErrorCode::Unauthorized),
            ),
        ] {
            assert_eq!(missing(publish, true), member, "{publish:?}");
            assert_eq!(missing(publish, false), other, "{publish:?}");
        }
    }

    #[test]
    fn a_rule_without_presence_shows_nobody() {
        let token = credential(&Verb::ALL);
        for presence in [true, false] {
            let rule = RoomRule {
                presence,
                ..RoomRule::default()
            };
            for (is_member, credential) in [(false, None), (true, Some(&token))] {
                let actor = Actor::Client {
                    credential,
                    is_member,
                    revoked: &[],
                };
                let decided = authorize(Verb::Presence, "a", &rule, actor);
                assert_eq!(decided.is_ok(), presence);
            }
        }
    }

    #[test]
    fn where_a_token_is_revoked_nothing_gives_a_right() {
        let token = credential(&Verb::ALL);
        let revoked = [RoomPattern::new("a*").unwrap()];
        let actor = Actor::Client {
            credential: Some(&token),
            is_member: true,
            revoked: &revoked,
        };
        for verb in Verb::ALL {
            for access in ACCESSES {
                let denied = authorize(verb, "a", &rule(access), actor).unwrap_err();
                assert_eq!(denied.code, ErrorCode::Forbidden);
                assert!(denied.message.contains("revoked"), "{denied:?}");
            }
        }
        let granted = authorize(Verb::Join, "b", &rule(Access::Anyone), actor);
        assert!(granted.is_ok());
    }
}
