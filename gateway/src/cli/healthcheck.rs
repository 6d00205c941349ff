//! `fanfare healthcheck`: the probe of container platforms that cannot speak HTTP themselves.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fanfare_shared::config::Config;
use hyper::{Request, StatusCode};
use tokio::time;

use super::args::{FileArg, block_on, sources, trust};
use super::client::{Endpoint, exchange};
use super::escape::printable;
use super::failure::Failure;
use super::output;
use super::own_port::own_port;

/// From connecting to the last byte of the answer; a slower one counts as none.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How often to ask where the connection ends without an answer: a node whose internal port is
/// flooded may have needed its place for another.
const ATTEMPTS: usize = 3;

/// The most that is read of an answer; of more, nothing is shown.
const MAX_BODY: usize = 4096;

/// Ask the node of this host whether it is ready
///
/// Asks /readyz of the internal listener, whose address comes from the configuration. Exit code 0
/// when the node is ready, 1 when it is not or does not answer within 2 seconds.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    file: FileArg,
    /// Ask this address instead [default: /readyz at internal.listen]
    #[arg(long, value_name = "URL", help_heading = "Connection", value_parser = Endpoint::http)]
    url: Option<Endpoint>,
    /// Trust the authorities of this file for an https:// address, in PEM [default: the public ones]
    #[arg(
        long,
        value_name = "FILE",
        requires = "url",
        help_heading = "Connection"
    )]
    ca: Option<PathBuf>,
}

pub(super) fn run(args: HealthcheckArgs) -> Result<(), Failure> {
    let endpoint = match args.url {
        Some(endpoint) => match trust(args.ca.as_deref()) {
            Some(trust) => endpoint.trusting(trust),
            None => endpoint,
        },
        None => own_port(
            &Config::load(&sources(args.file))?.internal,
            "/readyz",
            "--url",
        )?,
    };
    let answer = block_on(async { time::timeout(TIMEOUT, ask(&endpoint)).await })?;
    let (status, said) = match answer {
        Ok(answer) => answer?,
        Err(_) => Err(anyhow::anyhow!(
            "{endpoint} did not answer within {} seconds",
            TIMEOUT.as_secs()
        ))?,
    };
    if status.is_success() {
        // The exit code is the answer; a closed output takes nothing from it.
        let _ = output::print(&format!("{said}\n"));
        Ok(())
    } else {
        Err(anyhow::anyhow!("{endpoint} is not ready ({status}): {said}").into())
    }
}

/// What [`get`] answers, asked once more where the connection was cut before an answer.
async fn ask(endpoint: &Endpoint) -> anyhow::Result<(StatusCode, String)> {
    for _ in 1..ATTEMPTS {
        match get(endpoint).await {
            Err(error) if was_cut(&error) => {}
            answer => return answer,
        }
    }
    get(endpoint).await
}

/// Whether the connection was there, and ended without an answer of any kind.
fn was_cut(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<hyper::Error>();
    error.is_some_and(|error| !error.is_parse() && !error.is_user())
}

/// The status and the first line of the body, or what stands for it.
async fn get(endpoint: &Endpoint) -> anyhow::Result<(StatusCode, String)> {
    let request = Request::get(endpoint.path());
    let (status, body) = exchange(endpoint, request, MAX_BODY).await?;
    let text = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    let first = match text.lines().next() {
        Some(line) if !line.trim().is_empty() => printable(line.trim()),
        _ if status.is_success() => "ready".to_owned(),
        _ => "it does not say why".to_owned(),
    };
    Ok((status, first))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_cut_before_the_answer_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let endpoint = Endpoint::http(&format!("http://{address}/readyz")).expect("a URL");
        let node = async {
            for _ in 1..ATTEMPTS {
                drop(listener.accept().await.expect("a connection"));
            }
            let (mut asked, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let count = asked.read(&mut request).await.expect("a request");
            assert!(count > 0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n";
            asked.write_all(answer).await.expect("to answer");
        };
        let (answer, ()) = tokio::join!(ask(&endpoint), node);
        assert_eq!(answer.expect("an answer"), (StatusCode::OK, "ready".into()));
    }
}
