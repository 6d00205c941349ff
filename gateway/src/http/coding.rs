//! In which coding a client takes a body (RFC 9110, section 12.5.3).

/// A coding that a file is held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
    /// Brotli.
    Brotli,
}

impl Coding {
    /// The name in `Content-Encoding`; none as it is.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// The coding that a client likes best, by its `Accept-Encoding`; of equals the smallest. A client
/// that takes none of them gets the file as it is, which is better than a refusal.
pub(super) fn choose(accepted: &str) -> Coding {
    let codings = [
        (Coding::Brotli, "br"),
        (Coding::Gzip, "gzip"),
        (Coding::Identity, "identity"),
    ];
    let liked = codings.map(|(coding, name)| (coding, quality(accepted, name)));
    let mut best = (Coding::Identity, 0.0);
    for (coding, quality) in liked {
        if quality > best.1 {
            best = (coding, quality);
        }
    }
    best.0
}

/// How much a client likes a coding, from 0 to 1. One that it does not name it does not take, but
/// for the file as it is, which comes last.
fn quality(accepted: &str, coding: &str) -> f32 {
    let mut liked = if coding == "identity" { 0.001 } else { 0.0 };
    for entry in accepted.split(',') {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let mut parameters = parameters.split(';').map(str::trim);
        let quality = parameters
            .find_map(|parameter| parameter.strip_prefix("q="))
            .map_or(Some(1.0), |quality| quality.parse().ok());
        let Some(quality) = quality else { continue };
        let name = name.trim();
        if name.eq_ignore_ascii_case(coding) {
            return quality;
        }
        if name == "*" {
            liked = quality;
        }
    }
    liked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_is_chosen_and_of_equals_the_smallest() {
        for (accepted, expected) in [
            ("", Coding::Identity),
            ("gzip", Coding::Gzip),
            ("GZIP , deflate", Coding::Gzip),
            ("gzip, deflate, br, zstd", Coding::Brotli),
            ("br;q=0.5, gzip;q=0.9", Coding::Gzip),
            ("br;q=0, gzip;q=0", Coding::Identity),
            ("br;q=0, *", Coding::Gzip),
            ("*", Coding::Brotli),
            ("identity;q=1, gzip;q=0.5", Coding::Identity),
            ("identity;q=0", Coding::Identity),
            ("gzip;q=no, br; q=0.3", Coding::Brotli),
        ] {
            assert_eq!(choose(accepted), expected, "{accepted}");
        }
    }
}
