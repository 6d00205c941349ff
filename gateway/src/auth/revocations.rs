//! Tokens that are good by their signature and are no longer to be.
//!
//! Each node has all of them in memory. One that a token names by `jti` costs a look-up; those by user
//! and by room are looked at for each token, and again for each session when one more comes.

use std::collections::HashMap;

use ahash::RandomState;
use fanfare_shared::config::RoomPattern;
use serde::{Deserialize, Serialize};

use super::token::Credential;

/// The most revocations that are in force at once.
pub const MAX_REVOCATIONS: usize = 50_000;

/// What is revoked, as nodes tell each other of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Which tokens.
    #[serde(flatten)]
    pub of: Revoked,
    /// Until when, in seconds since 1970: later no such token is good anyway.
    pub until: u64,
}

/// Which tokens are revoked. Times are in seconds since 1970; a token that does not say when it was
/// issued counts as one of before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Revoked {
    /// One token.
    Token {
        /// Its `jti`.
        jti: Box<str>,
    },
    /// A user's tokens.
    User {
        /// The user.
        user: Box<str>,
        /// Those that were issued then or before.
        issued_before: u64,
    },
    /// What tokens grant, and rules give, in some rooms.
    Room {
        /// The pattern of their names.
        room: Box<str>,
        /// Only of this user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<Box<str>>,
        /// To tokens that were issued then or before.
        issued_before: u64,
    },
}

/// All that is revoked.
#[derive(Debug, Default)]
pub struct Revocations {
    /// By `jti`, until when.
    tokens: HashMap<Box<str>, u64, RandomState>,
    /// By user: those issued up to when, until when.
    users: HashMap<Box<str>, (u64, u64), RandomState>,
    rooms: Vec<InRooms>,
}

#[derive(Debug)]
struct InRooms {
    pattern: RoomPattern,
    user: Option<Box<str>>,
    issued_before: u64,
    until: u64,
}

impl Revocations {
    /// Takes one more. Where there are [`MAX_REVOCATIONS`], or it is over, it changes nothing.
    pub fn add(&mut self, revocation: &Revocation, now: u64) {
        let until = revocation.until;
        if until <= now || self.len() >= MAX_REVOCATIONS {
            return;
        }
        match &revocation.of {
            Revoked::Token { jti } => {
                let known = self.tokens.entry(jti.clone()).or_default();
                *known = until.max(*known);
            }
            Revoked::User {
                user,
                issued_before,
            } => {
                let known = self.users.entry(user.clone()).or_default();
                *known = (known.0.max(*issued_before), known.1.max(until));
            }
            Revoked::Room {
                room,
                user,
                issued_before,
            } => {
                // Who wrote it has checked it.
                let Ok(pattern) = RoomPattern::new(room) else {
                    return;
                };
                self.rooms.push(InRooms {
                    pattern,
                    user: user.clone(),
                    issued_before: *issued_before,
                    until,
                });
            }
        }
    }

    /// Lets go of those that are over.
    pub fn forget(&mut self, now: u64) {
        self.tokens.retain(|_, until| *until > now);
        self.users.retain(|_, (_, until)| *until > now);
        self.rooms.retain(|revoked| revoked.until > now);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len() + self.rooms.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a token is good for nothing any more.
    #[must_use]
    pub fn has(&self, credential: &Credential) -> bool {
        let token = credential.id.as_deref();
        if token.is_some_and(|token| self.tokens.contains_key(token)) {
            return true;
        }
        let user = credential.identity.user.as_deref();
        let revoked = user.and_then(|user| self.users.get(user));
        revoked.is_some_and(|(issued_before, _)| was_issued_by(credential, *issued_before))
    }

    /// The rooms in which a token, or none, is good for nothing any more.
    #[must_use]
    pub fn rooms_of(&self, credential: Option<&Credential>) -> Box<[RoomPattern]> {
        let user = credential.and_then(|credential| credential.identity.user.as_deref());
        let revoked = self.rooms.iter().filter(|revoked| {
            let is_meant = revoked.user.is_none() || revoked.user.as_deref() == user;
            // Nobody without a token can get a newer one.
            let is_older = credential
                .is_some_and(|credential| was_issued_by(credential, revoked.issued_before));
            is_meant && is_older
        });
        revoked.map(|revoked| revoked.pattern.clone()).collect()
    }
}

fn was_issued_by(credential: &Credential, time: u64) -> bool {
    credential.issued.is_none_or(|issued| issued <= time)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fanfare_shared::Identity;

    use super::*;
    use crate::auth::Grants;

    const NOW: u64 = 1_000;

    fn credential(user: &str, id: &str, issued: Option<u64>) -> Credential {
        let identity = Identity {
            user: Some(user.into()),
            info: None,
        };
        Credential {
            identity: Arc::new(identity),
            grants: Grants::default(),
            auto: Vec::new(),
            expires: u64::MAX,
            issued,
            id: Some(id.into()),
        }
    }

    fn revocations(of: Revoked) -> Revocations {
        let mut revocations = Revocations::default();
        revocations.add(&Revocation { of, until: 2_000 }, NOW);
        assert_eq!(revocations.len(), 1);
        revocations
    }

    #[test]
    fn one_token_is_revoked_by_its_id() {
        let revoked = revocations(Revoked::Token { jti: "a".into() });
        assert!(revoked.has(&credential("ann", "a", Some(NOW))));
        assert!(!revoked.has(&credential("ann", "b", Some(NOW))));
    }

    #[test]
    fn a_users_older_tokens_are_revoked() {
        let revoked = revocations(Revoked::User {
            user: "ann".into(),
            issued_before: 500,
        });
        assert!(revoked.has(&credential("ann", "a", Some(499))));
        assert!(revoked.has(&credential("ann", "a", Some(500))));
        assert!(
            revoked.has(&credential("ann", "a", None)),
            "it may be older"
        );
        assert!(!revoked.has(&credential("ann", "a", Some(501))));
        assert!(!revoked.has(&credential("bob", "a", Some(499))));
    }

    #[test]
    fn rooms_are_revoked_of_all_or_of_one() {
        for user in [None, Some("ann")] {
            let revoked = revocations(Revoked::Room {
                room: "chat:*".into(),
                user: user.map(Into::into),
                issued_before: 500,
            });
            let rooms = |user, issued| revoked.rooms_of(Some(&credential(user, "a", issued)));
            assert!(rooms("ann", Some(500))[0].matches("chat:1"));
            assert!(rooms("ann", Some(501)).is_empty());
            assert_eq!(rooms("bob", None).is_empty(), user.is_some());
            assert!(!revoked.has(&credential("ann", "a", None)));
            assert!(revoked.rooms_of(None).is_empty());
        }
    }

    #[test]
    fn a_revocation_ends_and_a_longer_one_stays() {
        let jti = || Revoked::Token { jti: "a".into() };
        let mut revoked = revocations(jti());
        revoked.add(
            &Revocation {
                of: jti(),
                until: 3_000,
            },
            NOW,
        );
        revoked.forget(2_500);
        assert!(revoked.has(&credential("ann", "a", None)));
        revoked.forget(3_000);
        assert!(revoked.is_empty());
        revoked.add(
            &Revocation {
                of: jti(),
                until: NOW,
            },
            NOW,
        );
        assert!(revoked.is_empty(), "it was over before it came");
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut revocations = Revocations::default();
        for number in 0..MAX_REVOCATIONS + 5 {
            let jti = number.to_string().into();
            let of = Revoked::Token { jti };
            revocations.add(&Revocation { of, until: 2_000 }, NOW);
        }
        assert_eq!(revocations.len(), MAX_REVOCATIONS);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for of in [
            Revoked::Token { jti: "a".into() },
            Revoked::User {
                user: "ann".into(),
                issued_before: 7,
            },
            Revoked::Room {
                room: "chat:*".into(),
                user: None,
                issued_before: 7,
            },
        ] {
            let revocation = Revocation { of, until: 9 };
            let text = serde_json::to_string(&revocation).unwrap();
            let read: Revocation = serde_json::from_str(&text).unwrap();
            assert_eq!(read, revocation, "{text}");
        }
    }
}
