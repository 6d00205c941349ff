//! From which web pages browsers may connect (RFC 6454): the defence against pages that use a
//! visitor's cookies behind their back.

/// What a node says of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPolicy {
    /// Any page may connect.
    Any,
    /// Pages of the host that is connected to.
    Same,
    /// Pages of these origins, with `*` for any text.
    Listed(Vec<Box<str>>),
}

impl OriginPolicy {
    /// The policy of a node: what is listed; else the same host where tokens are asked for.
    #[must_use]
    pub fn new(listed: &[String], asks_for_tokens: bool) -> Self {
        match (listed, asks_for_tokens) {
            ([], false) => Self::Any,
            ([], true) => Self::Same,
            (listed, _) => Self::Listed(listed.iter().map(|one| one.as_str().into()).collect()),
        }
    }

    /// Whether a page of `origin` may connect to `host`, as the `Host` header names it.
    #[must_use]
    pub fn allows(&self, origin: &str, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Same => is_same(origin, host),
            Self::Listed(patterns) => patterns.iter().any(|pattern| matches(pattern, origin)),
        }
    }
}

/// Whether an origin is of a host. The scheme of the host is not known here, since a proxy may have
/// taken the encryption off; a port that is the origin's own may be left out.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, of_origin)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |host: &str| {
        let host = host.to_ascii_lowercase();
        host.strip_suffix(default)
            .map_or(host.clone(), str::to_owned)
    };
    !of_origin.is_empty() && bare(of_origin) == bare(host)
}

/// Whether an origin fits a pattern, whose every `*` is any text.
fn matches(pattern: &str, origin: &str) -> bool {
    let origin = origin.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| origin.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The first place leaves the most to those that follow.
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_keys_any_page_may_connect_and_with_keys_those_of_the_host() {
        let any = OriginPolicy::new(&[], false);
        assert!(any.allows("https://evil.example", "a"));
        let same = OriginPolicy::new(&[], true);
        for (origin, host, expected) in [
            ("https://a.example", "a.example", true),
            ("https://A.example", "a.Example:443", true),
            ("http://a.example", "a.example:80", true),
            ("http://a.example:80", "a.example", true),
            ("http://a.example:8080", "a.example:8080", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("https://a.example", "a.example:80", false),
            ("https://a.example", "a.example:8443", false),
            ("https://b.example", "a.example", false),
            ("https://a.example.evil", "a.example", false),
            ("null", "null", false),
            ("", "", false),
            ("https://", "", false),
            ("file://", "", false),
        ] {
            assert_eq!(same.allows(origin, host), expected, "{origin} {host}");
        }
    }

    #[test]
    fn a_list_names_origins_with_wildcards() {
        let listed = |patterns: &[&str], origin: &str| {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            OriginPolicy::new(&patterns, true).allows(origin, "host")
        };
        let subdomains = &["https://*.example.com"][..];
        for (patterns, origin, expected) in [
            (subdomains, "https://a.example.com", true),
            (subdomains, "https://A.B.Example.com", true),
            (subdomains, "https://example.com", false),
            (subdomains, "http://a.example.com", false),
            (subdomains, "https://a.example.com.evil", false),
            (subdomains, "https://aexample.com", false),
            (&["http://localhost:*"], "http://localhost:5173", true),
            (&["http://localhost:*"], "http://localhost", false),
            (&["https://a", "https://b"], "https://b", true),
            (&["https://a"], "https://ab", false),
            (&["https://*.a.*.b"], "https://x.a.y.b", true),
            (&["https://*.a.*.b"], "https://x.b.y.a", false),
            (&["*"], "null", true),
            (&["https://a"], "https://host", false),
        ] {
            assert_eq!(listed(patterns, origin), expected, "{patterns:?} {origin}");
        }
    }
}
