//! A run: rounds until the time or the number is up, and what is said of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use clap::ValueEnum as _;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::Fault;
use crate::report::{self, Report};
use crate::topology::Kind;
use crate::world::{Round, World};

/// How many broken promises of a round are printed; the table counts all.
const SHOWN: usize = 12;

/// Break a cluster of Fanfare on purpose, and check what its clients were told.
///
/// Exits with 0 if every promise was kept, 1 if not, 2 if the run itself failed.
#[derive(Debug, Parser)]
#[command(name = "fanfare-chaos", version)]
pub(crate) struct Options {
    /// How Redis is arranged
    #[arg(long, value_enum, default_value = "standalone")]
    topology: Kind,
    /// What decides the faults' order, targets and times [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Go on for so long
    #[arg(long, value_name = "M", conflicts_with = "rounds")]
    minutes: Option<f64>,
    /// So many faults [default: each once]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only these faults [default: all that the topology can have]
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_enum)]
    faults: Vec<Fault>,
    /// Write JSON to standard output instead of a table
    #[arg(long)]
    json: bool,
    /// Stop after the first round in which a promise is broken
    #[arg(long)]
    fail_fast: bool,
    /// The nodes' program
    #[arg(long, value_name = "PATH", default_value = "target/debug/fanfare")]
    bin: PathBuf,
    /// Where logs and data go; deleted after a run that passes
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    directory: PathBuf,
}

/// Runs; whether every promise was kept.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            outcome = rounds(options) => outcome,
            // Whatever was started ends with what is dropped here.
            _ = terminate.recv() => bail!("stopped by SIGTERM"),
            _ = interrupt.recv() => bail!("stopped by SIGINT"),
        }
    })
}

async fn rounds(options: &Options) -> anyhow::Result<bool> {
    let seed = options
        .seed
        .unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let kind = options.topology;
    let plan = plan(options, seed)?;
    let count = match (options.minutes, options.rounds) {
        (Some(_), _) => usize::MAX,
        (None, rounds) => rounds.unwrap_or(plan.len()),
    };
    let until = options
        .minutes
        .map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let directory = options.directory.join(format!("{}-{seed}", kind.name()));
    let directory = fresh(&directory)?;
    report::line(&format!(
        "chaos: {}, seed {seed}, logs in {}",
        kind.name(),
        directory.display()
    ));
    let begun = Instant::now();
    let mut world = World::start(kind, &options.bin, &directory, seed).await?;
    let mut report = Report::default();
    for (number, fault) in plan.iter().cycle().take(count).enumerate() {
        if until.is_some_and(|until| begun.elapsed() >= until) {
            break;
        }
        let name = fault.name();
        report::live(&format!("{:>3}  {name} …", number + 1));
        let since = Instant::now();
        let of_round = seed_of(seed, number);
        let round = world.round(*fault, of_round).await?;
        say(options, number, &name, of_round, since.elapsed(), &round);
        let broken = !round.violations.is_empty();
        report.add(*fault, round);
        if broken && options.fail_fast {
            break;
        }
    }
    drop(world);
    let passes = report.passes();
    if passes {
        std::fs::remove_dir_all(&directory).context("cannot delete the run's directory")?;
    }
    let text = if options.json {
        let rows = report.json();
        format!(
            "{}\n",
            json!({"topology": kind.name(), "seed": seed, "pass": passes, "rows": rows})
        )
    } else {
        let verdict = if passes {
            "every promise kept"
        } else {
            "NOT every promise kept"
        };
        let seconds = begun.elapsed().as_secs();
        format!(
            "\n{}\n{}, seed {seed}, {seconds} s: {verdict}\n",
            report.table(),
            kind.name()
        )
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(passes)
}

/// The faults in the seed's order.
fn plan(options: &Options, seed: u64) -> anyhow::Result<Vec<Fault>> {
    let kind = options.topology;
    let mut faults = options.faults.clone();
    if let Some(fault) = faults.iter().find(|fault| !fault.fits(kind)) {
        bail!(
            "{} cannot happen on {}; leave it out",
            fault.name(),
            kind.name()
        );
    }
    if faults.is_empty() {
        let all = Fault::value_variants().iter().copied();
        faults.extend(all.filter(|fault| fault.fits(kind)));
    }
    fastrand::Rng::with_seed(seed).shuffle(&mut faults);
    Ok(faults)
}

/// A round's own seed: that of the run for the first, so that a round can be had again alone.
fn seed_of(seed: u64, round: usize) -> u64 {
    match round {
        0 => seed,
        _ => fastrand::Rng::with_seed(seed.wrapping_add(round as u64)).u64(..1_000_000_000),
    }
}

/// An empty directory, with an absolute name.
fn fresh(directory: &Path) -> anyhow::Result<PathBuf> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    std::fs::create_dir_all(directory)?;
    Ok(directory.canonicalize()?)
}

fn say(options: &Options, number: usize, name: &str, seed: u64, took: Duration, round: &Round) {
    let tally = &round.tally;
    let verdict = match (&round.void, round.violations.len()) {
        (_, 1..) => "FAIL".to_owned(),
        (Some(why), _) => format!("VOID: {why}"),
        _ => "pass".to_owned(),
    };
    let with = round.other.map(|other| format!("+ {}", other.name()));
    let with = with.unwrap_or_default();
    let quiet = if round.quiet { "quiet" } else { "" };
    report::line(&format!(
        "{:>3}  {name:<14} {with:<14} {quiet:<5} {:>4.1} s  {:>5} acknowledged  {:>6} delivered  {:>3} recovered  {:>3} resets  {verdict}",
        number + 1,
        took.as_secs_f64(),
        tally.acknowledged,
        tally.delivered,
        tally.recovered,
        tally.resets,
    ));
    for violation in round.violations.iter().take(SHOWN) {
        report::line(&format!("     {:?}: {}", violation.kind, violation.what));
    }
    if round.violations.len() > SHOWN {
        report::line(&format!(
            "     … and {} more",
            round.violations.len() - SHOWN
        ));
    }
    if !round.violations.is_empty() {
        report::line(&format!(
            "     again: loadtest/chaos/run --topology {} --faults {name} --rounds 1 --seed {seed}",
            options.topology.name()
        ));
    }
}
