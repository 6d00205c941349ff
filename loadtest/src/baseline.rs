//! Figures that were written down, and whether others are worse.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{self, Table};

/// How much worse than the baseline a figure may be.
const TOLERANCE: f64 = 1.10;

/// A figure as it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) target: f64,
    #[serde(default)]
    pub(crate) at_least: bool,
}

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) commit: String,
    pub(crate) figures: Vec<Measured>,
    /// Each run's own output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) runs: Vec<Value>,
}

/// Reads what was written down.
pub(crate) fn read(path: &Path) -> anyhow::Result<Record> {
    let bytes =
        fs::read(path).with_context(|| format!("cannot read the baseline {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no baseline", path.display()))
}

/// Puts each figure beside the baseline's.
pub(crate) fn compare(record: &Record, baseline: &Record) -> anyhow::Result<()> {
    let mut table = Table::new(&["figure", "baseline", "now", ""]);
    let mut worse = 0;
    for now in &record.figures {
        let known = baseline.figures.iter().find(|then| then.name == now.name);
        let (then, verdict) = match known.map(|then| then.value) {
            None => ("–".to_owned(), "not in the baseline"),
            Some(then) if is_worse(now.value, then) => {
                worse += 1;
                (figure(then), "WORSE")
            }
            Some(then) => (figure(then), ""),
        };
        let row = [&now.name, &then, &figure(now.value), verdict];
        table.row(row.map(ToOwned::to_owned));
    }
    report::print(&table.to_string())?;
    if worse > 0 {
        bail!(
            "{worse} of {} figures more than 10% worse than at commit {}",
            record.figures.len(),
            baseline.commit
        );
    }
    Ok(())
}

fn is_worse(now: f64, then: f64) -> bool {
    now > then * TOLERANCE
}

/// A figure for people.
pub(crate) fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: f64) -> Record {
        Record {
            commit: "0000000".into(),
            figures: vec![Measured {
                name: "fanout".into(),
                value,
                target: 1.12,
                at_least: false,
            }],
            runs: Vec::new(),
        }
    }

    #[test]
    fn a_check_fails_where_a_figure_is_more_than_ten_percent_worse() {
        compare(&record(1.20), &record(1.10)).unwrap();
        let error = compare(&record(1.22), &record(1.10)).unwrap_err();
        assert!(error.to_string().contains("1 of 1 figures"));
    }

    #[test]
    fn a_check_can_do_without_a_figure_in_the_baseline() {
        let mut baseline = record(1.0);
        baseline.figures.clear();
        compare(&record(9.0), &baseline).unwrap();
    }
}
