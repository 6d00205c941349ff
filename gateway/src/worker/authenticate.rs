//! The tokens of connections: taking the next one, and an end to those whose last one ran out.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use fanfare_shared::Authentication;
use fanfare_shared::code::{CloseCode, ErrorCode};

use super::Worker;
use super::connection::Connection;
use crate::auth::{Credential, OriginPolicy, Rejected, Tokens};
use crate::dispatch;
use crate::hook::{Connect, Hook, Hooks, Question, Verdict};
use crate::http::credentials::{Credentials, Places};
use crate::http::response::{Response, Status};

const NO_TOKEN: &str = "none is here; send `Authorization: Bearer TOKEN`, or offer the subprotocol \
                        fanfare.token.TOKEN beside your own";

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
        let hooks = self.connect_hook();
        let is_asked = self.shared.tokens.is_some()
            || self.shared.origins != OriginPolicy::Any
            || hooks.is_some();
        let auth = &self.config().auth;
        is_asked.then_some(Places {
            cookie: auth.cookie.as_deref(),
            query: auth.query,
            headers: hooks.map_or(&[], |hooks| hooks.headers()),
        })
    }

    /// Finds out who a handshake is of, and whether the application lets it.
    pub(super) async fn identify(
        &self,
        shown: Option<Credentials>,
        address: Option<IpAddr>,
    ) -> Result<Identified, Response> {
        let Some(mut shown) = shown else {
            return Ok(Identified::Session(None));
        };
        let Some(hooks) = self.connect_hook() else {
            return self.identify_by_token(&shown).await;
        };
        let connect = Connect {
            address,
            headers: std::mem::take(&mut shown.headers),
            origin: shown.origin.clone(),
        };
        let credential = match self.identify_by_token(&shown).await? {
            Identified::Session(credential) => credential,
            refused @ Identified::Refused { .. } => return Ok(refused),
        };
        let identity = credential.as_ref().map(|credential| &*credential.identity);
        let question = Question::connect(identity, &connect);
        let (status, code, reason) = match hooks.ask(question).await {
            Verdict::Allowed(claims) => match claims.or(credential) {
                None if self.shared.tokens.is_some() && !self.config().auth.anonymous => {
                    let reason = Rejected::Invalid(NO_TOKEN.to_owned()).to_string();
                    (Status::Unauthorized, CloseCode::Unauthorized, reason)
                }
                decides => return Ok(Identified::Session(decides)),
            },
            Verdict::Denied(reason) => {
                (Status::Forbidden, CloseCode::Forbidden, reason.to_string())
            }
            Verdict::Unknown => {
                let reason = "the application did not say whether you may connect; try again";
                let reason = reason.to_owned();
                (Status::Unavailable, CloseCode::Overloaded, reason)
            }
        };
        if shown.is_blind {
            return Ok(Identified::Refused { code, reason });
        }
        Err(Response::error(status, reason))
    }

    /// The application's backend, where it is asked who may connect.
    pub(super) fn connect_hook(&self) -> Option<&Arc<Hooks>> {
        let hooks = self.shared.hooks.as_ref();
        hooks.filter(|hooks| hooks.has(Hook::Connect))
    }

    async fn identify_by_token(&self, shown: &Credentials) -> Result<Identified, Response> {
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
            // The hook may know the client by something else.
            [] if self.config().auth.anonymous || self.connect_hook().is_some() => {
                return Ok(Identified::Session(None));
            }
            [] => Rejected::Invalid(NO_TOKEN.to_owned()),
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
            None if self.shared.tokens.is_none() => Authentication::Open,
            None => Authentication::Anonymous,
            Some(credential) => Authentication::Token {
                expires: Some(credential.expires).filter(|expires| *expires < u64::MAX),
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
