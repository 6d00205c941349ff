//! The documents promise nothing that is not there: each configuration key, variable, metric, alert,
//! command, flag, path, make target, file and link that they name exists.
//!
//! What is said in the source for operators to read, Helm's values and the alerts included, counts as
//! a document where it names keys and metrics.

mod names;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use names::{Names, node};
use text::Document;

fn root() -> PathBuf {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR"));
    gateway.parent().expect("the workspace").to_owned()
}

/// Every file of the repository, by its path in it.
fn files() -> Vec<String> {
    let list = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git");
    let list = String::from_utf8(list.stdout).expect("names in UTF-8");
    let names = list.lines().map(str::to_owned);
    names.filter(|name| root().join(name).exists()).collect()
}

fn documents() -> Vec<Document> {
    let files = files();
    let names = files.iter().filter(|name| name.ends_with(".md"));
    let documents: Vec<_> = names
        // Measurements speak of the releases that were measured.
        .filter(|name| !name.starts_with("loadtest/results/"))
        .map(|name| Document::read(&root(), name))
        .collect();
    assert!(documents.len() > 20, "the documents were found");
    documents
}

/// Fails with all that is missing, each with the place that promises it.
fn check(
    what: &str,
    named: impl IntoIterator<Item = (String, String)>,
    there: impl Fn(&str) -> bool,
) {
    let mut count = 0;
    let missing: BTreeSet<_> = named
        .into_iter()
        .inspect(|_| count += 1)
        .filter(|(_, name)| !there(name))
        .map(|(place, name)| format!("{place}: {name}"))
        .collect();
    assert!(count > 0, "no document names a {what}");
    assert!(missing.is_empty(), "no such {what}:\n{missing:#?}");
}

/// What `find` sees in the code of every document, with its place.
fn in_code(find: impl Fn(&str) -> Vec<String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for document in documents() {
        for (place, code) in &document.code {
            found.extend(find(code).into_iter().map(|name| (place.clone(), name)));
        }
    }
    found
}

#[test]
fn configuration_keys_are_there() {
    let values = fs::read_to_string(root().join("deploy/helm/fanfare/values.yaml"));
    let names = Names::new(values.expect("the chart's values"));
    check("key", in_code(|code| names.keys_in(code)), |key| {
        names.is_key(key)
    });
    check("variable", in_code(names::variables_in), |name| {
        names.is_variable(name)
    });
    // Where the table of Helm's values and the manifests set them.
    let set = files().into_iter().filter(|name| {
        let folder = ["deploy/", ".ci/", "Makefile"]
            .iter()
            .any(|folder| name.starts_with(folder));
        folder && !name.contains("/dashboards/")
    });
    let set = set.flat_map(|name| {
        let text = fs::read_to_string(root().join(&name)).unwrap_or_default();
        let found = names::variables_in(&text).into_iter();
        found
            .map(move |found| (name.clone(), found))
            .collect::<Vec<_>>()
    });
    check("variable", set, |name| names.is_variable(name));
}

#[test]
fn metrics_and_alerts_are_there() {
    let source: String = files()
        .iter()
        .filter(|name| name.ends_with(".rs") && name.contains("/src/"))
        .map(|name| fs::read_to_string(root().join(name)).expect("source"))
        .collect();
    let alerts = fs::read_to_string(root().join("deploy/monitoring/alerts.yaml")).expect("alerts");
    check("metric", in_code(names::metrics_in), |name| {
        let name = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        match name.strip_suffix('_') {
            // A family: `fanfare_redis_*`.
            Some(family) => source.contains(&format!("\"{family}_")),
            None => source.contains(&format!("\"{name}\"")),
        }
    });
    check("alert", in_code(names::alerts_in), |name| {
        alerts.contains(&format!("alert: {name}\n")) || name == "FanfareError"
    });
}

#[test]
fn commands_and_flags_are_there() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(arguments)
            .arg("--help")
            .output();
        let output = output.expect("the program");
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).expect("help in UTF-8"))
    };
    let calls = in_code(names::calls_in);
    check("command", calls, |call| {
        let words: Vec<_> = call.split_whitespace().collect();
        let named = words.first().filter(|word| !word.starts_with('-'));
        let Some(help) = help(named.map_or(&[], std::slice::from_ref)) else {
            return false;
        };
        let mut flags = words.iter().filter(|word| word.starts_with("--"));
        flags.all(|flag| {
            let flag = flag.split('=').next().unwrap_or_default();
            help.split([' ', ',', '[', '\n']).any(|word| word == flag)
        })
    });
}

#[test]
fn make_targets_are_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("Makefile");
    check("target", in_code(names::targets_in), |target| {
        makefile.contains(&format!("\n{target}:"))
    });
}

#[test]
fn paths_of_a_node_are_there() {
    let node = node();
    check("path", in_code(names::paths_in), |path| {
        let path = path.replace("ROOM", "room");
        [&node.public, &node.internal]
            .iter()
            .any(|port| node.status(port, &path) != 404)
    });
}

#[test]
fn files_are_there() {
    let files = files();
    // As the house is drawn, each crate's `src` is left out, and so are endings.
    let is_there = |name: &str| {
        files.iter().any(|file| {
            let short = file.replacen("/src/", "/", 1);
            [file, &short].iter().any(|file| {
                let ends = **file == name || **file == format!("{name}.rs");
                ends || file.ends_with(&format!("/{name}")) || file.contains(&format!("{name}/"))
            })
        })
    };
    let there = |name: &str| is_there(name.trim_end_matches('/'));
    check("file", in_code(names::files_in), there);
    let mut missing = BTreeSet::new();
    for document in documents() {
        for link in &document.links {
            if let Some(problem) = document.broken(&root(), link) {
                missing.insert(problem);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn what_must_stay_true_is_held_by_a_type_a_lint_or_a_test_that_is_there() {
    let source: String = files()
        .iter()
        .filter(|name| name.ends_with(".rs"))
        .map(|name| fs::read_to_string(root().join(name)).expect("source"))
        .collect();
    let architecture = fs::read_to_string(root().join("shared/ARCHITECTURE.md"));
    let architecture = architecture.expect("ARCHITECTURE.md");
    let invariants: Vec<_> = architecture.split("**Invariant.**").skip(1).collect();
    assert!(invariants.len() > 5, "there are some");
    for invariant in invariants {
        let (invariant, _) = invariant.split_once("\n\n").expect("a paragraph");
        let (_, held) = invariant
            .split_once("Held by")
            .unwrap_or_else(|| panic!("nothing holds that{invariant}"));
        if held.trim_start().starts_with("its type") {
            continue;
        }
        let mut names = held.split('`').skip(1).step_by(2).peekable();
        assert!(names.peek().is_some(), "no name: {held}");
        for name in names {
            let is_lint = held.contains(&format!("the lint `{name}`"));
            let there = is_lint || source.contains(&format!("fn {name}("));
            assert!(there, "no test is called {name}");
        }
    }
}

#[test]
fn each_attempt_is_tried_by_a_test_that_is_there() {
    let sources: Vec<_> = files()
        .iter()
        .filter(|name| name.ends_with(".rs"))
        .map(|name| fs::read_to_string(root().join(name)).expect("source"))
        .collect();
    let security = fs::read_to_string(root().join("shared/SECURITY.md"));
    let security = security.expect("SECURITY.md");
    let rows: Vec<_> = security
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| attempt "))
        .collect();
    assert!(rows.len() > 20, "{} attempts", rows.len());
    for row in rows {
        let tried = row.trim_end_matches(" |").rsplit("| ").next();
        let mut names = tried
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .peekable();
        assert!(names.peek().is_some(), "no test: {row}");
        for name in names {
            let declared = format!("fn {name}(");
            let is_test = |source: &String| {
                let before = source.split_once(&declared).map(|(before, _)| before);
                before.is_some_and(|before| {
                    before
                        .rsplit("\n\n")
                        .next()
                        .is_some_and(|near| near.contains("test]"))
                })
            };
            assert!(sources.iter().any(is_test), "no test is called {name}");
        }
    }
}

#[test]
fn the_way_of_a_publication_is_short() {
    let architecture = fs::read_to_string(root().join("shared/ARCHITECTURE.md"));
    let architecture = architecture.expect("ARCHITECTURE.md");
    let (_, way) = architecture
        .split_once("## The way of a publication")
        .expect("it is written down");
    let (way, _) = way.split_once("\n## ").expect("more follows");
    let rows = way.lines().filter_map(|line| line.strip_prefix("| `"));
    let way: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
    assert!((20..=30).contains(&way.len()), "{} files", way.len());
    for file in way {
        assert!(root().join(file).is_file(), "no such file: {file}");
    }
}
