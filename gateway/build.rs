//! Compresses the files that the public port serves, and names what is in each by a hash.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::{Digest, Sha1};

/// What each file is called in the code, and where it is.
const FILES: [(&str, &str); 5] = [
    ("INDEX_HTML", "web/index.html"),
    ("PAGE_CSS", "web/page.css"),
    ("PAGE_JS", "web/page.js"),
    ("TRANSCRIPT_JS", "web/transcript.js"),
    ("CLIENT_JS", "client/client.js"),
];

/// The most that brotli takes: its window, in powers of two.
const WINDOW: u32 = 22;

fn main() -> Result<(), Box<dyn Error>> {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut code = String::new();
    for (name, path) in FILES {
        println!("cargo:rerun-if-changed={path}");
        let text = fs::read(source.join(path))?;
        write_compressed(&out.join(name), &text)?;
        let digest = Sha1::digest(&text);
        let tag = digest[..8].iter().fold(String::new(), |mut tag, byte| {
            // Writing to a string cannot fail.
            let _ = write!(tag, "{byte:02x}");
            tag
        });
        let original = source.join(path);
        writeln!(
            code,
            "pub(super) const {name}: Content = Content {{ tag: \"{tag}\", \
             identity: include_bytes!({original:?}), \
             gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.gz\")), \
             brotli: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.br\")) }};"
        )?;
    }
    fs::write(out.join("contents.rs"), code)?;
    Ok(())
}

fn write_compressed(path: &Path, text: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text)?;
    fs::write(path.with_extension("gz"), gzip.finish()?)?;
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 11, WINDOW);
    brotli.write_all(text)?;
    fs::write(path.with_extension("br"), brotli.into_inner())?;
    Ok(())
}
