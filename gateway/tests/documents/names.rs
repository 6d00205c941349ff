//! Names that code in a document can hold, and those that exist.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use fanfare_shared::config::{API_KEYS, AUTH_KEYS, KEYS, OTHER_VARIABLES, ROOM_KEYS};

/// The keys of the configuration.
pub(crate) struct Names {
    sections: BTreeSet<&'static str>,
    /// The values of the Helm chart, in YAML.
    values: String,
}

impl Names {
    pub(crate) fn new(values: String) -> Self {
        let sections = KEYS
            .iter()
            .chain(ROOM_KEYS)
            .filter_map(|key| key.path.split_once('.'));
        Self {
            sections: sections.map(|(section, _)| section).collect(),
            values,
        }
    }

    /// What has the form of a key: a section, a dot, a name.
    pub(crate) fn keys_in(&self, code: &str) -> Vec<String> {
        let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
        let keys = words.filter(|word| {
            let name = word
                .split_once('.')
                .filter(|(section, _)| self.sections.contains(section));
            name.is_some_and(|(_, name)| !name.is_empty() && !is_file(word) && !code.contains('('))
        });
        keys.map(|key| key.trim_end_matches('.').to_owned())
            .collect()
    }

    pub(crate) fn is_key(&self, name: &str) -> bool {
        let is_value = || {
            let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
            last.contains(char::is_uppercase) && self.values.contains(&format!("\n  {last}:"))
        };
        let is_listed = || {
            let lists = [("auth.keys", AUTH_KEYS), ("api.keys", API_KEYS)];
            lists.into_iter().any(|(list, keys)| {
                let key = name
                    .strip_prefix(list)
                    .map(|key| key.trim_start_matches('.'));
                key.is_some_and(|key| key.is_empty() || keys.iter().any(|one| one.path == key))
            })
        };
        let is_single = KEYS.iter().chain(ROOM_KEYS).any(|key| key.path == name);
        is_single || is_listed() || is_value()
    }

    pub(crate) fn is_variable(&self, name: &str) -> bool {
        let path = name
            .trim_start_matches("FANFARE_")
            .replace("__", ".")
            .to_lowercase();
        // The chart says why Kubernetes would set this one.
        OTHER_VARIABLES.contains(&name) || self.is_key(&path) || name == "FANFARE_SERVICE_HOST"
    }
}

fn is_file(word: &str) -> bool {
    let endings = [
        ".rs", ".py", ".js", ".json", ".md", ".yaml", ".yml", ".toml", ".lua", ".svg",
    ];
    endings.iter().any(|ending| word.ends_with(ending))
}

/// Words of letters, digits and underscores that start so.
fn words_from<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = String> + 'a {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(move |word| word.len() > start.len() && word.starts_with(start))
        .map(str::to_owned)
}

pub(crate) fn variables_in(text: &str) -> Vec<String> {
    words_from(text, "FANFARE_")
        .filter(|name| !name.ends_with('_'))
        .collect()
}

pub(crate) fn metrics_in(code: &str) -> Vec<String> {
    let crates = ["fanfare_broker", "fanfare_gateway", "fanfare_shared"];
    words_from(code, "fanfare_")
        .filter(|name| !crates.contains(&name.as_str()))
        .collect()
}

pub(crate) fn alerts_in(code: &str) -> Vec<String> {
    words_from(code, "Fanfare").collect()
}

/// What comes behind `fanfare` where it is called, up to what is not its own.
pub(crate) fn calls_in(code: &str) -> Vec<String> {
    let code = code.trim_start_matches("$ ");
    let mut words = code.split_whitespace();
    let Some(program) = words.next() else {
        return Vec::new();
    };
    if program.rsplit('/').next() != Some("fanfare") || program.starts_with('/') {
        return Vec::new();
    }
    let call: Vec<_> = words
        .take_while(|word| !["|", "&", "&&", "#", ">", "<"].contains(word))
        .collect();
    vec![call.join(" ")]
}

pub(crate) fn targets_in(code: &str) -> Vec<String> {
    let target = code.trim_start_matches("$ ").strip_prefix("make ");
    let target = target.and_then(|rest| rest.split_whitespace().next());
    target
        .filter(|word| !word.starts_with('-'))
        .map(str::to_owned)
        .into_iter()
        .collect()
}

/// Paths of a node: nothing but a path stands there, and it is none of the system's.
pub(crate) fn paths_in(code: &str) -> Vec<String> {
    let folders = [
        "/etc", "/proc", "/dev", "/var", "/tmp", "/sys", "/usr", "/run", "/opt", "/bin",
    ];
    let is_path = code.starts_with('/')
        && !code.contains(' ')
        && !folders.iter().any(|folder| code.starts_with(folder));
    is_path.then(|| code.to_owned()).into_iter().collect()
}

/// Files of the repository: a path of it, with `{a,b}` for several. Those of a package that is yet
/// to be built are not among them, nor what stands for any file of a kind.
pub(crate) fn files_in(code: &str) -> Vec<String> {
    let tops = [
        "broker/",
        "gateway/",
        "shared/",
        "deploy/",
        "loadtest/",
        ".ci/",
    ];
    let word = code.split_whitespace().next().unwrap_or_default();
    let word = word.trim_end_matches(':');
    let is_whole = word.len() == code.len() && is_file(word) && word.contains('/');
    let is_other = ["/", "../", "dist/"]
        .iter()
        .any(|start| word.starts_with(start))
        || word.contains(['*', '$'])
        || word.contains("TYPE");
    if is_other || !(is_whole || tops.iter().any(|top| word.starts_with(top))) {
        return Vec::new();
    }
    match word.split_once('{') {
        Some((start, rest)) => {
            let (several, end) = rest.split_once('}').expect("a closing brace");
            let each = several.split(',');
            each.map(|one| format!("{start}{one}{end}")).collect()
        }
        None => vec![word.to_owned()],
    }
}

/// A node on free ports; dropping it stops it.
pub(crate) struct Node {
    pub(crate) public: String,
    pub(crate) internal: String,
    process: Child,
    /// Kept, since the node writes to it.
    _output: BufReader<ChildStdout>,
}

pub(crate) fn node() -> Node {
    let mut process = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .env("FANFARE_LISTEN", "127.0.0.1:0")
        .env("FANFARE_INTERNAL__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program");
    let mut output = BufReader::new(process.stdout.take().expect("its output"));
    let mut address = || {
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let url = line.split("http://").nth(1).expect("an address");
        url.split('/').next().expect("a host").to_owned()
    };
    Node {
        public: address(),
        internal: address(),
        process,
        _output: output,
    }
}

impl Node {
    /// The status that `path` is answered with.
    pub(crate) fn status(&self, port: &str, path: &str) -> u16 {
        let mut socket = TcpStream::connect(port).expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        status.expect("a status")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
