//! The command line: what can be asked for, and how failure is told.
//!
//! `main` parses and runs; each command has a file. Invariant: what a command produces goes to
//! standard output, everything else to standard error, a failure as one line.

mod check_config;
mod client;
mod escape;
mod healthcheck;
mod output;
mod publish;
mod serve;
mod sub;

use std::env;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{self, ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use fanfare_shared::RoomName;
use fanfare_shared::config::{ConfigError, Sources};

use self::client::Endpoint;
use self::escape::printable;
use crate::log;

/// How the process ends when its arguments mean nothing.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  fanfare                              serve alone, on port 8080
  fanfare --redis redis://10.0.0.5     serve together with other nodes
  fanfare sub lobby                    print what is published in a room
  fanfare pub lobby hello              publish to it
  tail -f app.log | fanfare pub logs   publish each line

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad configuration";

/// A WebSocket broker: rooms that span nodes, nothing lost
///
/// Without a command, fanfare serves.
#[derive(Debug, Parser)]
#[command(
    name = "fanfare",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

// Each is described where its arguments are.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Sub(sub::SubArgs),
    Pub(publish::PubArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// The file, for every command that reads the configuration.
#[derive(Debug, Clone, Default, Args)]
struct FileArg {
    /// Configuration file [env: FANFARE_CONFIG] [default: ./fanfare.toml if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    config: Option<PathBuf>,
}

/// Where `sub` and `pub` connect.
#[derive(Debug, Clone, Args)]
struct UrlArg {
    /// WebSocket address of a node [env: FANFARE_URL] [default: ws://127.0.0.1:8080/ws]
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    url: Option<Endpoint>,
}

impl UrlArg {
    /// The flag's address, the environment's (an empty one counts as none), or the default.
    fn endpoint(self) -> Endpoint {
        if let Some(endpoint) = self.url {
            return endpoint;
        }
        let url = env::var_os("FANFARE_URL").filter(|url| !url.is_empty());
        let url = url.unwrap_or_else(|| "ws://127.0.0.1:8080/ws".into());
        Endpoint::ws(&url.to_string_lossy())
            .unwrap_or_else(|problem| usage_error(&format!("FANFARE_URL: {problem}")))
    }
}

/// Ends the process as it ends for what the parser refuses.
fn usage_error(message: &str) -> ! {
    notice(&format!("error: {message}"));
    process::exit(USAGE.into())
}

impl Cli {
    /// Reads the arguments and does what they ask for: to print help, or a command.
    pub fn run_arguments() -> Result<(), Failure> {
        match Self::try_parse() {
            Ok(cli) => cli.run(),
            Err(said) if said.use_stderr() => Err(Failure::Usage(said)),
            // Help and the version. The parser's own print says nothing of what it cannot write.
            Err(said) => Ok(output::print(&styled(&said, &io::stdout()))?),
        }
    }

    /// Does what was asked for.
    fn run(self) -> Result<(), Failure> {
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(args) => serve::run(args),
            Command::Sub(args) => Ok(sub::run(args)?),
            Command::Pub(args) => Ok(publish::run(args)?),
            Command::CheckConfig(args) => check_config::run(args),
            Command::Healthcheck(args) => healthcheck::run(args),
        }
    }
}

/// Why a command did not do what was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The arguments mean nothing.
    Usage(clap::Error),
    /// The configuration is refused.
    Config(ConfigError),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// Says it on standard error, where a node logged there, behind its log: a mistake in the
    /// arguments as the parser puts it, anything else in one line.
    pub fn report(&self) {
        let line = match self {
            Self::Usage(error) => {
                let _ = io::stderr().write_all(styled(error, &io::stderr()).as_bytes());
                return;
            }
            Self::Config(error) => format!("error: {error}"),
            Self::Other(error) => format!("error: {error:#}"),
        };
        if !log::last_words(&line) {
            notice(&line);
        }
    }

    /// How the process ends.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            // EX_CONFIG of sysexits(3), which service managers can tell from a crash.
            Self::Config(_) => ExitCode::from(78),
            Self::Usage(_) => ExitCode::from(USAGE),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// The file and this process's environment, without flags.
fn sources(file: FileArg) -> Sources {
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
fn room_name(text: &str) -> Result<RoomName, String> {
    RoomName::new(text).map_err(|error| error.to_string())
}

/// Says one line on standard error, whatever of a stranger's is in it. Where that is closed there is
/// nobody to tell.
fn notice(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

/// What the parser says, in the colours that suit `output`; without any where an argument, which it
/// may repeat, is not all printable: nothing would tell its control characters from the parser's.
fn styled(said: &clap::Error, output: &impl IsTerminal) -> String {
    let text = said.render();
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    if output::may_style(output) && arguments.all(|argument| printable(&argument) == argument) {
        return text.ansi().to_string();
    }
    let plain = text.to_string();
    let lines: Vec<_> = plain.split('\n').map(printable).collect();
    lines.join("\n")
}

/// Runs a client on this thread. What still blocks on a pipe when it is done is left behind.
fn block_on<F: Future>(client: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let output = runtime.block_on(client);
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_serve_with_its_flags() {
        let cli = Cli::try_parse_from(["fanfare", "--listen", "127.0.0.1:0", "--wait"])
            .expect("serve's flags");
        assert!(cli.command.is_none());
        assert!(cli.serve.wait);
        Cli::try_parse_from(["fanfare", "serve", "--redis", "redis://h"]).expect("the same");
    }

    #[test]
    fn serve_flags_before_another_command_are_a_mistake() {
        let error = Cli::try_parse_from(["fanfare", "--wait", "sub", "lobby"]);
        assert_eq!(
            error.expect_err("a mistake").kind(),
            clap::error::ErrorKind::ArgumentConflict
        );
    }

    #[test]
    fn rooms_are_checked_before_anything_is_done() {
        for arguments in [
            &["fanfare", "sub"][..],
            &["fanfare", "sub", ""],
            &["fanfare", "pub", "a\nb", "x"],
            &["fanfare", "sub", "lobby", "--count", "0"],
            &["fanfare", "sub", "lobby", "--since", "41"],
            &[
                "fanfare",
                "sub",
                "lobby",
                "--since",
                "e:1",
                "--history",
                "1",
            ],
            &["fanfare", "pub", "lobby", "--url", "wss://h/ws"],
        ] {
            let error = Cli::try_parse_from(arguments).expect_err("a mistake");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
