//! The next token of a client.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use fanfare_shared::code::ErrorCode;
use fanfare_shared::{Event, Identity, LeftReason, Member};

use super::admission::leave;
use super::answers::later;
use super::endpoint::Endpoint as _;
use super::host::Host;
use super::mailbox::open_mailbox;
use super::replies::{refuse, reply, say};
use crate::auth::{Credential, Rejected};
use crate::session::Refusal;

/// Has a token that is yet to be checked decide once it is.
pub fn renew_later<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    id: Option<u64>,
    check: impl Future<Output = Result<Credential, Rejected>> + 'static,
) {
    // What is asked for behind it is for the new token to decide.
    endpoint.session().borrow_mut().hold();
    later(host, endpoint, id, async move |host, endpoint| {
        let checked = check.await;
        endpoint.session().borrow_mut().release();
        if endpoint.is_open() {
            renew(host, endpoint, id, checked);
        }
        Ok(())
    });
}

/// Lets a token decide from now on, or says why it does not.
pub fn renew<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    id: Option<u64>,
    checked: Result<Credential, Rejected>,
) {
    let checked = checked.and_then(|credential| {
        let is_revoked = host.hearing().revocations.borrow().has(&credential);
        if is_revoked {
            Err(Rejected::Revoked)
        } else {
            Ok(credential)
        }
    });
    match checked {
        Ok(credential) => take_up(host, endpoint, id, &Arc::new(credential)),
        Err(rejected) => {
            let message = rejected.to_string();
            refuse(host, endpoint, id, ErrorCode::Unauthorized, &message);
        }
    }
}

fn take_up<H: Host>(
    host: &H,
    endpoint: &Rc<H::Endpoint>,
    id: Option<u64>,
    credential: &Arc<Credential>,
) {
    let user = credential.identity.user.as_deref();
    if endpoint.session().borrow().user().is_none()
        && let Some(user) = user
        && let Err(message) = host.claim_user(endpoint, user)
    {
        return refuse(host, endpoint, id, ErrorCode::RateLimited, &message);
    }
    let mut session = endpoint.session().borrow_mut();
    let last = session.identity();
    let revoked = host
        .hearing()
        .revocations
        .borrow()
        .rooms_of(Some(credential));
    let renewed = session.renew(Arc::clone(credential)).map(|mut rooms| {
        rooms.append(&mut session.revoke(revoked));
        rooms
    });
    drop(session);
    let rooms = match renewed {
        Ok(rooms) => rooms,
        Err(Refusal { code, message }) => return refuse(host, endpoint, id, code, &message),
    };
    for membership in rooms {
        leave(host, endpoint, &membership);
        let left = Event::Left {
            id: None,
            room: membership.name.as_str(),
            reason: Some(LeftReason::Forbidden),
        };
        say(host, endpoint, &left);
    }
    if last.as_ref() != Some(&credential.identity) {
        enter_anew(host, endpoint, &credential.identity);
    }
    open_mailbox(host, &**endpoint);
    let auth = Event::Auth {
        id,
        user: credential.identity.user.as_deref(),
        expires: Some(credential.expires),
    };
    reply(host, endpoint, id, &auth);
}

/// Has the other members see the identity of the new token.
fn enter_anew<H: Host>(host: &H, endpoint: &H::Endpoint, identity: &Arc<Identity>) {
    let session = endpoint.session().borrow();
    for membership in session.rooms() {
        if membership.rule.presence {
            let member = Member {
                client: endpoint.client(),
                identity: Arc::clone(identity),
            };
            let announce = membership.rule.announce;
            host.roster().enter(&membership.name, member, announce);
        }
    }
}
