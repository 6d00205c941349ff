//! `instructions`: how many instructions each part of a message's way takes, counted by callgrind.
//! The same every time, whatever else the machine does, where wall time says nothing.
//!
//! The benches of `shared` and `broker` are run twice under valgrind, once for a few and once for
//! more of the same; the difference is the part's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::baseline::{self, Measured, Record, figure};
use crate::report::{self, Table};
use crate::{child, progress};

/// How often a part runs in the first and in the second run: enough for what is allocated only now
/// and then to even out.
const TIMES: [u32; 2] = [200, 1200];

/// Instructions of the parts, counted by callgrind
#[derive(Debug, Args)]
pub(crate) struct Instructions {
    /// A bench of the parts, built: `cargo bench --no-run --bench parts` names it
    #[arg(long, value_name = "PATH", required = true)]
    bench: Vec<PathBuf>,
    /// Where to write the counts
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Fail where a count is more than 10% worse than in this file
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    check: Option<PathBuf>,
    /// Which commit is measured, to be written down
    #[arg(long, default_value = "unknown")]
    commit: String,
}

impl Instructions {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let valgrind = Command::new("valgrind").arg("--version").output();
        if !valgrind.is_ok_and(|output| output.status.success()) {
            progress::line("NOT CHECKED: instruction counts; valgrind is not installed");
            return Ok(());
        }
        let then = self.check.as_deref().map(baseline::read).transpose()?;
        let mut figures = Vec::new();
        for bench in &self.bench {
            for (index, name) in parts(bench)?.iter().enumerate() {
                progress::show(name);
                let [few, more] = TIMES.map(|times| count(bench, index, times));
                let own = more?.saturating_sub(few?) / u64::from(TIMES[1] - TIMES[0]);
                #[allow(clippy::cast_precision_loss, reason = "thousands")]
                figures.push(Measured {
                    name: name.clone(),
                    value: own as f64,
                    target: 0.0,
                    at_least: false,
                });
            }
        }
        progress::clear();
        let record = Record {
            commit: self.commit.clone(),
            figures,
            runs: Vec::new(),
        };
        match (then, &self.out) {
            (Some(then), _) => baseline::compare(&record, &then),
            (None, Some(out)) => {
                let json = serde_json::to_string_pretty(&record)?;
                fs::write(out, json + "\n")?;
                show(&record)
            }
            (None, None) => show(&record),
        }
    }
}

/// The names of a bench's parts.
fn parts(bench: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(bench);
    command.env("FANFARE_COUNT", "list").stdout(Stdio::piped());
    let output = child::tie(&mut command)
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("cannot run {}", bench.display()))?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// How many instructions a bench takes that runs one part `times` times.
fn count(bench: &Path, part: usize, times: u32) -> anyhow::Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(bench)
        .env("FANFARE_COUNT", format!("{part}:{times}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = child::tie(&mut command).spawn()?.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed: {text}");
    collected(&text).with_context(|| format!("valgrind says no count: {text}"))
}

/// The number in a line such as `==7== Collected : 123`.
fn collected(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("Collected :")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn show(record: &Record) -> anyhow::Result<()> {
    let mut table = Table::new(&["part", "instructions"]);
    for part in &record.figures {
        table.row([part.name.clone(), figure(part.value)]);
    }
    report::print(&table.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let text = "==7== \n==7== Events    : Ir\n==7== Collected : 1503\n==7== \n";
        assert_eq!(collected(text), Some(1503));
        assert_eq!(collected("valgrind: no such file"), None);
    }
}
