//! The names of anchors. Twenty digits, so that their order as texts is that of the sizes: a listing ends with the largest tree.

/// What the keys of checkpoints begin with.
pub const CHECKPOINTS: &str = "checkpoints/";

const DIGITS: usize = 20;
const MAX_KEY_BYTES: usize = 500;

/// The key of the checkpoint of a tree of `size` leaves.
#[must_use]
pub fn checkpoint_key(size: u64) -> String {
    format!("{CHECKPOINTS}{size:0DIGITS$}")
}

/// The size that a key of [`checkpoint_key`]'s form speaks of.
#[must_use]
pub fn checkpoint_size(key: &str) -> Option<u64> {
    let digits = key.strip_prefix(CHECKPOINTS)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Whether a key is one that we would make: parts of letters, digits, `_`, `-` and `.`, none of which begins with a dot. Such a key needs no encoding in an address and
/// cannot lead out of a directory.
pub(super) fn is_key(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES && key.split('/').all(is_part)
}

/// Whether all keys may begin with this: nothing, or parts that each end with a slash.
pub(super) fn is_prefix(prefix: &str) -> bool {
    prefix.is_empty()
        || prefix.len() <= MAX_KEY_BYTES && prefix.strip_suffix('/').is_some_and(is_key)
}

fn is_part(part: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !part.is_empty() && !part.starts_with('.') && part.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_sizes() {
        let sizes = [0, 1, 9, 10, 999_999, u64::MAX - 1, u64::MAX];
        let keys = sizes.map(checkpoint_key);
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| checkpoint_size(&key)), sizes.map(Some));
        assert!(is_key(&checkpoint_key(7)));
    }

    #[test]
    fn no_other_key_has_a_size() {
        for key in [
            "checkpoints/7",
            "checkpoints/+0000000000000000007",
            "checkpoints/00000000000000000007x",
            "checkpoints/99999999999999999999",
            "checkpoints/",
            "other/00000000000000000007",
            "checkpoints/0000000000000000000\u{664}",
        ] {
            assert_eq!(checkpoint_size(key), None, "{key}");
        }
    }

    #[test]
    fn no_key_leads_elsewhere() {
        for key in [
            "", "/", "/a", "a/", "a//b", "..", "a/../b", "a/.b", ".", "a b", "a\0", "ä", "a?b",
            "a%2e",
        ] {
            assert!(!is_key(key), "{key}");
        }
        assert!(is_prefix("") && is_prefix("a/") && is_prefix("a/b.c/"));
        assert!(!is_prefix("a") && !is_prefix("/") && !is_prefix("../"));
    }
}
