//! The tokens of connections: taking the next one, and an end to those whose last one ran out.

use std::rc::Rc;
use std::sync::Arc;

use fanfare_shared::Authentication;
use fanfare_shared::code::{CloseCode, ErrorCode};

use super::Worker;
use super::connection::Connection;
use crate::auth::{Credential, OriginPolicy, Rejected, Tokens};
use crate::dispatch;
use crate::http::credentials::{Credentials, Places};
use crate::http::response::{Response, Status};

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
            [token] => match self.check(tokens, token).await {
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

    /// Checks a token, also for whether it was taken back, once that is known.
    async fn check(&self, tokens: &Tokens, token: &str) -> Result<Credential, Rejected> {
        let credential = tokens.check_anew(token).await?;
        let informed = self.informed.notified();
        if !self.hearing.is_informed() {
            informed.await;
        }
        if self.hearing.revocations.borrow().has(&credential) {
            return Err(Rejected::Revoked);
        }
        Ok(credential)
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
                let check = async move { tokens.check_anew(&token).await };
                dispatch::renew_later(self, connection, id, check);
            }
            checked => dispatch::renew(self, connection, id, checked),
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
