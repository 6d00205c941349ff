//! The text format of Prometheus, read strictly: what a scraper might forgive fails here.

use std::collections::BTreeMap;

/// The samples of one scrape, by their series: `name` or `name{label="value",…}`.
#[derive(Debug)]
pub(crate) struct Exposition(BTreeMap<String, f64>);

impl Exposition {
    /// Reads and checks an exposition.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has to end too");
        let mut samples = BTreeMap::new();
        let mut families = BTreeMap::new();
        let (mut helped, mut family) = ("", ("", ""));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and a text");
                assert!(!help.is_empty(), "{name} is not explained");
                helped = name;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                family = kind.split_once(' ').expect("a name and a kind");
                assert_eq!(helped, family.0, "HELP and TYPE go together");
                assert!(is_name(family.0), "{line}");
                assert!(
                    matches!(family.1, "counter" | "gauge" | "histogram"),
                    "{line}"
                );
                assert!(
                    families.insert(family.0, family.1).is_none(),
                    "twice: {line}"
                );
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let value: f64 = value
                    .parse()
                    .unwrap_or_else(|_| panic!("no number: {line}"));
                check_series(series, family);
                assert!(
                    samples.insert(series.to_owned(), value).is_none(),
                    "twice: {line}"
                );
            }
        }
        let exposition = Self(samples);
        for (name, _) in families.iter().filter(|(_, kind)| **kind == "histogram") {
            exposition.check_histogram(name);
        }
        exposition
    }

    /// The value of a series.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// Every series.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Buckets grow, and the last holds everything: in each of the label sets.
    fn check_histogram(&self, name: &str) {
        let mut sets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, count) in &self.0 {
            let Some(labels) = series.strip_prefix(&format!("{name}_bucket{{")) else {
                continue;
            };
            let (labels, bound) = labels
                .split_once("le=\"")
                .expect("the label `le` is the last");
            let bound = bound
                .strip_suffix("\"}")
                .and_then(|bound| bound.parse().ok());
            let bound = bound.unwrap_or_else(|| panic!("no bound: {series}"));
            let labels = labels.trim_end_matches(',').to_owned();
            sets.entry(labels).or_default().push((bound, *count));
        }
        for (labels, mut buckets) in sets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(
                buckets.is_sorted_by(|a, b| a.1 <= b.1),
                "{name}: {buckets:?}"
            );
            let of = |part: &str| match labels.as_str() {
                "" => self.value(&format!("{name}_{part}")),
                labels => self.value(&format!("{name}_{part}{{{labels}}}")),
            };
            let count = of("count").unwrap_or_else(|| panic!("{name} {labels}: no count"));
            assert_eq!(
                buckets.last(),
                Some(&(f64::INFINITY, count)),
                "{name} {labels}"
            );
            assert!(of("sum").is_some(), "{name} {labels}: no sum");
        }
    }
}

/// Checks a series against the family under whose TYPE line it stands.
fn check_series(series: &str, (family, kind): (&str, &str)) {
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
        None => (series, ""),
    };
    match kind {
        "counter" => {
            assert_eq!(name, family, "{series} is under another name");
            assert!(
                name.ends_with("_total"),
                "the counter {name} is not called a total"
            );
        }
        "gauge" => assert_eq!(name, family, "{series} is under another name"),
        _ => {
            let part = name.strip_prefix(family).unwrap_or_default();
            assert!(matches!(part, "_bucket" | "_sum" | "_count"), "{series}");
        }
    }
    for label in labels.split_terminator(',') {
        let (name, value) = label.split_once('=').expect("a label");
        assert!(is_name(name) && !name.contains(':'), "{series}");
        let value = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let value = value.unwrap_or_else(|| panic!("a label without quotes: {series}"));
        assert!(
            !value.is_empty() && !value.contains(['"', '\\', '\n']),
            "{series}"
        );
    }
}

fn is_name(text: &str) -> bool {
    let first = text.chars().next().unwrap_or('0');
    !first.is_ascii_digit()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}
