//! Files whose names others may be able to put a symbolic link under: the agent's lock and its temporary files.
//!
//! Only the last part of a path is looked at. Folders may be links; operators move them to other disks that way.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens what `options` say, unless it is a symbolic link, see [`is_link`]. Does not wait for the other end of a pipe.
///
/// # Errors
/// As for [`OpenOptions::open`].
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed()).open(path)
}

/// Creates a file in the place of one of that name that a crash has left.
///
/// # Errors
/// If there is a symbolic link, see [`is_link`], or the folder cannot be written.
pub(crate) fn create_anew(path: &Path) -> io::Result<File> {
    match path.symlink_metadata() {
        Ok(there) if there.is_symlink() => return Err(Errno::LOOP.into()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::create_new(path)
}

/// Whether this is what [`open`] and [`create_anew`] say of a symbolic link.
pub(crate) fn is_link(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}
