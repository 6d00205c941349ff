//! The command line: what can be asked for, and how failure is told.
//!
//! `main` parses and runs; each command has a file. Invariant: what a command produces goes to
//! standard output, everything else to standard error, a failure as one line.

mod api;
mod args;
mod check_config;
mod client;
mod escape;
mod failure;
mod healthcheck;
mod history;
mod ingest;
mod kick;
mod output;
mod own_port;
mod presence;
mod publish;
mod render;
mod rooms;
mod serve;
mod sub;
mod token;

use std::io;

use clap::{Parser, Subcommand};

pub use self::failure::Failure;
use self::failure::styled;

const EXAMPLES: &str = "\
Examples:
  fanfare                              serve alone, on port 8080
  fanfare --redis redis://10.0.0.5     serve together with other nodes
  fanfare sub lobby                    print what is published in a room
  fanfare pub lobby hello              publish to it
  fanfare rooms                        who is where, by the HTTP API
  fanfare token --user ann --allow '*'  sign a token for development
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
    Rooms(rooms::RoomsArgs),
    Presence(presence::PresenceArgs),
    History(history::HistoryArgs),
    Kick(kick::KickArgs),
    Token(token::TokenArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Ingest(ingest::IngestArgs),
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
            Command::Rooms(args) => rooms::run(args),
            Command::Presence(args) => presence::run(args),
            Command::History(args) => history::run(args),
            Command::Kick(args) => kick::run(args),
            Command::Token(args) => token::run(args),
            Command::CheckConfig(args) => check_config::run(args),
            Command::Healthcheck(args) => healthcheck::run(args),
            Command::Ingest(args) => ingest::run(args),
        }
    }
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
            &["fanfare", "pub", "lobby", "--url", "https://h/ws"],
            &["fanfare", "presence", ""],
            &["fanfare", "history", "lobby", "--since", "41"],
            &["fanfare", "rooms", "--api-url", "ws://h"],
            &["fanfare", "kick"],
            &["fanfare", "kick", "--user", "ann", "--room", "lobby"],
        ] {
            let error = Cli::try_parse_from(arguments).expect_err("a mistake");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
