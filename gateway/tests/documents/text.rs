//! A document in Markdown: its code and its links.

use std::fs;
use std::path::Path;

/// A document.
pub(crate) struct Document {
    /// Its path in the repository.
    name: String,
    /// Code, inline or a line of a block, each with its place.
    pub(crate) code: Vec<(String, String)>,
    /// Targets of links.
    pub(crate) links: Vec<String>,
}

impl Document {
    pub(crate) fn read(root: &Path, name: &str) -> Self {
        let text = fs::read_to_string(root.join(name)).expect("a document");
        let (mut code, mut links) = (Vec::new(), Vec::new());
        let mut within = false;
        for (number, line) in (1..).zip(text.lines()) {
            let place = format!("{name}:{number}");
            if line.trim_start().starts_with("```") {
                within = !within;
            } else if within {
                code.push((place, line.to_owned()));
            } else {
                // Every second piece is between two backticks.
                let spans = line.split('`').skip(1).step_by(2);
                code.extend(spans.map(|span| (place.clone(), span.to_owned())));
                let targets = line.split("](").skip(1);
                links.extend(targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
            }
        }
        Self {
            name: name.to_owned(),
            code,
            links,
        }
    }

    /// Says what is wrong with a link within the repository.
    pub(crate) fn broken(&self, root: &Path, link: &str) -> Option<String> {
        if link.contains("://") {
            return None;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let folder = Path::new(&self.name).parent().unwrap_or(Path::new(""));
        let target = match file {
            "" => root.join(&self.name),
            file => root.join(folder).join(file),
        };
        if !target.exists() {
            return Some(format!(
                "{}: links to {link}, which is not there",
                self.name
            ));
        }
        let is_there = anchor.is_empty() || {
            let text = fs::read_to_string(&target).unwrap_or_default();
            let headings = text.lines().filter(|line| line.starts_with('#'));
            headings.map(anchor_of).any(|heading| heading == anchor)
        };
        (!is_there).then(|| format!("{}: links to {link}, which has no such heading", self.name))
    }
}

/// How a heading is linked to.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
