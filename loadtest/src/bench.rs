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
use serde_json::Value;

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

/// A run of this program.
struct Run {
    arguments: &'static str,
    figures: &'static [Figure],
}

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

const fn ratio(name: &'static str, path: &'static str, target: f64) -> Figure {
    Figure {
        name,
        path,
        target,
        at_least: false,
        scale: 1.0,
        checked: true,
        optional: false,
    }
}

/// A ratio to the floor that sends by io_uring.
const fn ratio_to_uring(name: &'static str, target: f64) -> Figure {
    Figure {
        optional: true,
        ..ratio(name, "servers/-1/ratio_to_uring", target)
    }
}

const fn at_least(name: &'static str, path: &'static str, target: f64) -> Figure {
    Figure {
        name,
        path,
        target,
        at_least: true,
        scale: 1.0,
        checked: false,
        optional: false,
    }
}

const fn absolute(name: &'static str, path: &'static str, target: f64, scale: f64) -> Figure {
    Figure {
        name,
        path,
        target,
        at_least: false,
        scale,
        checked: false,
        optional: false,
    }
}

const RUNS: &[Run] = &[
    Run {
        arguments: "fanout --members 1000 --pin --compare-floor --seconds 0.5",
        figures: &[
            ratio(
                "fanout, 1,000 members, CPU per delivery ÷ floor",
                "servers/-1/ratio",
                1.12,
            ),
            ratio_to_uring(
                "fanout, 1,000 members, CPU per delivery ÷ floor with io_uring",
                1.10,
            ),
            absolute(
                "user-mode time per delivery, ns",
                "servers/-1/user_per_delivery",
                350.0,
                1e3,
            ),
        ],
    },
    Run {
        arguments: "fanout --members 5000 --pin --compare-floor --seconds 0.5",
        figures: &[
            ratio(
                "fanout, 5,000 members, CPU per delivery ÷ floor",
                "servers/-1/ratio",
                1.12,
            ),
            ratio_to_uring(
                "fanout, 5,000 members, CPU per delivery ÷ floor with io_uring",
                1.10,
            ),
        ],
    },
    Run {
        arguments: "rooms --rooms 500 --members 10 --pin --compare-floor --seconds 0.5",
        figures: &[ratio(
            "rooms of ten, CPU per delivery ÷ floor",
            "servers/-1/ratio",
            1.10,
        )],
    },
    // What there is where a container's profile forbids io_uring.
    Run {
        arguments: "fanout --members 1000 --pin --compare-floor --seconds 0.5 --env FANFARE_IO_URING=false",
        figures: &[ratio(
            "fanout, 1,000 members, without io_uring ÷ floor",
            "servers/-1/ratio",
            1.12,
        )],
    },
    Run {
        arguments: "fanout --members 5000 --pin --compare-floor --seconds 0.5 --env FANFARE_IO_URING=false",
        figures: &[ratio(
            "fanout, 5,000 members, without io_uring ÷ floor",
            "servers/-1/ratio",
            1.12,
        )],
    },
    Run {
        arguments: "rooms --rooms 500 --members 10 --pin --compare-floor --seconds 0.5 --env FANFARE_IO_URING=false",
        figures: &[ratio(
            "rooms of ten, without io_uring ÷ floor",
            "servers/-1/ratio",
            1.10,
        )],
    },
    Run {
        arguments: "burst --members 1000 --burst 8 --pin --compare-floor --seconds 0.5",
        figures: &[ratio(
            "burst of 8, CPU per delivery ÷ floor of single sends",
            "servers/-1/ratio",
            0.25,
        )],
    },
    Run {
        arguments: "idle --connections 15000 --pin --hold 10 --rounds 1 --env FANFARE_HEARTBEAT=4s",
        figures: &[
            absolute(
                "idle connection after traffic, bytes",
                "servers/-1/used_per_connection",
                1536.0,
                1.0,
            ),
            absolute(
                "empty process, MiB",
                "servers/-1/empty",
                12.0,
                1.0 / 1_048_576.0,
            ),
        ],
    },
    Run {
        arguments: "idle --connections 5000 --publications 0 --hold 0 --pin --compare-floor",
        figures: &[ratio(
            "handshake, CPU ÷ floor",
            "servers/-1/handshake_ratio",
            2.0,
        )],
    },
    Run {
        arguments: "nodes --members 1 --rate 500 --one-core",
        figures: &[absolute(
            "two nodes, p99 ÷ bare Redis, all on one core",
            "p99_ratio",
            2.0,
            1.0,
        )],
    },
    Run {
        arguments: "nodes --members 1 --rate 500 --workers 1",
        figures: &[
            absolute(
                "two nodes of one worker, p99 ÷ bare Redis",
                "p99_ratio",
                2.0,
                1.0,
            ),
            absolute(
                "publications that a node without members receives",
                "bystander/received",
                0.0,
                1.0,
            ),
        ],
    },
    Run {
        arguments: "nodes --members 1 --rate 500",
        figures: &[absolute(
            "two nodes of two workers, p99 ÷ bare Redis",
            "p99_ratio",
            2.0,
            1.0,
        )],
    },
    Run {
        arguments: "saturate --seconds 1",
        figures: &[
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
    },
    Run {
        arguments: "fanout --members 100 --pin --compare-floor --seconds 0.5",
        figures: &[ratio(
            "growth: 100 members ÷ floor",
            "servers/-1/ratio",
            1.12,
        )],
    },
    Run {
        arguments: "fanout --members 15000 --pin --compare-floor --seconds 0.5",
        figures: &[ratio(
            "growth: 15,000 members ÷ floor",
            "servers/-1/ratio",
            1.12,
        )],
    },
    Run {
        arguments: "rooms --rooms 10 --members 10 --pin --compare-floor --seconds 0.5",
        figures: &[ratio(
            "growth: 10 rooms of ten ÷ floor",
            "servers/-1/ratio",
            1.10,
        )],
    },
    Run {
        arguments: "rooms --rooms 1500 --members 10 --pin --compare-floor --seconds 0.5",
        figures: &[ratio(
            "growth: 1,500 rooms of ten ÷ floor",
            "servers/-1/ratio",
            1.10,
        )],
    },
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
        for (index, run) in RUNS.iter().enumerate() {
            let wanted = |figure: &&Figure| baseline.is_none() || figure.checked;
            if run.figures.iter().filter(wanted).count() == 0 {
                continue;
            }
            progress::line(&format!(
                "{} of {}: {}",
                index + 1,
                RUNS.len(),
                run.arguments
            ));
            let output = self.measure(run)?;
            for figure in run.figures.iter().filter(wanted) {
                let value = rerun::find(&output, figure.path);
                if figure.optional && value.is_none() {
                    progress::line(&format!("left out: {}", figure.name));
                    continue;
                }
                let value =
                    value.with_context(|| format!("`{}` has no {}", run.arguments, figure.path))?;
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

    fn measure(&self, run: &Run) -> anyhow::Result<Value> {
        let rounds = (!run.arguments.contains("--rounds")).then_some(self.rounds);
        rerun::run(run.arguments, rounds, self.bin.as_deref())
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
