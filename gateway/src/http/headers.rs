//! A request's headers, by name and by token.

/// In place of a value that is not text: as good as one that means nothing here.
const NO_TEXT: &str = "\u{fffd}";

/// A request's headers.
pub(super) struct Headers<'a>(pub(super) &'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| std::str::from_utf8(header.value).unwrap_or(NO_TEXT).trim())
    }

    pub(super) fn get(&self, name: &'static str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The comma-separated values of a header, given once or several times.
    pub(super) fn tokens(&self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|token| !token.is_empty())
    }

    pub(super) fn has_token(&self, name: &'static str, token: &str) -> bool {
        self.tokens(name)
            .any(|found| found.eq_ignore_ascii_case(token))
    }
}
