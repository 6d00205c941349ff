//! One request over HTTP, and its answer, on a connection of its own.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HOST};
use hyper::http::request::Builder;
use hyper_util::rt::TokioIo;

use super::endpoint::Endpoint;

/// An answer. Its body may be missing: cut short, or longer than was to be read.
pub(in crate::cli) type Answer = (StatusCode, anyhow::Result<Bytes>);

/// Asks without a body, and reads at most `most` bytes of the answer's. Waits for as long as it takes.
///
/// # Errors
///
/// [`hyper::Error`] where the connection was there, and no answer came.
pub(in crate::cli) async fn exchange(
    endpoint: &Endpoint,
    request: Builder,
    most: usize,
) -> anyhow::Result<Answer> {
    let stream = endpoint.dial().await?;
    let no_answer = || format!("{endpoint} did not answer with HTTP");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .with_context(no_answer)?;
    tokio::spawn(connection);
    let request = request
        .header(HOST, endpoint.authority())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .with_context(|| format!("cannot ask {endpoint}"))?;
    let response = sender.send_request(request).await.with_context(no_answer)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), most).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes);
    Ok((status, body.map_err(anyhow::Error::from_boxed)))
}
