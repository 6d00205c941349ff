//! The node's log: one subscriber for the process, on standard error, for a person or for a
//! machine.

use std::env;
use std::io::{self, IsTerminal};

use anyhow::{Context, anyhow};
use fanfare_shared::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log; once per process.
pub(crate) fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .with_context(|| format!("log.level = {:?}", log.level))?;
    let terminal = io::stderr().is_terminal();
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = if human {
        // See https://no-color.org.
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.with_ansi(colour).finish().try_init()
    } else {
        builder.json().flatten_event(true).finish().try_init()
    };
    started.map_err(|error| anyhow!("cannot start the log: {error}"))
}
