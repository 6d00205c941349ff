//! Runs this program once more, as a person would call it, and finds figures in what it says: so
//! everything that is written down can be repeated by hand.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::Value;

use crate::child;

/// Runs it with `arguments`, words with single spaces between, and answers its JSON.
pub(crate) fn run(
    arguments: &str,
    rounds: Option<u32>,
    bin: Option<&Path>,
) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments.split(' ')).arg("--json");
    if let Some(rounds) = rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(bin) = bin {
        command.arg("--bin").arg(bin);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = child::tie(&mut command).spawn()?.wait_with_output()?;
    ensure!(output.status.success(), "`{arguments}` failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The number at a path such as `servers/-1/ratio`.
pub(crate) fn find(value: &Value, path: &str) -> Option<f64> {
    let found = path.split('/').try_fold(value, |value, key| match value {
        Value::Array(items) if key == "-1" => items.last(),
        other => other.get(key),
    });
    found?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_in_a_runs_output() {
        let output =
            serde_json::json!({"p99_ratio": 1.5, "servers": [{"ratio": 1}, {"ratio": 1.1}]});
        assert_eq!(find(&output, "servers/-1/ratio"), Some(1.1));
        assert_eq!(find(&output, "p99_ratio"), Some(1.5));
        assert_eq!(find(&output, "servers/-1/none"), None);
    }
}
