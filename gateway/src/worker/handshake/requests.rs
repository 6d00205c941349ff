//! Plain HTTP on a connection that began with no handshake: one request after the other, and
//! perhaps a handshake in the end, as proxies send it that keep their connections.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;

use super::super::authenticate::Identified;
use super::super::{Load, Worker};
use super::Seat;
use crate::http::credentials;
use crate::http::forwarded;
use crate::http::handshake::{self, Outcome, Upgrade};
use crate::http::head;
use crate::http::places::Place;
use crate::http::rewound::Rewound;
use crate::metrics::Handshake;
use crate::stream::Stream;

/// How long the next request may take to arrive. Short: who asks for the page asks for all of its
/// files at once.
const KEPT: Duration = Duration::from_secs(5);

/// How long a connection may go on at all, before it ends with the answer that it is at.
const LONGEST: Duration = Duration::from_secs(60);

/// The least that hyper takes for the bytes of a head.
const LEAST_BUFFER: usize = 8192;

/// The most headers of a request, as in a handshake.
const MAX_HEADERS: usize = 512;

/// A WebSocket that begins once its response is written.
struct Begun {
    seat: Seat,
    upgrade: Upgrade,
    identified: Identified,
    stream: OnUpgrade,
}

impl Worker {
    /// Answers requests until the peer has no more, is silent for too long, or another has the
    /// place. `received` begins with the first.
    pub(super) async fn answer_requests(
        self: &Rc<Self>,
        stream: Stream,
        received: Vec<u8>,
        place: &Place,
        load: Load,
        client: Option<IpAddr>,
    ) {
        let begun = RefCell::new(None);
        let service = service_fn(async |request| {
            let response = self.answer_request(request, &begun, client).await;
            Ok::<_, Infallible>(response)
        });
        let limits = self.limits();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEPT.min(limits.handshake_timeout))
            .max_buf_size(limits.handshake_bytes.max(LEAST_BUFFER))
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(Rewound::new(stream, received)), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let outcome = tokio::select! {
            biased;
            outcome = connection.as_mut() => Some(outcome),
            () = self.drain_begins() => None,
            () = tokio::time::sleep(LONGEST) => None,
            () = place.lost() => return,
        };
        let outcome = match outcome {
            Some(outcome) => Ok(outcome),
            None => {
                connection.as_mut().graceful_shutdown();
                timeout(limits.handshake_timeout, connection).await
            }
        };
        if let Ok(Err(error)) = outcome {
            tracing::debug!(%error, "a connection in plain HTTP failed");
        }
        if let Some(begun) = begun.take() {
            begun.start(load).await;
        }
    }

    async fn answer_request(
        &self,
        mut request: Request<Incoming>,
        begun: &RefCell<Option<Begun>>,
        client: Option<IpAddr>,
    ) -> Response<Body> {
        let head = head::of_request(&request);
        let refused = match handshake::read(&head, usize::MAX, self.shared.doors.entrances()) {
            Outcome::Upgrade(upgrade) => {
                let shown = self
                    .token_places()
                    .map(|places| credentials::read(&head, places));
                let client = client.map(|peer| {
                    let proxy = &self.config().proxy;
                    forwarded::client(&head, peer, proxy)
                });
                match self.enter(shown, client).await {
                    Ok((seat, identified)) => {
                        let response = head::response(&upgrade.response);
                        begun.replace(Some(Begun {
                            seat,
                            upgrade,
                            identified,
                            stream: on(&mut request),
                        }));
                        return response;
                    }
                    Err(response) => Some(response),
                }
            }
            Outcome::Respond(response) => Some(response),
            // Whatever else hyper has read as a request.
            Outcome::Request | Outcome::Partial => None,
        };
        let response = match refused {
            Some(refused) => head::response(&refused.encode()),
            None => {
                let router = TowerToHyperService::new(self.shared.router.clone());
                router
                    .call(request)
                    .await
                    .unwrap_or_else(|never| match never {})
            }
        };
        let answered = Handshake::of(response.status().as_u16());
        self.shared.metrics.handshake(answered);
        response
    }
}

impl Begun {
    /// Takes the stream back from hyper, with what it has read of it too much.
    async fn start(self, load: Load) {
        let Self {
            seat,
            upgrade,
            identified,
            stream,
        } = self;
        let Ok(upgraded) = stream.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Rewound>>() else {
            return;
        };
        let (stream, unread) = parts.io.into_inner().into_parts();
        let first = [&parts.read_buf[..], &unread[..]].concat();
        let upgrade = Upgrade {
            // It is written.
            response: Vec::new(),
            ..upgrade
        };
        seat.start(stream, upgrade, identified, first, load);
    }
}
