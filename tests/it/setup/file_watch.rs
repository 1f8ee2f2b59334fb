//! Waits for changes in a folder, as the kernel tells them.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Changes of one kind in one folder.
pub(crate) struct FileWatch {
    inotify: OwnedFd,
}

/// A change to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileChange {
    Created,
    Written,
    /// It has got its name by a rename.
    Arrived,
    /// A rename has taken it away.
    Left,
}

impl FileWatch {
    pub(crate) fn of(folder: &Path, change: FileChange) -> Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = match change {
            FileChange::Created => WatchFlags::CREATE,
            FileChange::Written => WatchFlags::MODIFY,
            FileChange::Arrived => WatchFlags::MOVED_TO,
            FileChange::Left => WatchFlags::MOVED_FROM,
        };
        inotify::add_watch(&inotify, folder, flags)
            .with_context(|| folder.display().to_string())?;
        Ok(Self { inotify })
    }

    /// How many changes there were of files whose names are like this since the last question.
    pub(crate) fn count(&self, is_meant: impl Fn(&str) -> bool) -> Result<u32> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut count = 0;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_string_lossy());
                    count += u32::from(name.is_some_and(|name| is_meant(&name)));
                }
                Err(Errno::AGAIN) => return Ok(count),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
