//! The HTTP API as the commands ask it: where it is, the key, and what an error says.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use fanfare_shared::config::{Config, Secret};
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::args::{FileArg, sources, trust};
use super::client::{Endpoint, exchange};
use super::escape::printable;
use super::failure::{Failure, usage_error};
use super::output;
use super::own_port::own_port;

/// From connecting to the last byte of an answer. Nodes wait three seconds for each other.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Items on a page.
const PAGE: usize = 1_000;

/// Where the API is asked.
#[derive(Debug, Clone, Args)]
pub(super) struct ApiArgs {
    /// Address of a node's internal port, or unix: and the path of its socket [env: FANFARE_API_URL]
    /// [default: internal.listen of the configuration, with its api.key]
    ///
    /// The key comes from FANFARE_API_KEY. Without an address it may be that of the configuration.
    #[arg(long, value_name = "URL", help_heading = "Connection", value_parser = Endpoint::api)]
    api_url: Option<Endpoint>,
    /// Trust the authorities of this file for https://, in PEM [default: the public ones]
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    file: FileArg,
}

/// A node's API, and a key of it.
#[derive(Debug)]
pub(super) struct Api {
    endpoint: Endpoint,
    key: Secret,
}

/// Rooms or members, page by page.
#[derive(Deserialize)]
struct Page {
    #[serde(alias = "rooms", alias = "members")]
    items: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// What an error of the API says.
#[derive(Deserialize)]
struct Refusal {
    error: Refused,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

impl ApiArgs {
    /// Where the API is, by the flag, the environment or the configuration. The key of the
    /// configuration is shown to the node of that configuration alone.
    pub(super) fn api(self) -> Result<Api, Failure> {
        let given = |name| {
            env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        let key = given("FANFARE_API_KEY").map(Secret::new);
        let url = self.api_url.or_else(|| {
            let url = given("FANFARE_API_URL")?;
            let problem = |problem: String| usage_error(&format!("FANFARE_API_URL: {problem}"));
            Some(Endpoint::api(&url).unwrap_or_else(problem))
        });
        let no_key = |of: &str| anyhow!("no key of the API is given; set FANFARE_API_KEY{of}");
        if let Some(url) = url {
            let endpoint = match trust(self.ca.as_deref()) {
                Some(trust) => url.trusting(trust),
                None => url,
            };
            let key = key.ok_or_else(|| no_key(""))?;
            return Ok(Api { endpoint, key });
        }
        let config = Config::load(&sources(self.file))?;
        let endpoint = own_port(&config.internal, "/", "--api-url")?;
        let key = key.or(config.api.key);
        let key = key.ok_or_else(|| no_key(", or api.key in the configuration"))?;
        Ok(Api { endpoint, key })
    }
}

impl Api {
    /// Asks, and reads the answer. `path` is percent-encoded.
    pub(super) async fn ask(&self, method: Method, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(self.endpoint.below(path))
            .header(AUTHORIZATION, format!("Bearer {}", self.key.expose()));
        let answer = timeout(TIMEOUT, exchange(&self.endpoint, request, MAX_BODY)).await;
        let answer = answer.with_context(|| {
            let seconds = TIMEOUT.as_secs();
            format!("{} did not answer within {seconds} seconds", self.endpoint)
        });
        let (status, body) = answer??;
        if status.is_success() {
            return body.with_context(|| {
                let most = MAX_BODY / 1024 / 1024;
                format!(
                    "the answer of {} did not come whole, or is longer than {most} MiB",
                    self.endpoint
                )
            });
        }
        bail!(
            "{}: {}",
            self.endpoint,
            refusal(status, &body.unwrap_or_default())
        )
    }

    /// Reads an answer to GET.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.read(&self.ask(Method::GET, path).await?)
    }

    /// Reads what is answered.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> anyhow::Result<T> {
        let read = serde_json::from_slice(answer);
        read.with_context(|| format!("{} answered what is none of the API's", self.endpoint))
    }

    /// Prints every item of a list, page by page, until nobody reads on. `path` has a query, and
    /// `cursor` is its name for where a page begins.
    pub(super) async fn print_all(
        &self,
        path: &str,
        cursor: &str,
        mut line: impl FnMut(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let mut from = String::new();
        loop {
            let page: Page = self.get(&format!("{path}&limit={PAGE}{from}")).await?;
            let mut lines = String::new();
            for item in &page.items {
                lines.push_str(&line(item.get())?);
                lines.push('\n');
            }
            if !output::offer(lines.as_bytes())? {
                return Ok(());
            }
            let Some(next) = page.next else {
                return Ok(());
            };
            from = format!("&{cursor}={}", encoded(&next));
        }
    }
}

/// A name as part of an address.
pub(super) fn encoded(name: &str) -> impl std::fmt::Display {
    utf8_percent_encode(name, NON_ALPHANUMERIC)
}

/// What is wrong, and what to do about it.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let Ok(Refusal { error }) = serde_json::from_slice(body) else {
        return format!("answered {status}; is it the internal port of a node?");
    };
    let remedy = match status {
        StatusCode::UNAUTHORIZED => "; FANFARE_API_KEY has to be one of its keys",
        StatusCode::SERVICE_UNAVAILABLE => "; try again in a moment",
        _ => "",
    };
    format!("{}{remedy}", printable(&error.message))
}
