//! Bytes and numbers as text, in one way only: what the writer would not produce is not read.

use base64ct::{Base64, Encoding};

/// The standard base 64 of RFC 4648, section 4, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Reads [`base64`]. The library refuses padding and last characters that say the same otherwise:
/// else a signature line could be changed without becoming another.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

/// Reads the [`base64`] of exactly `N` bytes.
pub(crate) fn array_from_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_base64(text)?.try_into().ok()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .flatten()
        .collect()
}

/// Reads the [`hex`] of exactly `N` bytes.
pub(crate) fn array_from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (to, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *to = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (hex(&bytes) == text).then_some(bytes)
}

/// Reads a decimal number that is not negative: no sign, and no zeros in front.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (itoa::Buffer::new().format(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4648, section 10.
    #[test]
    fn rfc_4648_vectors() {
        for (text, encoded, in_hex) in [
            ("", "", ""),
            ("f", "Zg==", "66"),
            ("fo", "Zm8=", "666f"),
            ("foo", "Zm9v", "666f6f"),
            ("foob", "Zm9vYg==", "666f6f62"),
            ("fooba", "Zm9vYmE=", "666f6f6261"),
            ("foobar", "Zm9vYmFy", "666f6f626172"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
            assert_eq!(from_base64(encoded).as_deref(), Some(text.as_bytes()));
            assert_eq!(hex(text.as_bytes()), in_hex);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn base64_that_says_the_same_otherwise_is_refused() {
        for text in [
            "Zh==", "Zm9=", "Zg", "Zg=", "Zg===", "=", "====", "Z", "Zm9vY", "Zm8=Zm8=", "Zg==\n",
            " Zg==", "Zm\n9v", "-__-", "Zg==Zg==", "Zé==",
        ] {
            assert_eq!(from_base64(text), None, "{text}");
        }
        let alphabet = ('A'..='Z')
            .chain('a'..='z')
            .chain('0'..='9')
            .chain(['+', '/']);
        for (number, last) in alphabet.enumerate() {
            let canonical = |bits: usize| number.is_multiple_of(1 << bits);
            let (one, two) = (format!("A{last}=="), format!("AA{last}="));
            assert_eq!(from_base64(&one).is_some(), canonical(4), "{one}");
            assert_eq!(from_base64(&two).is_some(), canonical(2), "{two}");
        }
        assert_eq!(array_from_base64::<2>("Zm8="), Some(*b"fo"));
        assert_eq!(array_from_base64::<1>("Zm8="), None);
        assert_eq!(array_from_base64::<3>("Zm8="), None);
    }

    #[test]
    fn hex_that_says_the_same_otherwise_is_refused() {
        assert_eq!(array_from_hex("00ff9a"), Some([0, 0xff, 0x9a]));
        assert_eq!(array_from_hex("00ff9"), None::<[u8; 2]>);
        assert_eq!(array_from_hex("00ff9"), None::<[u8; 3]>);
        for text in [
            "00",
            "00ff9a00",
            "00FF9a",
            "+0ff9a",
            "00ff9g",
            "0\u{e9}f9a",
            " 0ff9a",
        ] {
            assert_eq!(array_from_hex(text), None::<[u8; 3]>, "{text}");
        }
    }

    #[test]
    fn numbers_that_say_the_same_otherwise_are_refused() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            "-0",
            " 1",
            "1 ",
            "1e3",
            "0x1",
            "١",
            "18446744073709551616",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn one_text_for_each_value(bytes: [u8; 9], length in 0usize..=9, number: u64, noise: String) {
            let some = &bytes[..length];
            prop_assert_eq!(from_base64(&base64(some)), Some(some.to_vec()));
            prop_assert_eq!(array_from_hex(&hex(&bytes)), Some(bytes));
            prop_assert_eq!(decimal(&number.to_string()), Some(number));
            if let Some(read) = from_base64(&noise) {
                prop_assert_eq!(base64(&read), noise);
            }
        }
    }
}
