//! Files, one step at a time: whole or not at all, flushed, no links.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::trouble::{Kind, Trouble};

const READ_ONLY: u32 = 0o444;

/// A disk may take its time; the worker has other things to do.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Trouble::new(Kind::Unavailable, "the directory could not be looked at"))
}

/// A new file, flushed. One that was left behind half-written goes first: the caller is the only writer.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(READ_ONLY)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // What says why is the first error, not this one's.
        let _ = fs::remove_file(path);
    }
    written
}

pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A file of at most so many bytes. No link is followed, and a pipe does not hold us up.
pub(super) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

pub(super) fn trouble(error: &io::Error, what: &str) -> Trouble {
    let (kind, text) = match error.kind() {
        ErrorKind::AlreadyExists => (Kind::Conflict, "is there already"),
        ErrorKind::NotFound => (Kind::Missing, "is not there"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (Kind::Unavailable, "does not fit: the disk is full")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (Kind::Denied, "may not be touched by us")
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => (
            Kind::Untrue,
            "is not the plain file or directory it should be",
        ),
        ErrorKind::FileTooLarge => (Kind::Untrue, "is longer than a signed note"),
        _ if error.raw_os_error() == Some(libc::ELOOP) => {
            (Kind::Untrue, "is a symbolic link where a file should be")
        }
        _ => (Kind::Unavailable, "could not be written or read"),
    };
    Trouble::new(kind, format!("{what} {text}"))
}
