//! A mistake, and where it is.

use std::fmt;

/// Something that the configuration says and cannot mean. Never holds a value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line and column, counted from 1; none if it is about the file as a whole.
    pub place: Option<(usize, usize)>,
    pub text: String,
}

impl Mistake {
    pub(super) fn of_file(text: String) -> Self {
        Self { place: None, text }
    }

    pub(super) fn at(source: &str, offset: usize, text: String) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        Self {
            place: Some((line, column)),
            text,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(out, "line {line}, column {column}: ")?;
        }
        out.write_str(&self.text)
    }
}

/// A parser's message without the values that it quotes: one of them may be a password in the wrong place.
pub(super) fn without_values(message: &str) -> String {
    const OPEN: &str = "string \"";
    let mut text = String::new();
    let mut rest = message;
    while let Some((before, quoted)) = rest.split_once(OPEN) {
        text.push_str(before);
        text.push_str("a text");
        rest = after_quote(quoted);
    }
    text.push_str(rest);
    text
}

fn after_quote(quoted: &str) -> &str {
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '"' => break,
            _ => {}
        }
    }
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_told() {
        assert_eq!(
            without_values(r#"invalid type: string "se\"cret", expected a table"#),
            "invalid type: a text, expected a table"
        );
        assert_eq!(
            without_values(r#"a string "a", string "b"#),
            "a a text, a text"
        );
        assert_eq!(without_values("missing field `url`"), "missing field `url`");
    }

    #[test]
    fn places_are_counted_in_characters() {
        let source = "a\n[é] x\n";
        assert_eq!(Mistake::at(source, 6, String::new()).place, Some((2, 4)));
        assert_eq!(Mistake::at(source, 0, String::new()).place, Some((1, 1)));
    }
}
