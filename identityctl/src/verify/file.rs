//! Files as they come: of any size, with anything inside.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A text file, if it is UTF-8 and not larger than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other("the file is too large"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("the file is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = read(Path::new("/dev/zero"), 1 << 16).unwrap_err();
        assert_eq!(error.to_string(), "the file is too large");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(read(Path::new("/nonexistent"), 10).is_err());
        assert!(read(Path::new("/"), 10).is_err());
    }
}
