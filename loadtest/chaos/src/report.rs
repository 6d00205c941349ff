//! What a run says: a line while it goes on, the table of verdicts, JSON for machines.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::ledger::{Kind, Violation};
use crate::world::Round;

/// All rounds of one fault.
pub(crate) struct Row {
    fault: Fault,
    rounds: u32,
    acknowledged: u64,
    delivered: u64,
    recovered: u64,
    resets: u64,
    silence: Duration,
    void: u32,
    broken: Vec<Violation>,
}

/// Every row of a run, in the order of first appearance.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Adds a round.
    pub(crate) fn add(&mut self, fault: Fault, round: Round) {
        let at = self.rows.iter().position(|row| row.fault == fault);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row::new(fault));
            self.rows.len() - 1
        });
        self.rows[at].add(round);
    }

    /// Whether every promise was kept, and every fault took place.
    pub(crate) fn passes(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.verdict() == "pass")
    }

    /// The table, in Markdown, which is as good for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            let widths = lines.iter().map(|cells| cells[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let mut table = String::new();
        for (number, cells) in lines.iter().enumerate() {
            let padded = cells.iter().enumerate().map(|(column, cell)| {
                let width = width(column);
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            table += &format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "));
            if number == 0 {
                let rules = (0..HEAD.len()).map(|column| match column {
                    0 => "-".repeat(width(0)),
                    _ => format!("{}:", "-".repeat(width(column).saturating_sub(1))),
                });
                table += &format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
            }
        }
        table
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.rows.iter().map(Row::json).collect()
    }
}

const HEAD: [&str; 16] = [
    "fault",
    "rounds",
    "acknowledged",
    "deliveries",
    "recovered",
    "honest resets",
    "lost",
    "duplicated",
    "out of order",
    "needless resets",
    "wrong presence",
    "excess",
    "misplaced trust",
    "unhealed",
    "longest silence",
    "verdict",
];

impl Row {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            rounds: 0,
            acknowledged: 0,
            delivered: 0,
            recovered: 0,
            resets: 0,
            silence: Duration::ZERO,
            void: 0,
            broken: Vec::new(),
        }
    }

    fn add(&mut self, round: Round) {
        let tally = round.tally;
        self.rounds += 1;
        self.acknowledged += tally.acknowledged;
        self.delivered += tally.delivered;
        self.recovered += tally.recovered;
        self.resets += tally.resets;
        self.silence = self.silence.max(tally.silence);
        self.void += u32::from(round.void.is_some());
        self.broken.extend(round.violations);
    }

    fn count(&self, kind: Kind) -> usize {
        self.broken.iter().filter(|each| each.kind == kind).count()
    }

    fn honest(&self) -> u64 {
        self.resets
            .saturating_sub(self.count(Kind::Needless) as u64)
    }

    fn verdict(&self) -> &'static str {
        if !self.broken.is_empty() {
            "FAIL"
        } else if self.void > 0 {
            "VOID"
        } else {
            "pass"
        }
    }

    fn cells(&self) -> [String; HEAD.len()] {
        [
            self.fault.name(),
            self.rounds.to_string(),
            self.acknowledged.to_string(),
            self.delivered.to_string(),
            self.recovered.to_string(),
            self.honest().to_string(),
            self.count(Kind::Lost).to_string(),
            self.count(Kind::Duplicated).to_string(),
            self.count(Kind::OutOfOrder).to_string(),
            self.count(Kind::Needless).to_string(),
            self.count(Kind::Presence).to_string(),
            self.count(Kind::Excess).to_string(),
            self.count(Kind::Trust).to_string(),
            (self.count(Kind::Unhealed) + self.count(Kind::Protocol)).to_string(),
            format!("{:.1} s", self.silence.as_secs_f64()),
            self.verdict().to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "fault": self.fault.name(),
            "rounds": self.rounds,
            "acknowledged": self.acknowledged,
            "deliveries": self.delivered,
            "recovered": self.recovered,
            "honest_resets": self.honest(),
            "lost": self.count(Kind::Lost),
            "duplicated": self.count(Kind::Duplicated),
            "out_of_order": self.count(Kind::OutOfOrder),
            "needless_resets": self.count(Kind::Needless),
            "wrong_presence": self.count(Kind::Presence),
            "excess": self.count(Kind::Excess),
            "misplaced_trust": self.count(Kind::Trust),
            "unhealed": self.count(Kind::Unhealed),
            "protocol": self.count(Kind::Protocol),
            "longest_silence": self.silence.as_secs_f64(),
            "void": self.void,
            "verdict": self.verdict(),
        })
    }
}

/// Shows a line in place of the one before; nothing where standard error is no terminal.
pub(crate) fn live(text: &str) {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(err, "\r\x1b[2K{text}");
        let _ = err.flush();
    }
}

/// Writes a line that stays, to standard error.
pub(crate) fn line(text: &str) {
    live("");
    let _ = writeln!(io::stderr().lock(), "{text}");
}
