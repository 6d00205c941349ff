//! `bench`: every figure that has a target, measured and put beside it; or, with a baseline,
//! whether any ratio has become worse.
//!
//! Each measurement is this program again, as a person would call it: what is written down can be
//! repeated by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;

use crate::baseline::{self, Measured, Record, figure};
use crate::progress;
use crate::report::{self, Table};
use crate::rerun;

/// All figures that have a target, in one table
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Where to write `bench.json` and `bench.md`
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Measure the ratios only, and fail where one is more than 10% worse than in this file
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    check: Option<PathBuf>,
    /// Which commit is measured, to be written down
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Rounds of each measurement: many and short, since what disturbs a shared machine comes and
    /// goes within seconds
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// The server to measure [default: `fanfare` beside this program]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

/// A run of this program: its arguments, and the figures that are taken out of it.
type Run = (&'static str, &'static [Figure]);

/// One figure out of a run.
struct Figure {
    name: &'static str,
    /// Where it is in the run's JSON. `servers/-1` is the last server: Fanfare.
    path: &'static str,
    target: f64,
    /// Whether the target is the least that is wanted, not the most.
    at_least: bool,
    /// What to multiply with before comparing.
    scale: f64,
    /// Whether it is a ratio to the floor, which a check repeats.
    checked: bool,
    /// Whether it is to a floor that some kernels do not permit.
    optional: bool,
}

/// A figure that is to be at most `target`.
const fn at_most(name: &'static str, path: &'static str, target: f64) -> Figure {
    Figure {
        name,
        path,
        target,
        at_least: false,
        scale: 1.0,
        checked: false,
        optional: false,
    }
}

const fn at_least(name: &'static str, path: &'static str, target: f64) -> Figure {
    Figure {
        at_least: true,
        ..at_most(name, path, target)
    }
}

/// A figure that is divided by the floor's.
const fn ratio(name: &'static str, target: f64) -> Figure {
    Figure {
        checked: true,
        ..at_most(name, "servers/-1/ratio", target)
    }
}

/// A ratio to the floor that sends by io_uring.
const fn ratio_to_uring(name: &'static str) -> Figure {
    Figure {
        path: "servers/-1/ratio_to_uring",
        optional: true,
        ..ratio(name, 1.10)
    }
}

const RUNS: &[Run] = &[
    (
        "fanout --members 1000 --pin --compare-floor --seconds 0.5",
        &[
            ratio("fanout, 1,000 members, CPU per delivery ÷ floor", 1.12),
            ratio_to_uring("fanout, 1,000 members, CPU per delivery ÷ floor with io_uring"),
            Figure {
                scale: 1e3,
                ..at_most(
                    "user-mode time per delivery, ns",
                    "servers/-1/user_per_delivery",
                    350.0,
                )
            },
        ],
    ),
    (
        "fanout --members 5000 --pin --compare-floor --seconds 0.5",
        &[
            ratio("fanout, 5,000 members, CPU per delivery ÷ floor", 1.12),
            ratio_to_uring("fanout, 5,000 members, CPU per delivery ÷ floor with io_uring"),
        ],
    ),
    (
        "rooms --rooms 500 --members 10 --pin --compare-floor --seconds 0.5",
        &[ratio("rooms of ten, CPU per delivery ÷ floor", 1.10)],
    ),
    // What there is where a container's profile forbids io_uring.
    (
        "fanout --members 1000 --pin --compare-floor --seconds 0.5 --env FANFARE_IO_URING=false",
        &[ratio(
            "fanout, 1,000 members, without io_uring ÷ floor",
            1.12,
        )],
    ),
    (
        "fanout --members 5000 --pin --compare-floor --seconds 0.5 --env FANFARE_IO_URING=false",
        &[ratio(
            "fanout, 5,000 members, without io_uring ÷ floor",
            1.12,
        )],
    ),
    (
        "rooms --rooms 500 --members 10 --pin --compare-floor --seconds 0.5 --env FANFARE_IO_URING=false",
        &[ratio("rooms of ten, without io_uring ÷ floor", 1.10)],
    ),
    (
        "burst --members 1000 --burst 8 --pin --compare-floor --seconds 0.5",
        &[ratio(
            "burst of 8, CPU per delivery ÷ floor of single sends",
            0.25,
        )],
    ),
    (
        "idle --connections 15000 --pin --hold 10 --rounds 1 --env FANFARE_HEARTBEAT=4s",
        &[
            at_most(
                "idle connection after traffic, bytes",
                "servers/-1/used_per_connection",
                1536.0,
            ),
            Figure {
                scale: 1.0 / 1_048_576.0,
                ..at_most("empty process, MiB", "servers/-1/empty", 12.0)
            },
        ],
    ),
    (
        "idle --connections 5000 --publications 0 --hold 0 --pin --compare-floor",
        &[Figure {
            path: "servers/-1/handshake_ratio",
            ..ratio("handshake, CPU ÷ floor", 2.0)
        }],
    ),
    (
        "nodes --members 1 --rate 500 --one-core",
        &[at_most(
            "two nodes, p99 ÷ bare Redis, all on one core",
            "p99_ratio",
            2.0,
        )],
    ),
    (
        "nodes --members 1 --rate 500 --workers 1",
        &[
            at_most(
                "two nodes of one worker, p99 ÷ bare Redis",
                "p99_ratio",
                2.0,
            ),
            at_most(
                "publications that a node without members receives",
                "bystander/received",
                0.0,
            ),
        ],
    ),
    (
        "nodes --members 1 --rate 500",
        &[at_most(
            "two nodes of two workers, p99 ÷ bare Redis",
            "p99_ratio",
            2.0,
        )],
    ),
    (
        "saturate --seconds 1",
        &[
            at_least(
                "one Redis, publications/s ÷ redis-benchmark's",
                "rate_ratio",
                0.85,
            ),
            at_least(
                "one Redis, redis-benchmark's Redis CPU each ÷ Fanfare's",
                "cost_ratio",
                0.85,
            ),
            at_least(
                "one Redis, part of its core that ran (else the nodes' core was the limit)",
                "redis_busy",
                0.95,
            ),
        ],
    ),
    (
        "fanout --members 100 --pin --compare-floor --seconds 0.5",
        &[ratio("growth: 100 members ÷ floor", 1.12)],
    ),
    (
        "fanout --members 15000 --pin --compare-floor --seconds 0.5",
        &[ratio("growth: 15,000 members ÷ floor", 1.12)],
    ),
    (
        "rooms --rooms 10 --members 10 --pin --compare-floor --seconds 0.5",
        &[ratio("growth: 10 rooms of ten ÷ floor", 1.10)],
    ),
    (
        "rooms --rooms 1500 --members 10 --pin --compare-floor --seconds 0.5",
        &[ratio("growth: 1,500 rooms of ten ÷ floor", 1.10)],
    ),
];

impl Bench {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        let baseline = self.check.as_deref().map(baseline::read).transpose()?;
        let mut record = Record {
            commit: self.commit.clone(),
            figures: Vec::new(),
            runs: Vec::new(),
        };
        for (index, (arguments, figures)) in RUNS.iter().enumerate() {
            let wanted = |figure: &&Figure| baseline.is_none() || figure.checked;
            if figures.iter().filter(wanted).count() == 0 {
                continue;
            }
            progress::line(&format!("{} of {}: {arguments}", index + 1, RUNS.len()));
            let rounds = (!arguments.contains("--rounds")).then_some(self.rounds);
            let output = rerun::run(arguments, rounds, self.bin.as_deref())?;
            for figure in figures.iter().filter(wanted) {
                let value = rerun::find(&output, figure.path);
                if figure.optional && value.is_none() {
                    progress::line(&format!("left out: {}", figure.name));
                    continue;
                }
                let value =
                    value.with_context(|| format!("`{arguments}` has no {}", figure.path))?;
                record.figures.push(Measured {
                    name: figure.name.to_owned(),
                    value: value * figure.scale,
                    target: figure.target,
                    at_least: figure.at_least,
                });
            }
            record.runs.push(output);
        }
        progress::line(&format!("took {} s", start.elapsed().as_secs()));
        match baseline {
            Some(then) => baseline::compare(&record, &then),
            None => self.write(&record),
        }
    }

    fn write(&self, record: &Record) -> anyhow::Result<()> {
        let mut table = Table::new(&["figure", "to reach", "measured", ""]);
        let mut markdown = format!(
            "# Figures beside their targets\n\nCommit {}; `loadtest/bench`; raw output in \
             [bench.json](bench.json), with each run's command and machine.\n\n\
             | figure | to reach | measured | |\n|---|---|---|---|\n",
            record.commit
        );
        for Measured {
            name,
            value,
            target,
            at_least,
        } in &record.figures
        {
            let (sign, reached) = match at_least {
                false => ("≤", value <= target),
                true => ("≥", value >= target),
            };
            let verdict = if reached { "reached" } else { "not yet" };
            let value = match figure(*value) {
                // Rounded, what missed its bound would read as the bound.
                rounded if !reached && rounded == figure(*target) => format!("{value:.4}"),
                rounded => rounded,
            };
            let target = format!("{sign} {}", figure(*target));
            writeln!(markdown, "| {name} | {target} | {value} | {verdict} |")?;
            table.row([name.clone(), target, value, verdict.to_owned()]);
        }
        if let Some(out) = &self.out {
            fs::create_dir_all(out)?;
            let json = serde_json::to_string_pretty(record)?;
            fs::write(out.join("bench.json"), json + "\n")?;
            fs::write(out.join("bench.md"), markdown)?;
        }
        report::print(&table.to_string())
    }
}
