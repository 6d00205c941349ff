//! Whether the node takes another connection of an address and of a user.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::Worker;
use super::connection::Connection;
use super::quotas::Claims;
use crate::http::response::{Response, Status};
use crate::metrics::Limited;
use crate::quota::Exceeded;

impl Worker {
    /// Whether the node takes another handshake, and from this address, before anything else is looked
    /// at.
    pub(super) fn claim(&self, address: Option<IpAddr>) -> Result<Claims, Response> {
        let quotas = &self.shared.quotas;
        if quotas.memory_is_full.load(Ordering::Relaxed) {
            self.shared.metrics.limited(Limited::Memory);
            let message = "the node has as much memory as it may (limits.memory)".to_owned();
            return Err(Response::error(Status::Unavailable, message));
        }
        let claim = match (&quotas.addresses, address) {
            (Some(quota), Some(address)) => Some(quota.claim(address.into())),
            _ => None,
        };
        let address = claim.transpose().map_err(|exceeded| {
            self.shared.metrics.limited(Limited::Address);
            let message = match exceeded {
                Exceeded::Held(most) => format!(
                    "this address has {most} connections, which is all it may \
                     (limits.connections_per_address)"
                ),
                Exceeded::Rate => "too many handshakes from this address; try again in a second \
                                   (limits.handshakes_per_address)"
                    .to_owned(),
            };
            Response::error(Status::TooMany, message)
        })?;
        if !quotas.take_handshake() {
            self.shared.metrics.limited(Limited::Handshakes);
            let message = "too many handshakes; try again in a second \
                           (limits.handshakes_per_second)";
            return Err(Response::error(Status::Unavailable, message.to_owned()));
        }
        Ok(Claims {
            _address: address,
            user: None,
        })
    }

    /// Counts a connection of a user; says why it may not be.
    pub(super) fn claim_user(&self, claims: &mut Claims, user: Option<&str>) -> Result<(), String> {
        let (Some(quota), Some(user)) = (&self.shared.quotas.users, user) else {
            return Ok(());
        };
        if claims.user.is_some() {
            return Ok(());
        }
        match quota.claim(user.into()) {
            Ok(claim) => {
                claims.user = Some(claim);
                Ok(())
            }
            Err(_) => {
                self.shared.metrics.limited(Limited::User);
                let most = self.limits().connections_per_user;
                Err(format!(
                    "the user has {most} connections, which is all it may \
                     (limits.connections_per_user)"
                ))
            }
        }
    }

    /// The same for one that is open, whose user became known.
    pub(super) fn claim_user_of(&self, connection: &Connection, user: &str) -> Result<(), String> {
        self.claim_user(&mut connection.claims.borrow_mut(), Some(user))
    }
}
