//! The hub's posts, one after the other.

use std::sync::Arc;

use fanfare_broker::Post;
use fanfare_shared::Hidden;
use tokio::task::yield_now;

use super::admission::{Joined, joined};
use super::control::{begin, carry_out, refused};
use super::deliver::deliver;
use super::endpoint::Endpoint as _;
use super::host::Host;
use super::members::{notify, reset};
use super::replies::refuse_backend;

/// Takes whatever the hub has, appends it to the outboxes, and writes each socket once. Never ends.
pub async fn fan_out<H: Host>(host: &H) {
    let inbox = Arc::clone(host.inbox());
    let mut batch = Vec::new();
    loop {
        inbox.take(&mut batch).await;
        let alone = batch.len() == 1;
        for post in batch.drain(..) {
            take_post(host, post, alone).await;
            host.turn().pause().await;
        }
        host.flush().await;
        // Other threads may fill the inbox as fast as it is emptied; clients and Redis, which
        // this one has to read, too, must not wait for that to end.
        if !inbox.is_empty() {
            yield_now().await;
        }
    }
}

/// `alone` says that there is nothing else to do just now.
async fn take_post<H: Host>(host: &H, post: Post, alone: bool) {
    match post {
        Post::Publication { room, delivery } => match delivery.publication().room.hidden() {
            Some(Hidden::Nodes(_)) => carry_out(host, delivery.publication()).await,
            _ => deliver(host, room, &delivery, alone).await,
        },
        Post::Notice { room, notice } => notify(host, room, &notice).await,
        Post::Joined {
            ticket,
            room,
            name,
            position,
            recovered,
            messages,
        } => {
            if name.hidden().is_some() {
                return begin(host, &name, &messages).await;
            }
            let answer = Joined {
                room,
                name,
                position,
                recovered,
                messages,
            };
            joined(host, ticket, answer).await;
        }
        Post::Refused {
            ticket,
            name,
            error,
        } => {
            if name.hidden().is_some() {
                return refused(host, &name);
            }
            if let Some(endpoint) = host.endpoint_of(ticket) {
                endpoint.session().borrow_mut().joined(&name);
                refuse_backend(host, &endpoint, ticket.id, &error);
                endpoint.wake_reader();
            }
        }
        Post::Settled { ticket, failed } => {
            if let Some(endpoint) = host.endpoint_of(ticket) {
                if let Some(error) = failed {
                    refuse_backend(host, &endpoint, ticket.id, &error);
                }
                endpoint.wake_reader();
            }
        }
        Post::Reset {
            room,
            name,
            position,
        } => {
            // What all nodes were told and is lost, they know still.
            if name.hidden().is_none() {
                reset(host, room, &name, position).await;
            }
        }
    }
}
