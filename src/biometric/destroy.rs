//! Destroys one file under a directory: overwritten, flushed, unlinked, and its absence made sure of.
//!
//! Whoever can write in the directory could put something else in the file's place, to have it destroyed. So every name on the way is opened by itself and
//! follows no link, and what is opened must be a plain file with this one name, of an owner who may have files there. Between the last look and the
//! unlinking a name can still be exchanged: what goes then is what that somebody could have removed without us.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Larger than any biometric upload. What is larger is something else, and would take the disk for too long.
const MAX_FILE_BYTES: i64 = 1 << 30;
const CHUNK_BYTES: usize = 1 << 20;

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    Destroyed,
    /// It was not there.
    Missing,
}

impl Gone {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destroyed => "destroyed",
            Self::Missing => "missing",
        }
    }
}

/// Why it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Outside,
    Directory,
    OnTheWay,
    NotPlain,
    Links,
    Owner,
    TooLarge,
    Open,
    Overwrite,
    Exchanged,
    Remove,
}

impl Trouble {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outside => "it is not under identity_pgx.biometric_directory",
            Self::Directory => "identity_pgx.biometric_directory cannot be opened",
            Self::OnTheWay => "a name on the way to it is no directory that can be opened",
            Self::NotPlain => "it is no plain file",
            Self::Links => "it has more than one name",
            Self::Owner => "it belongs neither to the server nor to the owner of the directory",
            Self::TooLarge => "it is larger than 1 GB",
            Self::Open => "it cannot be opened for writing",
            Self::Overwrite => "it cannot be overwritten",
            Self::Exchanged => "it was exchanged meanwhile",
            Self::Remove => "it is overwritten and cannot be removed",
        }
    }
}

/// Destroys the file that these names lead to from the directory.
pub fn destroy(directory: &str, names: &[&str]) -> Result<Gone, Trouble> {
    let Some((name, way)) = names.split_last() else {
        return Err(Trouble::NotPlain);
    };
    let root =
        open(libc::AT_FDCWD, directory, libc::O_DIRECTORY).map_err(|_| Trouble::Directory)?;
    let root_owner = status(root.as_raw_fd()).ok_or(Trouble::Directory)?.st_uid;
    let mut parent = root;
    for step in way {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        parent = match open(parent.as_raw_fd(), step, flags) {
            Ok(next) => next,
            Err(libc::ENOENT) => return absent(&parent),
            Err(_) => return Err(Trouble::OnTheWay),
        };
    }
    let name = CString::new(*name).map_err(|_| Trouble::NotPlain)?;
    let seen = match status_at(&parent, &name) {
        Ok(seen) => seen,
        Err(libc::ENOENT) => return absent(&parent),
        Err(_) => return Err(Trouble::Open),
    };
    // Before it is opened: opening a device does something to some.
    acceptable(&seen, root_owner)?;
    let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = open(parent.as_raw_fd(), name.to_str().unwrap_or_default(), flags)
        .map_err(|_| Trouble::Open)?;
    let opened = status(file.as_raw_fd()).ok_or(Trouble::Open)?;
    if !same(&seen, &opened) {
        return Err(Trouble::Exchanged);
    }
    acceptable(&opened, root_owner)?;
    overwrite(&file, opened.st_size)?;
    remove(&parent, &name, &file, &opened)
}

fn acceptable(file: &libc::stat, root_owner: libc::uid_t) -> Result<(), Trouble> {
    // SAFETY: asks for the process's own user.
    let us = unsafe { libc::geteuid() };
    if file.st_mode & libc::S_IFMT != libc::S_IFREG {
        Err(Trouble::NotPlain)
    } else if file.st_nlink != 1 {
        Err(Trouble::Links)
    } else if file.st_uid != us && file.st_uid != root_owner {
        Err(Trouble::Owner)
    } else if file.st_size > MAX_FILE_BYTES {
        Err(Trouble::TooLarge)
    } else {
        Ok(())
    }
}

/// Zeros over all of it, on the disk when this returns.
fn overwrite(file: &OwnedFd, size: i64) -> Result<(), Trouble> {
    let zeros = vec![0_u8; CHUNK_BYTES];
    let mut at = 0_i64;
    while at < size {
        pgrx::check_for_interrupts!();
        let left = usize::try_from(size - at).unwrap_or(CHUNK_BYTES);
        // SAFETY: the buffer is at least as long as what is written of it.
        let written = unsafe {
            libc::pwrite(
                file.as_raw_fd(),
                zeros.as_ptr().cast(),
                left.min(CHUNK_BYTES),
                at,
            )
        };
        match written {
            1.. => at += written as i64,
            _ if errno() == libc::EINTR => {}
            _ => return Err(Trouble::Overwrite),
        }
    }
    flush(file).map_err(|()| Trouble::Overwrite)
}

fn remove(
    parent: &OwnedFd,
    name: &CStr,
    file: &OwnedFd,
    opened: &libc::stat,
) -> Result<Gone, Trouble> {
    if !status_at(parent, name).is_ok_and(|now| same(&now, opened)) {
        return Err(Trouble::Exchanged);
    }
    // SAFETY: a C string, and a directory that is open.
    if unsafe { libc::unlinkat(parent.as_raw_fd(), name.as_ptr(), 0) } != 0 {
        return Err(Trouble::Remove);
    }
    flush(parent).map_err(|()| Trouble::Remove)?;
    // Somebody may have given it another name since it was looked at, or put something new under this one.
    if status(file.as_raw_fd()).is_none_or(|left| left.st_nlink != 0) {
        return Err(Trouble::Links);
    }
    match status_at(parent, name) {
        Err(libc::ENOENT) => Ok(Gone::Destroyed),
        _ => Err(Trouble::Exchanged),
    }
}

/// It is not there, and will not be after the machine lost its power.
fn absent(parent: &OwnedFd) -> Result<Gone, Trouble> {
    flush(parent)
        .map(|()| Gone::Missing)
        .map_err(|()| Trouble::OnTheWay)
}

fn open(parent: RawFd, name: &str, flags: i32) -> Result<OwnedFd, i32> {
    let name = CString::new(name).map_err(|_| libc::EINVAL)?;
    // SAFETY: a C string; the descriptor that comes back is nobody else's.
    unsafe {
        let opened = libc::openat(parent, name.as_ptr(), flags | libc::O_CLOEXEC);
        if opened < 0 {
            return Err(errno());
        }
        Ok(OwnedFd::from_raw_fd(opened))
    }
}

fn status(file: RawFd) -> Option<libc::stat> {
    // SAFETY: fills the structure, for which zeros are a value.
    unsafe {
        let mut status = std::mem::zeroed();
        (libc::fstat(file, &mut status) == 0).then_some(status)
    }
}

fn status_at(parent: &OwnedFd, name: &CStr) -> Result<libc::stat, i32> {
    // SAFETY: as above.
    unsafe {
        let mut status = std::mem::zeroed();
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        match libc::fstatat(parent.as_raw_fd(), name.as_ptr(), &mut status, flags) {
            0 => Ok(status),
            _ => Err(errno()),
        }
    }
}

fn same(one: &libc::stat, other: &libc::stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

fn flush(file: &OwnedFd) -> Result<(), ()> {
    // SAFETY: an open descriptor.
    if unsafe { libc::fsync(file.as_raw_fd()) } == 0 {
        Ok(())
    } else {
        Err(())
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
