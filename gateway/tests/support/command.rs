//! The program as a client: a command, what it says, and how it ends.

use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::deadline::within;

/// A command without the configuration of whoever runs the tests.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    let ended = within("the command to end", command(arguments).output()).await;
    ended.expect("the program starts")
}

/// Runs a command that has to fail, and answers what it says.
pub(crate) async fn refused(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Runs a command that has to succeed, and answers what it prints.
pub(crate) async fn done(arguments: &[&str]) -> String {
    let output = run(arguments).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
