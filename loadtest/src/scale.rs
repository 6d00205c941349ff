//! `scale`: how each cost grows with members, rooms, publications and nodes, and what that comes
//! to for far more connections than fit here ([`paper`]). Written down together, so that each
//! number of the arithmetic is one that was measured in the same run.

mod paper;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::{progress, report, rerun};

/// Growth with members: the same room, larger and larger.
const MEMBERS: [&str; 4] = [
    "fanout --members 100 --pin --compare-floor --seconds 1",
    "fanout --members 1000 --pin --compare-floor --seconds 1",
    "fanout --members 5000 --pin --compare-floor --seconds 1",
    "fanout --members 15000 --pin --compare-floor --seconds 1",
];

/// Growth with rooms: of ten members, and of one, of which more can be opened.
const ROOMS: [&str; 7] = [
    "rooms --rooms 10 --members 10 --pin --compare-floor --seconds 1",
    "rooms --rooms 500 --members 10 --pin --compare-floor --seconds 1",
    "rooms --rooms 1500 --members 10 --pin --compare-floor --seconds 1",
    "rooms --rooms 10 --members 1 --pin --compare-floor --seconds 1",
    "rooms --rooms 100 --members 1 --pin --compare-floor --seconds 1",
    "rooms --rooms 1000 --members 1 --pin --compare-floor --seconds 1",
    "rooms --rooms 10000 --members 1 --pin --compare-floor --seconds 1",
];

/// Growth with publications.
const RATES: [&str; 4] = [
    "fanout --members 100 --rate 10 --pin --compare-floor --seconds 2",
    "fanout --members 100 --rate 100 --pin --compare-floor --seconds 1",
    "fanout --members 100 --rate 500 --pin --compare-floor --seconds 1",
    "fanout --members 100 --rate 1000 --pin --compare-floor --seconds 1",
];

const INTEREST: &str = "interest --nodes 8";
const SATURATE: &str = "saturate";
const IDLE: &str = "idle --connections 100000 --gateways 6 --processes 6 --hold 30";

/// How costs grow, and the arithmetic for many more connections
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Where to write `scaling.json` and `scaling.md`
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Take what was measured from this `scaling.json`, and only do the arithmetic again
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Which commit is measured, to be written down
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Rounds of each measurement that has rounds
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The server to measure [default: `fanfare` beside this program]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

/// Everything that was measured: each run's own output.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Record {
    commit: String,
    members: Vec<Value>,
    rooms: Vec<Value>,
    rates: Vec<Value>,
    interest: Value,
    saturate: Value,
    idle: Value,
}

impl Scale {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let record = match &self.from {
            Some(file) => {
                let bytes =
                    fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is no scaling.json", file.display()))?
            }
            None => self.measure()?,
        };
        let markdown = paper::write(&record)?;
        if let Some(out) = &self.out {
            fs::create_dir_all(out)?;
            let json = serde_json::to_string_pretty(&record)?;
            fs::write(out.join("scaling.json"), json + "\n")?;
            fs::write(out.join("scaling.md"), &markdown)?;
        }
        report::print(&markdown)
    }

    fn measure(&self) -> anyhow::Result<Record> {
        let start = Instant::now();
        let record = self.measure_all()?;
        progress::line(&format!("took {} s", start.elapsed().as_secs()));
        Ok(record)
    }

    fn measure_all(&self) -> anyhow::Result<Record> {
        let all = |runs: &[&str]| -> anyhow::Result<Vec<Value>> {
            runs.iter()
                .map(|run| self.once(run, Some(self.rounds)))
                .collect()
        };
        Ok(Record {
            commit: self.commit.clone(),
            members: all(&MEMBERS)?,
            rooms: all(&ROOMS)?,
            rates: all(&RATES)?,
            interest: self.once(INTEREST, Some(self.rounds))?,
            saturate: self.once(SATURATE, Some(self.rounds))?,
            idle: self.once(IDLE, None)?,
        })
    }

    fn once(&self, arguments: &str, rounds: Option<u32>) -> anyhow::Result<Value> {
        let start = Instant::now();
        let output = rerun::run(arguments, rounds, self.bin.as_deref())?;
        progress::line(&format!(
            "{arguments}: took {} s",
            start.elapsed().as_secs()
        ));
        Ok(output)
    }
}
