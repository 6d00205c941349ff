//! Wire types and codecs, ids, positions, codes and configuration: what every part of Fanfare agrees on.

pub mod config;
