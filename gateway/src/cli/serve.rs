//! `fanfare serve`: from flags to a configuration, a log and a running node.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use fanfare_shared::config::Config;

use super::args::{FileArg, sources};
use super::failure::Failure;
use crate::{log, node, signals};

/// How much longer than `drain.timeout` a stop may take.
const STUCK: Duration = Duration::from_secs(10);

const NOTES: &str = "\
Exit codes: 0 stopped cleanly, 1 failed, 2 wrong usage, 78 bad configuration.

Every key of the configuration has an environment variable: limits.max_message is
FANFARE_LIMITS__MAX_MESSAGE. A flag beats its variable, which beats the file. `fanfare
check-config` prints every key with its value.

SIGTERM and Ctrl-C stop in good order, over drain.window; a second one stops at once.";

/// Run a node (what fanfare does without a command)
#[derive(Debug, Default, Args)]
#[command(after_help = NOTES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    file: FileArg,
    /// Address for clients [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    listen: Option<String>,
    /// Address for health and metrics [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    internal_listen: Option<String>,
    /// Name of this node [default: host name and four random digits]
    #[arg(long, value_name = "NAME", help_heading = "Node")]
    node: Option<String>,
    /// Redis that links the nodes, or several with commas in between [default: none, the node
    /// works alone]
    #[arg(long, value_name = "URL", help_heading = "Node")]
    redis: Option<String>,
    /// Wait for Redis at the start instead of giving up
    #[arg(long, help_heading = "Node")]
    pub(super) wait: bool,
    /// Worker threads; 0 is one per core [default: 0]
    #[arg(long, value_name = "N", help_heading = "Node")]
    workers: Option<String>,
    /// Log lines on standard error: auto, human or json [default: auto]
    #[arg(long, value_name = "FORMAT", help_heading = "Node")]
    log_format: Option<String>,
}

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let wait = args.wait;
    let mut sources = sources(args.file);
    // Values go to the configuration as they were written, so that one place checks them.
    sources.flags = [
        ("listen", args.listen),
        ("internal.listen", args.internal_listen),
        ("node", args.node),
        ("redis.url", args.redis),
        ("workers", args.workers),
        ("log.format", args.log_format),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect();
    let config = Config::load(&sources)?;
    log::init(&config.log)?;
    let stops = signals::stops(config.drain.timeout + STUCK)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Sockets and the backend have threads of their own; this one has the internal port.
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(node::run(config, wait, stops));
    // The drain was the time to finish; what still blocks now would only hold up the exit.
    runtime.shutdown_background();
    log::flush();
    Ok(result?)
}
