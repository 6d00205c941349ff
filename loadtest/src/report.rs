//! What comes out: tables for people, JSON for machines, and the machine that it was measured on.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};

use serde::Serialize;

/// The machine, without its name.
#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    /// Processes that wanted to run meanwhile, on average over a minute: others' work disturbs.
    load: f64,
}

impl Machine {
    /// This one.
    fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let cpuinfo = read("/proc/cpuinfo");
        let release = read("/proc/sys/kernel/osrelease");
        let kilobytes = memory.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        Self {
            cpu: value(&cpuinfo, "model name"),
            // Not those that this process may use, which --pin makes fewer.
            cores: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory_mib: kilobytes.unwrap_or_default() / 1024,
            // The version; what follows names one build of it.
            kernel: release
                .split(['-', '\n'])
                .next()
                .unwrap_or_default()
                .to_owned(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// What every run's JSON begins with.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) command: String,
    machine: Machine,
}

impl Run {
    /// This run, of a scenario; to be made at its end, for the load meanwhile.
    pub(crate) fn of(scenario: &'static str) -> Self {
        Self {
            scenario,
            command: command(),
            machine: Machine::this(),
        }
    }
}

/// How this run was called, without directories of this machine.
fn command() -> String {
    let mut words = vec!["fanfare-load".to_owned()];
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--bin" {
            arguments.next();
        } else {
            words.push(argument);
        }
    }
    words.join(" ")
}

/// Writes one line of JSON to standard output.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(value)?)
}

/// Writes a result: for machines, or as `show` has it for people.
pub(crate) fn result<T: Serialize>(
    result: &T,
    for_machines: bool,
    show: impl FnOnce(&T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if for_machines {
        json(result)
    } else {
        show(result)
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{}", text.trim_end())?)
}

/// The median; the mean of the middle two of an even number.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even.is_multiple_of(2) => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

/// The smallest and the largest.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// A figure with so many digits, or a dash where there is none.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

/// A table of text: the first column to the left, figures to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let head = columns.iter().map(|&column| column.to_owned()).collect();
        Self { rows: vec![head] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), Some((1.0, 3.0)));
    }

    #[test]
    fn a_table_is_aligned() {
        let mut table = Table::new(&["server", "µs"]);
        table.row(["floor".to_owned(), "10.5".to_owned()]);
        assert_eq!(table.to_string(), "server    µs\nfloor   10.5\n");
    }
}
