//! `fanfare check-config`: what a node would run with, or why it would not.

use anyhow::Context;
use clap::Args;
use fanfare_shared::config::Config;

use super::args::{FileArg, sources};
use super::failure::Failure;
use super::output;
use crate::auth::Tokens;
use crate::stream::{Certificate, Files};

/// Print the configuration that a node would run with
///
/// Joins the defaults, the file and the environment as `fanfare serve` does, reads the files of
/// certificates and keys that it names, and prints the result as TOML that can serve as a file.
/// Passwords show as ***. A mistake is told in one line, and the exit code is 78.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    #[command(flatten)]
    file: FileArg,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) fn run(args: CheckConfigArgs) -> Result<(), Failure> {
    let config = Config::load(&sources(args.file))?;
    for files in [
        Files::of_public(&config.tls)?,
        Files::of_internal(&config.internal.tls)?,
    ] {
        files.map(Certificate::read).transpose()?;
    }
    Tokens::new(&config.auth).map_err(anyhow::Error::from)?;
    let mut text = if args.json {
        serde_json::to_string_pretty(&config).context("cannot print the configuration")?
    } else {
        config.effective_toml()
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(output::print(&text)?)
}
