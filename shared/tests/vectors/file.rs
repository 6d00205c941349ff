//! Reading vector files, and the list of those there must be.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// Gives every variant of an enum the file that holds its vectors. The match is exhaustive, so a
/// new variant has to be named.
macro_rules! files {
    ($name:ident: $type:ident $(<$lifetime:lifetime>)? { $($variant:ident => $file:literal,)* }) => {
        pub(crate) const FILES: &[&str] = &[$($file),*];

        pub(crate) fn $name(value: &$type$(<$lifetime>)?) -> &'static str {
            match value {
                $($type::$variant { .. } => $file,)*
            }
        }
    };
}
pub(crate) use files;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", name]
        .iter()
        .collect()
}

/// Reads a file of vectors.
pub(crate) fn load<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = path(name);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of a folder's files without their ending.
pub(crate) fn names_in(folder: &str) -> BTreeSet<String> {
    let names = fs::read_dir(path(folder)).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    });
    names.collect()
}

/// Bytes that stand in a vector as hexadecimal digits.
#[derive(PartialEq, Eq, Clone)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(reader)?;
        let pairs = digits.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| pair.len() == 2)
        });
        bytes
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("not hexadecimal digits"))
    }
}

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
