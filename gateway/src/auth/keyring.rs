//! The keys of a node: those of its configuration, and those of a file that may change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use fanfare_shared::config::{Auth, AuthKey};
use jsonwebtoken::Algorithm;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use super::key::Key;

/// A key that cannot be used. Its text never has the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{at}: {problem}")]
pub struct KeyError {
    /// What named it: a key of the configuration.
    at: String,
    problem: String,
}

impl KeyError {
    pub(super) fn new(at: impl Into<String>, problem: impl Into<String>) -> Self {
        let (at, problem) = (at.into(), problem.into());
        Self { at, problem }
    }
}

/// The keys of a node. Those in use are one list, replaced as a whole.
pub(super) struct Keyring {
    /// Those of the configuration.
    fixed: Vec<Arc<Key>>,
    /// Those of `auth.key_file`.
    file: Option<Watched>,
    /// Those of `auth.jwks_url`, as they were last fetched.
    fetched: Mutex<Vec<Arc<Key>>>,
    all: RwLock<Arc<[Arc<Key>]>>,
    /// What the operator should know.
    warnings: Vec<String>,
}

/// Shorter secrets can be guessed (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;

/// A file of keys, and what it was when it was last read.
struct Watched {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Vec<Arc<Key>>)>,
}

impl Keyring {
    /// Reads the keys of a configuration.
    pub(super) fn read(auth: &Auth) -> Result<Self, KeyError> {
        let mut fixed = Vec::new();
        let mut warnings = Vec::new();
        let mut judge = |at: &str, secret: &[u8]| {
            if secret.len() < SHORTEST_SECRET {
                warnings.push(format!(
                    "{at} has {} bytes and may be guessed; take {SHORTEST_SECRET} random ones",
                    secret.len()
                ));
            }
        };
        if let Some(secret) = &auth.secret {
            let secret = secret.expose().as_bytes();
            judge("auth.secret", secret);
            fixed.push(Arc::new(Key::shared(None, Algorithm::HS256, secret)));
        }
        for (number, key) in (1..).zip(&auth.keys) {
            let at = format!("auth.keys[{number}]");
            if let Some(secret) = &key.secret {
                judge(&format!("{at}.secret"), secret.expose().as_bytes());
            }
            fixed.push(Arc::new(read_key(&at, key)?));
        }
        let file = match &auth.key_file {
            None => None,
            Some(path) => {
                let (modified, keys) = read_file(path)?;
                Some(Watched {
                    path: path.clone(),
                    read: Mutex::new((modified, keys)),
                })
            }
        };
        let ring = Self {
            fixed,
            file,
            fetched: Mutex::default(),
            all: RwLock::new(Arc::new([])),
            warnings,
        };
        ring.join();
        Ok(ring)
    }

    /// What the operator should know of the keys.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The keys that are in use.
    pub(super) fn keys(&self) -> Arc<[Arc<Key>]> {
        Arc::clone(&self.all.read())
    }

    /// Reads the file of keys anew if it changed. Answers whether it did. A file that cannot be read
    /// or has no key is an error, and leaves the keys as they are.
    pub(super) fn reread(&self) -> Result<bool, KeyError> {
        let Some(Watched { path, read }) = &self.file else {
            return Ok(false);
        };
        let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
        if modified.is_some() && modified == read.lock().0 {
            return Ok(false);
        }
        let found = read_file(path)?;
        *read.lock() = found;
        self.join();
        Ok(true)
    }

    /// Replaces the keys that were fetched.
    pub(super) fn replace_fetched(&self, keys: Vec<Key>) {
        *self.fetched.lock() = keys.into_iter().map(Arc::new).collect();
        self.join();
    }

    fn join(&self) {
        let mut all = self.fixed.clone();
        if let Some(file) = &self.file {
            all.extend(file.read.lock().1.iter().cloned());
        }
        all.extend(self.fetched.lock().iter().cloned());
        *self.all.write() = all.into();
    }
}

fn read_file(path: &Path) -> Result<(Option<SystemTime>, Vec<Arc<Key>>), KeyError> {
    let at = || format!("auth.key_file = \"{}\"", path.display());
    let unreadable = |error| KeyError::new(at(), format!("cannot be read: {error}"));
    // Before the text: what changes meanwhile is seen the next time.
    let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let keys = if text.trim_start().starts_with('{') {
        Key::from_set(&text, true)
    } else {
        Key::from_pem(None, None, &text).map(|key| vec![key])
    };
    let keys = keys.map_err(|problem| KeyError::new(at(), problem))?;
    Ok((modified, keys.into_iter().map(Arc::new).collect()))
}

fn read_key(at: &str, key: &AuthKey) -> Result<Key, KeyError> {
    let id = key.kid.as_deref();
    let algorithm: Algorithm = key
        .algorithm
        .parse()
        .map_err(|_| KeyError::new(format!("{at}.algorithm"), "it is not known here"))?;
    if let Some(secret) = &key.secret {
        return Ok(Key::shared(id, algorithm, secret.expose().as_bytes()));
    }
    let (at, text) = match (&key.public_key, &key.file) {
        (Some(pem), _) => (format!("{at}.public_key"), pem.clone()),
        (None, Some(path)) => {
            let at = format!("{at}.file = \"{}\"", path.display());
            let text = fs::read_to_string(path)
                .map_err(|error| KeyError::new(&at, format!("cannot be read: {error}")))?;
            (at, text)
        }
        (None, None) => return Err(KeyError::new(at, "it has no key")),
    };
    if key.is_shared() {
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(KeyError::new(at, "it is empty"));
        }
        return Ok(Key::shared(id, algorithm, secret.as_bytes()));
    }
    Key::from_pem(id, Some(algorithm), &text).map_err(|problem| KeyError::new(at, problem))
}
