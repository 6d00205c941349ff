//! Arguments that several commands take, and what they stand for.

use std::env;
use std::future::Future;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use fanfare_shared::RoomName;
use fanfare_shared::config::{Secret, Sources};

use super::client::{Endpoint, Trust};
use super::failure::usage_error;

/// The file, for every command that reads the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FileArg {
    /// Configuration file [env: FANFARE_CONFIG] [default: ./fanfare.toml if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<PathBuf>,
}

/// Where `sub` and `pub` connect.
#[derive(Debug, Clone, Args)]
pub(super) struct UrlArg {
    /// WebSocket address of a node, or unix: and the path of its socket [env: FANFARE_URL]
    /// [default: ws://127.0.0.1:8080/ws]
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    url: Option<Endpoint>,
    /// Token to connect with, for nodes that ask for one [env: FANFARE_TOKEN]
    ///
    /// The variable is the better place: other users of this machine see arguments.
    #[arg(long, value_name = "TOKEN", help_heading = "Connection")]
    token: Option<String>,
    /// Trust the authorities of this file for wss://, in PEM [default: the public ones]
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    ca: Option<PathBuf>,
}

impl UrlArg {
    /// The flag's address, the environment's (an empty one counts as none), or the default.
    pub(super) fn endpoint(self) -> Endpoint {
        let variable = || env::var("FANFARE_TOKEN").ok();
        let token = self
            .token
            .or_else(variable)
            .filter(|token| !token.is_empty());
        let endpoint = Self::address(self.url).with_token(token.map(Secret::new));
        match trust(self.ca.as_deref()) {
            Some(trust) => endpoint.trusting(trust),
            None => endpoint,
        }
    }

    fn address(url: Option<Endpoint>) -> Endpoint {
        if let Some(endpoint) = url {
            return endpoint;
        }
        let url = env::var_os("FANFARE_URL").filter(|url| !url.is_empty());
        let url = url.unwrap_or_else(|| "ws://127.0.0.1:8080/ws".into());
        Endpoint::ws(&url.to_string_lossy())
            .unwrap_or_else(|problem| usage_error(&format!("FANFARE_URL: {problem}")))
    }
}

/// The authorities of `--ca`.
pub(super) fn trust(file: Option<&Path>) -> Option<Trust> {
    let trust = file.map(|file| Trust::authorities(Some(file)));
    trust.map(|trust| trust.unwrap_or_else(|problem| usage_error(&format!("--ca: {problem}"))))
}

/// The file and this process's environment, without flags.
pub(super) fn sources(file: FileArg) -> Sources {
    // A variable that is not UTF-8 is refused by its key's check, not by a panic here.
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Sources {
        file: file.config,
        env: env::vars_os()
            .map(|(name, value)| (lossy(name), lossy(value)))
            .collect(),
        flags: Vec::new(),
    }
}

/// Takes a room's name from the command line.
pub(super) fn room_name(text: &str) -> Result<RoomName, String> {
    RoomName::new(text).map_err(|error| error.to_string())
}

/// Runs a client on this thread. What still blocks on a pipe when it is done is left behind.
pub(super) fn block_on<F: Future>(client: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let output = runtime.block_on(client);
    runtime.shutdown_background();
    Ok(output)
}
