//! `PROTOCOL.md` says what is so: its examples are vectors, its tables those of the code.

use std::collections::BTreeSet;

use fanfare_shared::code::CloseCode;
use fanfare_shared::config::Config;
use serde_json::Value;

use crate::{commands, events};

const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

/// The lines of every `json` block.
fn examples() -> Vec<&'static str> {
    let mut within = false;
    let mut lines = Vec::new();
    for line in PROTOCOL.lines().map(str::trim_start) {
        match line {
            "```json" => within = true,
            "```" => within = false,
            line if within => lines.push(line),
            _ => {}
        }
    }
    lines
}

/// The cells of the rows below the table head that begins with `head`, without their backquotes.
fn table(head: &str) -> Vec<Vec<String>> {
    let mut lines = PROTOCOL.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some() && lines.next().is_some(), "{head}");
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().replace('`', "")).collect()
    })
    .collect()
}

#[test]
fn every_example_is_a_vector() {
    let vectors: BTreeSet<String> = commands::texts()
        .into_iter()
        .chain(events::texts())
        .collect();
    for example in examples() {
        assert!(vectors.contains(example), "{example}");
    }
}

#[test]
fn every_command_and_event_has_an_example() {
    let shown: BTreeSet<String> = examples()
        .into_iter()
        .map(|example| {
            let message: Value = serde_json::from_str(example).unwrap();
            message["type"].as_str().unwrap().to_owned()
        })
        .collect();
    for name in commands::FILES.iter().chain(events::FILES) {
        assert!(shown.contains(*name), "{name}");
    }
}

#[test]
fn the_table_of_close_codes_is_the_codes() {
    let rows = table("| code | name |");
    assert_eq!(rows.len(), CloseCode::ALL.len());
    for (row, code) in rows.iter().zip(CloseCode::ALL) {
        let [number, name, _, come_back] = &row[..] else {
            panic!("{row:?}")
        };
        assert_eq!(*number, code.as_u16().to_string());
        assert_eq!(name, code.as_str());
        let comes_back = match come_back.as_str() {
            "never" => false,
            "soon" | "later" => true,
            other => panic!("{number}: {other}"),
        };
        assert_eq!(comes_back, code.reconnect(), "{number}");
    }
}

#[test]
fn the_table_of_errors_is_the_codes() {
    let rows = table("| code | the command |");
    let documented: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(documented, events::codes::FILES);
    for (row, (code, retry)) in rows.iter().zip(events::retries()) {
        assert_eq!(row[2] == "yes", retry, "{code}");
    }
}

#[test]
fn the_table_of_limits_gives_the_defaults() {
    let config = serde_json::to_value(Config::default()).unwrap();
    for row in table("| limit | default |") {
        let value = match &config["limits"][row[0].strip_prefix("limits.").unwrap()] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(row[1].split(' ').next(), Some(value.as_str()), "{}", row[0]);
    }
}
