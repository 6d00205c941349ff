//! `fanfare ingest`: what publishes from within Redis.

use anyhow::anyhow;
use clap::Args;
use fanfare_broker::backend::redis::{Form, ingest};
use fanfare_shared::config::Config;

use super::args::{FileArg, sources};
use super::failure::Failure;
use super::output;

const EXAMPLES: &str = "\
Examples:
  fanfare ingest | redis-cli -x FUNCTION LOAD REPLACE
  redis-cli FCALL fanfare_publish 1 'fanfare:{lobby}' '{\"text\":\"hello\"}'";

/// Print a Redis function that publishes, for transactions that store something, too
///
/// An application that keeps its data in the Redis of the nodes publishes by it in MULTI and EXEC:
/// what is stored and the message about it are both there, or neither. It has the bounds of the
/// rooms' rules in it, so load it again when those change. Redis 7 or newer; with --script for EVAL,
/// Redis 6.2.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct IngestArgs {
    #[command(flatten)]
    file: FileArg,
    /// Print a script for EVAL, which takes the same keys and arguments
    #[arg(long, help_heading = "Output")]
    script: bool,
}

pub(super) fn run(args: IngestArgs) -> Result<(), Failure> {
    let config = Config::load(&sources(args.file))?;
    if config.redis.url.iter().count() > 1 && !config.redis.cluster {
        return Err(anyhow!(
            "redis.url names several Redis, and the nodes alone know which of them has a room; \
             publish by the HTTP API"
        )
        .into());
    }
    let form = if args.script {
        Form::Script
    } else {
        Form::Library
    };
    Ok(output::print(&ingest(&config, form))?)
}
