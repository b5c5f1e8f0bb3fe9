//! JSON objects in the canonical form of RFC 8785 (JCS), for values that are strings, arrays of
//! strings, or such objects. Numbers never occur: canonicalizers round integers above 2^53, so we write them as
//! strings.

use uuid::Uuid;

/// Writes one object, member by member. The caller gives the members in canonical order: keys
/// sorted by their UTF-16 code units ([`key_order`]).
pub(crate) struct Object(Vec<u8>);

impl Object {
    /// Starts an object; `capacity` bytes are allocated once.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self(out)
    }

    /// A member whose value is any text.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        escape(&mut self.0, value);
    }

    /// A member whose key is any text too.
    pub(crate) fn any(&mut self, key: &str, value: &str) {
        self.comma();
        escape(&mut self.0, key);
        self.0.push(b':');
        escape(&mut self.0, value);
    }

    /// A member whose value needs no escaping: a word of a closed list, a digit string.
    pub(crate) fn word(&mut self, key: &str, value: &str) {
        self.quoted(key, |out| out.extend_from_slice(value.as_bytes()));
    }

    /// An integer as a decimal string.
    pub(crate) fn integer(&mut self, key: &str, value: impl itoa::Integer) {
        self.word(key, itoa::Buffer::new().format(value));
    }

    /// Bytes as lower-case hex.
    pub(crate) fn hex(&mut self, key: &str, bytes: &[u8]) {
        self.quoted(key, |out| push_hex(out, bytes));
    }

    /// A UUID in its canonical form: lower case, with hyphens (RFC 9562 section 4).
    pub(crate) fn uuid(&mut self, key: &str, id: &[u8; 16]) {
        let id = Uuid::from_bytes_ref(id).hyphenated();
        self.word(key, id.encode_lower(&mut Uuid::encode_buffer()));
    }

    /// An array of words that need no escaping, in the order given.
    pub(crate) fn words(&mut self, key: &str, words: impl Iterator<Item = &'static str>) {
        self.key(key);
        self.0.push(b'[');
        for (index, word) in words.enumerate() {
            self.0
                .extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
            self.0.extend_from_slice(word.as_bytes());
            self.0.push(b'"');
        }
        self.0.push(b']');
    }

    /// An array of hex texts.
    pub(crate) fn hexes<'a>(&mut self, key: &str, items: impl Iterator<Item = &'a [u8]>) {
        self.key(key);
        self.0.push(b'[');
        for (index, bytes) in items.enumerate() {
            self.0
                .extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
            push_hex(&mut self.0, bytes);
            self.0.push(b'"');
        }
        self.0.push(b']');
    }

    /// A member whose value is an object.
    pub(crate) fn object(&mut self, key: &str, value: Self) {
        self.key(key);
        self.0.extend_from_slice(&value.finish());
    }

    /// A member whose quoted value `write` appends; it must need no escaping.
    pub(crate) fn quoted(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.0.push(b'"');
        write(&mut self.0);
        self.0.push(b'"');
    }

    /// Ends the object.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    fn key(&mut self, key: &str) {
        self.comma();
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn comma(&mut self) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
    }
}

/// The order of keys in RFC 8785, section 3.2.3: UTF-16 code units, not bytes. They differ above
/// U+FFFF, whose surrogates sort before U+E000.
pub(crate) fn key_order(a: &str, b: &str) -> core::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// A JSON string as RFC 8785 section 3.2.2.2 escapes it, which is also what PostgreSQL's
/// `to_json(text)` writes.
fn escape(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Runs of plain bytes are copied whole: most texts are one run.
    while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = from.split_first() else {
            break;
        };
        escape_byte(out, *byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | b'"' | b'\\')
}

fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    out.extend(bytes.iter().flat_map(digits));
}

/// One lower-case hex digit of a number below 16.
fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    /// RFC 8785 section 3.2.2.2, the sample of its section 3.2.2.
    #[test]
    fn rfc_8785_string() {
        let text = "\u{20ac}$\u{f}\nA'\u{42}\u{22}\u{5c}\\\"/";
        assert_eq!(escaped(text), r#""€$\u000f\nA'B\"\\\\\"/""#);
    }

    /// RFC 8785 section 3.2.3: its sample of seven keys, in the order it gives.
    #[test]
    fn rfc_8785_key_order() {
        let mut keys = [
            "\u{20ac}",
            "\r",
            "\u{fb33}",
            "1",
            "\u{1f600}",
            "\u{80}",
            "\u{f6}",
        ];
        keys.sort_by(|a, b| key_order(a, b));
        assert_eq!(
            keys,
            [
                "\r",
                "1",
                "\u{80}",
                "\u{f6}",
                "\u{20ac}",
                "\u{1f600}",
                "\u{fb33}"
            ]
        );
    }

    #[test]
    fn every_character_is_escaped_as_the_oracle_does() {
        for character in char::MIN..=char::MAX {
            let text = character.to_string();
            let oracle = serde_json_canonicalizer::to_string(&text).unwrap();
            assert_eq!(escaped(&text), oracle);
        }
    }

    #[test]
    fn members() {
        let mut object = Object::with_capacity(1);
        object.any("\"", "\n");
        object.hex("h", &[0x00, 0x9f, 0xa0, 0xff]);
        object.integer("i", i64::MIN);
        object.text("t", "\\");
        object.uuid("u", &[0xab; 16]);
        object.words("w", ["a", "b"].into_iter());
        object.hexes("x", [[0x0a].as_slice(), &[0xb0, 0x01]].into_iter());
        let mut inner = Object::with_capacity(0);
        inner.hexes("e", core::iter::empty());
        object.object("y", inner);
        assert_eq!(
            String::from_utf8(object.finish()).unwrap(),
            concat!(
                r#"{"\"":"\n","h":"009fa0ff","i":"-9223372036854775808","t":"\\","#,
                r#""u":"abababab-abab-abab-abab-abababababab","w":["a","b"],"#,
                r#""x":["0a","b001"],"y":{"e":[]}}"#
            )
        );
        assert_eq!(Object::with_capacity(0).finish(), b"{}");
    }
}
