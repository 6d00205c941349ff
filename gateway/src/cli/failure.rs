//! Failure, and how it is told: one line on standard error, and the exit code.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{self, ExitCode};

use fanfare_shared::config::ConfigError;

use super::escape::printable;
use super::output;
use crate::log;

/// How the process ends when its arguments mean nothing.
const USAGE: u8 = 2;

/// Ends the process as it ends for what the parser refuses.
pub(super) fn usage_error(message: &str) -> ! {
    notice(&format!("error: {message}"));
    process::exit(USAGE.into())
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
        error.downcast().map_or_else(Self::Other, Self::Config)
    }
}

/// Says one line on standard error, whatever of a stranger's is in it. Where that is closed there is
/// nobody to tell.
pub(super) fn notice(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

/// What the parser says, in the colours that suit `output`; without any where an argument, which it
/// may repeat, is not all printable: nothing would tell its control characters from the parser's.
pub(super) fn styled(said: &clap::Error, output: &impl IsTerminal) -> String {
    let text = said.render();
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    if output::may_style(output) && arguments.all(|argument| printable(&argument) == argument) {
        return text.ansi().to_string();
    }
    let plain = text.to_string();
    let lines: Vec<_> = plain.split('\n').map(printable).collect();
    lines.join("\n")
}
