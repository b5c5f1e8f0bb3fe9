//! The names of what lies there. Twenty digits, so that their order as texts is that of the sizes: a listing ends with the largest tree.

/// What lies in folders of its own, of each incarnation: signed checkpoints, and tombstones.
pub const CHECKPOINTS: &str = "checkpoints";
pub const TOMBSTONES: &str = "tombstones";

/// What the keys of all incarnations but the first begin with.
pub const INCARNATIONS: &str = "incarnations/";

const DIGITS: usize = 20;
const MAX_KEY_BYTES: usize = 500;

/// What the keys of one kind begin with in one incarnation of the log.
#[must_use]
pub fn folder(incarnation: u32, what: &str) -> String {
    match incarnation {
        0 | 1 => format!("{what}/"),
        later => format!("{INCARNATIONS}{later}/{what}/"),
    }
}

/// The key of what belongs to a tree of `size` leaves.
#[must_use]
pub fn sized_key(folder: &str, size: u64) -> String {
    format!("{folder}{size:0DIGITS$}")
}

/// The size that a key of [`sized_key`]'s form speaks of.
#[must_use]
pub fn size_of(folder: &str, key: &str) -> Option<u64> {
    let digits = key.strip_prefix(folder)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// The key of the document that declares an incarnation.
#[must_use]
pub fn declaration_key(incarnation: u32) -> String {
    format!("{INCARNATIONS}{incarnation}/declaration")
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
        for incarnation in [1, 2, u32::MAX] {
            let folder = folder(incarnation, CHECKPOINTS);
            let keys = sizes.map(|size| sized_key(&folder, size));
            assert!(keys.is_sorted());
            assert!(keys.iter().all(|key| is_key(key)));
            assert_eq!(keys.map(|key| size_of(&folder, &key)), sizes.map(Some));
        }
        assert!(is_key(&declaration_key(u32::MAX)));
    }

    #[test]
    fn what_an_incarnation_has_is_in_no_folder_of_another() {
        assert_eq!(folder(1, CHECKPOINTS), "checkpoints/");
        assert_eq!(folder(2, CHECKPOINTS), "incarnations/2/checkpoints/");
        assert_eq!(folder(2, TOMBSTONES), "incarnations/2/tombstones/");
        let key = sized_key(&folder(2, CHECKPOINTS), 7);
        for other in [
            folder(1, CHECKPOINTS),
            folder(22, CHECKPOINTS),
            folder(2, TOMBSTONES),
        ] {
            assert_eq!(size_of(&other, &key), None, "{other}");
        }
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
            assert_eq!(size_of("checkpoints/", key), None, "{key}");
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
