//! Secrets in files: a token, a password, a key. Only their owner may read the file, as ssh demands of its keys.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::trouble::{Kind, Trouble};

/// Longest secret: a web identity token has a few kB.
pub const MAX_SECRET_BYTES: usize = 1 << 16;

/// The text of a file that only its owner may read, without white space around it.
///
/// # Errors
/// `Configuration`: it cannot be read, is empty or not a text, or the group or others may touch it.
pub fn read(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let refused =
        |why: &str| Trouble::new(Kind::Configuration, format!("{} {why}", path.display()));
    let file = File::open(path).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    // Asked of the open file: its name may lead elsewhere a moment later.
    let meta = file.metadata().map_err(|_| refused("cannot be read"))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(refused(
            "holds a secret and may be read by others: chmod 600",
        ));
    }
    text(file).ok_or_else(|| refused("is not a secret: empty, not a text, or longer than 64 kB"))
}

/// The text of a file that is handed to us by others who chose who may read it: a projected token of Kubernetes is readable by its pod's group.
///
/// # Errors
/// `Configuration`: it cannot be read, is empty or not a text.
pub fn read_token(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let refused =
        |why: &str| Trouble::new(Kind::Configuration, format!("{} {why}", path.display()));
    let file = File::open(path).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    text(file).ok_or_else(|| refused("is not a token: empty, not a text, or longer than 64 kB"))
}

/// A key of 32 bytes, as hex, in a file that only its owner may read.
///
/// # Errors
/// As [`read`]; `Configuration` if it is no such key.
pub fn key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Trouble> {
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(read(path)?.as_bytes(), &mut *key).map_err(|_| {
        let text = format!("{} is not a key of 64 hex digits", path.display());
        Trouble::new(Kind::Configuration, text)
    })?;
    Ok(key)
}

fn text(file: File) -> Option<Zeroizing<String>> {
    // With its final capacity from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    file.take(MAX_SECRET_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    let text = core::str::from_utf8(&bytes).ok()?.trim();
    let fits = !text.is_empty() && bytes.len() <= MAX_SECRET_BYTES;
    fits.then(|| Zeroizing::new(text.to_owned()))
}
