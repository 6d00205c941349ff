//! Reads the usual command in one pass: strings without escapes, whole numbers, truths, and
//! `data` of any kind.
//!
//! Of anything else it says nothing, and serde reads the message instead. serde is the authority:
//! what is read here, it would read the same.

use serde_json::value::RawValue;

use super::verbatim::verbatim_len;
use crate::codec::decode::Fields;
use crate::{Data, Encoding};

/// Reads a command's fields, or some of them and then `None` where something is unusual.
pub(super) fn read<'a>(text: &'a str, fields: &mut Fields<'a>) -> Option<()> {
    let mut reader = Reader { text, at: 0 };
    if reader.next()? != b'{' {
        return None;
    }
    loop {
        reader.skip_space();
        // The most usual come first.
        if reader.takes("\"type\":\"publish\"") {
            set(&mut fields.kind, "publish".into())?;
        } else if reader.takes("\"type\":") {
            set(&mut fields.kind, reader.string()?.into())?;
        } else if reader.takes("\"room\":") {
            set(&mut fields.room, reader.string()?.into())?;
        } else if reader.takes("\"data\":") {
            set(&mut fields.data, raw(reader.value()?))?;
        } else if reader.takes("\"id\":") {
            set(&mut fields.id, reader.integer()?)?;
        } else if reader.takes("\"event\":") {
            set(&mut fields.event, reader.string()?.into())?;
        } else if reader.takes("\"key\":") {
            set(&mut fields.key, reader.string()?.into())?;
        } else if reader.takes("\"echo\":") {
            set(&mut fields.echo, reader.bool()?)?;
        } else {
            return None;
        }
        match reader.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    reader.ends().then_some(())
}

/// A value as it was written.
pub(super) fn raw(json: &str) -> Data<&[u8]> {
    Data {
        encoding: Encoding::Json,
        bytes: json.as_bytes(),
    }
}

/// Takes a field's value, the first one.
fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// Reads a text from front to back; what it takes may have white space before it.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }

    fn ends(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    fn next(&mut self) -> Option<u8> {
        self.skip_space();
        let next = self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(*next)
    }

    /// Whether the very next is `word`, taken if so.
    fn takes(&mut self, word: &str) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        let found = rest.starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn string(&mut self) -> Option<&'a str> {
        if self.next()? != b'"' {
            return None;
        }
        let start = self.at;
        self.at += verbatim_len(&self.text.as_bytes()[start..]);
        let string = self.text.get(start..self.at)?;
        self.takes("\"").then_some(string)
    }

    fn integer(&mut self) -> Option<u64> {
        self.skip_space();
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 1 && rest[0] == b'0' {
            return None;
        }
        let start = self.at;
        self.at += digits;
        self.text.get(start..self.at)?.parse().ok()
    }

    fn bool(&mut self) -> Option<bool> {
        self.skip_space();
        if self.takes("true") {
            return Some(true);
        }
        self.takes("false").then_some(false)
    }

    /// Takes a value of any kind and answers its text.
    fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.at;
        if self.string().is_none() {
            let rest = self.text.get(start..)?;
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
            self.at = start + values.next()?.ok()?.get().len();
        }
        self.text.get(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read as by_serde;
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    fn quickly(text: &str) -> Option<Fields<'_>> {
        let mut fields = Fields::default();
        read(text, &mut fields).map(|()| fields)
    }

    #[test]
    fn usual_commands_are_read_quickly_and_unusual_ones_left_to_serde() {
        for usual in [
            r#"{"type":"publish","room":"r","data":"text"}"#,
            r#"{"type":"publish","id":7,"room":"чат","event":"e","key":"k","echo":false,"data":{}}"#,
            r#"{"type":"publish","room":"r","data":"\u0041\n"}"#,
            "{\"type\": \"publish\",\n\t\"data\": [1, 2e3] ,\r\n\"room\": \"r\"} ",
            r#"{"type":"ping","id":0}"#,
        ] {
            assert_eq!(quickly(usual), by_serde(usual).ok(), "{usual}");
            assert!(quickly(usual).is_some(), "{usual}");
        }
        for unusual in [
            r#"{"\u0074ype":"ping"}"#,
            r#"{"type":"ping","new":1}"#,
            r#"{"type":"ping","id":1,"id":1}"#,
            r#"{"type":"ping","id":18446744073709551616}"#,
            r#"{"type":"ping","id":01}"#,
            r#"{"type":"ping","id":1.0}"#,
            r#"{"type":"ping","id":null}"#,
            r#"{"type":"ping"}}"#,
            r#"{"type":"ping",}"#,
            "{\"type\":\"ping\n\"}",
            "{\"type\":\x0c\"ping\"}",
            "{}",
        ] {
            assert_eq!(quickly(unusual), None, "{unusual}");
        }
    }

    /// A field and what stands around its parts, most often as it should be.
    fn field() -> impl Strategy<Value = String> {
        let names = |names: &[&'static str]| select(names.to_vec());
        let words = |words: &[&'static str]| select(words.to_vec()).prop_map(str::to_owned);
        let string = || {
            prop_oneof![
                words(&["\"publish\"", "\"ping\"", "\"\\\"\\u00e9\""]),
                "\"[a-zé]{0,18}[\"\\\\\\n\\x1f]?[a-z]{0,18}\"",
            ]
        };
        let integer = || {
            prop_oneof![
                any::<u64>().prop_map(|integer| integer.to_string()),
                words(&["0", "01", "-1", "1.0", "1e3", "18446744073709551616"]),
            ]
        };
        let bool = || words(&["true", "false", "tru"]);
        let other = || {
            words(&[
                "null",
                "[1,{\"a\":null}]",
                "[1,}",
                "{\"epoch\":\"e\",\"offset\":1}",
            ])
        };
        let any_value = || prop_oneof![string(), integer(), bool(), other()];
        let any_name = names(&[
            "type", "id", "room", "echo", "since", "limit", "x", "\\u0069d",
        ]);
        let space = || prop_oneof![9 => Just(""), 1 => select(vec![" ", "\n\t", "\r", "\x0c"])];
        let field = prop_oneof![
            4 => (names(&["type", "room", "event", "key"]), string()),
            2 => (Just("id"), integer()),
            1 => (Just("echo"), bool()),
            2 => (Just("data"), any_value()),
            1 => (any_name, any_value()),
        ];
        (field, space(), space()).prop_map(|((name, value), before, after)| {
            format!("{before}\"{name}\"{after}:{before}{value}{after}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8192))]

        #[test]
        fn what_is_read_quickly_serde_reads_the_same(
            fields in vec(field(), 1..5),
            behind in select(vec!["", "", "", " ", "\x0c", "x", "{}"]),
            change in option::weighted(0.3, (any::<Index>(), "[ -~\\x00-\\x1fé]?")),
        ) {
            let mut text: Vec<char> = format!("{{{}}}{behind}", fields.join(",")).chars().collect();
            if let Some((at, put)) = change {
                let at = at.index(text.len());
                text.splice(at..=at, put.chars());
            }
            let text = String::from_iter(text);
            if let Some(fields) = quickly(&text) {
                prop_assert_eq!(by_serde(&text), Ok(fields), "{}", text);
            }
        }

        #[test]
        fn any_text_is_read_without_panic_and_as_serde_reads_it(text in any::<String>()) {
            if let Some(fields) = quickly(&text) {
                prop_assert_eq!(by_serde(&text), Ok(fields), "{}", text);
            }
        }
    }
}
