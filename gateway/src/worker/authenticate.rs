//! The tokens of connections: taking the next one, and an end to those whose last one ran out.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_shared::code::{CloseCode, ErrorCode};
use fanfare_shared::{Authentication, Event, Identity, LeftReason, Member};

use super::Worker;
use super::connection::Connection;
use crate::auth::{Credential, OriginPolicy, Rejected};
use crate::dispatch;
use crate::http::credentials::{Credentials, Places};
use crate::http::response::{Response, Status};
use crate::session::Refusal;

/// Who a handshake is of.
pub(super) enum Identified {
    /// The client that its token names; nobody without one.
    Session(Option<Arc<Credential>>),
    /// A client that has to be told in a close frame why it is refused.
    Refused {
        /// With which code.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
}

impl Worker {
    /// Where to look for tokens; `None` where nobody asks for them, nor for origins.
    pub(super) fn token_places(&self) -> Option<Places<'_>> {
        let is_asked = self.shared.tokens.is_some() || self.shared.origins != OriginPolicy::Any;
        let auth = &self.config().auth;
        is_asked.then_some(Places {
            cookie: auth.cookie.as_deref(),
            query: auth.query,
        })
    }

    /// Finds out who a handshake is of.
    pub(super) async fn identify(
        &self,
        shown: Option<Credentials>,
    ) -> Result<Identified, Response> {
        let Some(shown) = shown else {
            return Ok(Identified::Session(None));
        };
        if let Some(origin) = &shown.origin
            && !self.shared.origins.allows(origin, &shown.host)
        {
            let origin = origin.escape_default();
            let message = format!(
                "Origin: pages of {origin} may not connect; auth.origins names those that may"
            );
            return Err(Response::error(Status::Forbidden, message));
        }
        let Some(tokens) = &self.shared.tokens else {
            return Ok(Identified::Session(None));
        };
        let rejected = match &shown.tokens[..] {
            [] if self.config().auth.anonymous => return Ok(Identified::Session(None)),
            [] => Rejected::Invalid(
                "none is here; send `Authorization: Bearer TOKEN`, or \
                offer the subprotocol fanfare.token.TOKEN beside your own"
                    .to_owned(),
            ),
            [token] => match tokens.check_anew(token).await {
                Ok(credential) => return Ok(Identified::Session(Some(Arc::new(credential)))),
                Err(rejected) => rejected,
            },
            _ => Rejected::Invalid("two are here, and not the same; send one".to_owned()),
        };
        let (code, reason) = match rejected {
            Rejected::Expired => (CloseCode::TokenExpired, rejected.to_string()),
            _ => (CloseCode::Unauthorized, rejected.to_string()),
        };
        if shown.is_blind {
            return Ok(Identified::Refused { code, reason });
        }
        Err(Response::error(Status::Unauthorized, reason))
    }

    /// What `welcome` says of a session's token.
    pub(super) fn authentication(&self, credential: Option<&Credential>) -> Authentication {
        match credential {
            _ if self.shared.tokens.is_none() => Authentication::Open,
            None => Authentication::Anonymous,
            Some(credential) => Authentication::Token {
                expires: Some(credential.expires),
            },
        }
    }

    /// Checks a token that a client sent, and lets it decide from now on.
    pub(super) fn authenticate(&self, connection: &Rc<Connection>, id: Option<u64>, token: &str) {
        let Some(tokens) = &self.shared.tokens else {
            let message = "auth: this node asks for no tokens; leave `auth` out";
            return dispatch::refuse(self, connection, id, ErrorCode::BadRequest, message);
        };
        match tokens.check(token) {
            Err(Rejected::UnknownKey(_)) if tokens.is_remote() => {
                let (tokens, token) = (Arc::clone(tokens), token.to_owned());
                // What is asked for behind it is for the new token to decide.
                connection.session.borrow_mut().begin_renewal();
                dispatch::later(self, connection, id, async move |worker, connection| {
                    let checked = tokens.check_anew(&token).await;
                    connection.session.borrow_mut().end_renewal();
                    if connection.is_open() {
                        worker.settle(connection, id, checked);
                    }
                    Ok(())
                });
            }
            checked => self.settle(connection, id, checked),
        }
    }

    fn settle(
        &self,
        connection: &Rc<Connection>,
        id: Option<u64>,
        checked: Result<Credential, Rejected>,
    ) {
        match checked {
            Ok(credential) => self.renew(connection, id, &Arc::new(credential)),
            Err(rejected) => {
                let message = rejected.to_string();
                dispatch::refuse(self, connection, id, ErrorCode::Unauthorized, &message);
            }
        }
    }

    fn renew(&self, connection: &Rc<Connection>, id: Option<u64>, credential: &Arc<Credential>) {
        let last = connection.identity();
        let renewed = connection
            .session
            .borrow_mut()
            .renew(Arc::clone(credential));
        let leave = match renewed {
            Ok(leave) => leave,
            Err(Refusal { code, message }) => {
                return dispatch::refuse(self, connection, id, code, &message);
            }
        };
        for membership in leave {
            dispatch::leave(self, connection, &membership);
            let left = Event::Left {
                id: None,
                room: membership.name.as_str(),
                reason: Some(LeftReason::Forbidden),
            };
            dispatch::say(self, connection, &left);
        }
        if last.as_ref() != Some(&credential.identity) {
            self.enter_anew(connection, &credential.identity);
        }
        let auth = Event::Auth {
            id,
            user: credential.identity.user.as_deref(),
            expires: Some(credential.expires),
        };
        dispatch::reply(self, connection, id, &auth);
    }

    /// Has the other members see the identity of the new token.
    fn enter_anew(&self, connection: &Connection, identity: &Arc<Identity>) {
        let session = connection.session.borrow();
        for membership in session.rooms() {
            if membership.rule.presence {
                let member = Member {
                    client: connection.client,
                    identity: Arc::clone(identity),
                };
                let announce = membership.rule.announce;
                self.roster().enter(&membership.name, member, announce);
            }
        }
    }

    /// Closes a connection whose token ran out a while ago.
    pub(super) fn end_expired(&self, connection: &Rc<Connection>, now: u64) {
        let session = connection.session.borrow();
        let expires = session.credential().map(|credential| credential.expires);
        drop(session);
        let grace = self.config().auth.grace.as_secs();
        if expires.is_some_and(|expires| now > expires.saturating_add(grace)) {
            self.close(connection, CloseCode::TokenExpired, "the token ran out");
        }
    }
}

/// Seconds since 1970.
pub(super) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
