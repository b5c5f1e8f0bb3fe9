//! `new-key`: the key pair that the database knows this worker by.

use std::fs::OpenOptions;
use std::io::{Error, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use identity_core::sealing::SealingSecret;
use zeroize::Zeroizing;

use crate::trouble::{Kind, Trouble};

/// Makes a key, writes its secret half into a file that is not there yet and that only its owner may read, and returns its public half as hex.
///
/// # Errors
/// `Configuration` if the file is there or cannot be written.
pub fn make(file: &Path) -> Result<String, Trouble> {
    let refused = |error: &Error| {
        let text = format!("{} cannot be written: {error}", file.display());
        Trouble::new(Kind::Configuration, text)
    };
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret)
        .map_err(|_| Trouble::new(Kind::Unavailable, "the system gives no randomness"))?;
    let text = Zeroizing::new(hex::encode(*secret) + "\n");
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    let mut opened = opened.map_err(|error| refused(&error))?;
    opened
        .write_all(text.as_bytes())
        .and_then(|()| opened.sync_all())
        .map_err(|error| refused(&error))?;
    Ok(hex::encode(SealingSecret::from_bytes(&secret).public()))
}
