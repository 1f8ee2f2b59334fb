//! How an object gets its name: nothing that has one is ever replaced or changed.
//!
//! Rows that are written again usually meet an object that starts with the same row. What it has of them is
//! compared as lines, not as compressed bytes. If it has all, nothing is written. If it ends before they do, what
//! is missing goes into another object, with the number of the copy at its name's end. If it has other lines, all go
//! there: then another agent, another history of the server, or a run with other settings wrote it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tempfile::NamedTempFile;

use crate::nofollow;
use crate::sink::object::{ObjectKey, gzip};

use super::sync;

/// How many names of one first row are looked at.
const MOST_COPIES: usize = 999;

/// What is under a name, seen from the lines that are to be there.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// All of them, and maybe more.
    All,
    /// The first of them, as many bytes, and nothing else.
    First(usize),
    /// Something else, or nothing that can be read.
    Other,
}

/// Makes sure that lines, which are whole, are in the directory and on its disk. Writes beside, syncs, gives
/// the file its name, and syncs the directories that have it. The answer is the object's name if the first one was
/// taken by other lines.
///
/// # Errors
/// If the disk does not take them.
pub(super) fn publish(
    root: &Path,
    key: &ObjectKey,
    mut lines: &[u8],
    temporary: impl Fn() -> io::Result<NamedTempFile>,
) -> io::Result<Option<String>> {
    let path = root.join(key.name(1));
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    let mut finished = None;
    let mut is_taken = false;
    let mut copy = 1;
    while copy <= MOST_COPIES {
        let name = key.name(copy);
        let path = root.join(&name);
        match compare(&path, lines)? {
            There::Nothing => {
                let new = match finished.take() {
                    Some(new) => new,
                    None => compress(temporary()?, lines)?,
                };
                match new.persist_noclobber(&path) {
                    Ok(_) => return sync(root, folder).map(|()| is_taken.then_some(name)),
                    // Somebody was quicker. Looked at again, it is there.
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                        finished = Some(error.file);
                    }
                    Err(error) => return Err(error.error),
                }
            }
            // A crash may have come between name and sync.
            There::All => return sync(root, folder).map(|()| is_taken.then_some(name)),
            There::First(len) => {
                lines = &lines[len..];
                finished = None;
                copy += 1;
            }
            There::Other => {
                is_taken = true;
                copy += 1;
            }
        }
    }
    Err(io::Error::other(format!(
        "{MOST_COPIES} objects of that name have other rows"
    )))
}

fn compress(file: NamedTempFile, lines: &[u8]) -> io::Result<NamedTempFile> {
    let file = gzip(file, lines)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Compares what is under a name with lines.
///
/// # Errors
/// If the disk does not give it. What is no whole object of ours is no error.
fn compare(path: &Path, lines: &[u8]) -> io::Result<There> {
    let file = match nofollow::open(File::options().read(true), path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        // A link, or a file of another user; that a folder cannot be read is an error.
        Err(error) if path.symlink_metadata().is_ok() => {
            tracing::debug!("{}: {error}", path.display());
            return Ok(There::Other);
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(There::Other);
    }
    let mut there = MultiGzDecoder::new(file);
    let mut chunk = vec![0; 64 * 1024];
    let mut equal_len = 0;
    let mut is_longer = false;
    // To its end, because an object that cannot be unpacked whole is none.
    loop {
        let read_len = match there.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(_) => return Ok(There::Other),
        };
        let left = &lines[equal_len..];
        let common_len = read_len.min(left.len());
        if chunk[..common_len] != left[..common_len] {
            return Ok(There::Other);
        }
        equal_len += common_len;
        is_longer |= common_len < read_len;
    }
    Ok(match &lines[..equal_len] {
        equal if is_longer || equal.len() == lines.len() => There::All,
        equal if equal.ends_with(b"\n") => There::First(equal_len),
        _ => There::Other,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::batch::RowPlace;
    use crate::binlog::FilePosition;
    use crate::encode::Dialect;
    use crate::sink::TableFolder;

    fn key() -> ObjectKey {
        let first = RowPlace {
            transaction: FilePosition::new("b.000001", 4),
            gtid: None,
            ordinal: 0,
            commit_time_us: 1_457_049_600_000_000,
        };
        TableFolder::new("shop", "Sales", Dialect::Csv).object_key(&first, None)
    }

    fn put(root: &Path, lines: &str) -> io::Result<Option<String>> {
        publish(root, &key(), lines.as_bytes(), || {
            NamedTempFile::new_in(root)
        })
    }

    /// All objects in the order of their names.
    fn objects(root: &Path) -> Vec<String> {
        let folder = root.join(key().name(1)).parent().unwrap().to_owned();
        let mut paths: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.symlink_metadata().unwrap().is_file())
            .collect();
        paths.sort();
        let unpacked = |path| {
            let mut text = String::new();
            let mut there = MultiGzDecoder::new(File::open(path).unwrap());
            there.read_to_string(&mut text).unwrap();
            text
        };
        paths.into_iter().map(unpacked).collect()
    }

    #[test]
    fn the_same_rows_again_are_written_once() {
        let root = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            assert_eq!(put(root.path(), "1\n2\n3\n").unwrap(), None);
            assert_eq!(objects(root.path()), ["1\n2\n3\n"]);
        }
        // The first of them are there, too.
        assert_eq!(put(root.path(), "1\n").unwrap(), None);
        assert_eq!(objects(root.path()), ["1\n2\n3\n"]);
    }

    #[test]
    fn rows_that_go_on_are_added() {
        let root = tempfile::tempdir().unwrap();
        for (lines, expected) in [
            ("1\n", &["1\n"][..]),
            ("1\n2\n", &["1\n", "2\n"]),
            ("1\n2\n3\n4\n", &["1\n", "2\n", "3\n4\n"]),
            ("1\n2\n3\n", &["1\n", "2\n", "3\n4\n"]),
            ("1\n2\n3\n4\n", &["1\n", "2\n", "3\n4\n"]),
        ] {
            assert_eq!(put(root.path(), lines).unwrap(), None);
            assert_eq!(objects(root.path()), expected);
        }
    }

    #[test]
    fn other_rows_stand_beside_those_that_are_there() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "1\n2\n").unwrap();
        for _ in 0..2 {
            assert_eq!(put(root.path(), "1\n3\n").unwrap(), Some(key().name(2)));
            // A line that only begins like one is another.
            assert_eq!(put(root.path(), "1\n23\n").unwrap(), Some(key().name(3)));
            assert_eq!(objects(root.path()), ["1\n2\n", "1\n3\n", "1\n23\n"]);
        }
    }

    /// Whatever was written is there, however runs meet, and no object ever changes.
    #[test]
    fn nothing_that_is_there_ever_changes() {
        use proptest::prelude::*;

        let rows = prop::collection::vec("[ab]{0,2}\n", 1..5);
        // Each syncs a disk many times.
        proptest!(ProptestConfig::with_cases(50), |(runs in prop::collection::vec(rows, 1..8))| {
            let root = tempfile::tempdir().unwrap();
            let mut before: Vec<String> = Vec::new();
            for rows in &runs {
                put(root.path(), &rows.concat()).unwrap();
                let now = objects(root.path());
                prop_assert_eq!(&now[..before.len()], &before[..]);
                prop_assert!(now.len() <= before.len() + 1);
                before = now;
            }
            for rows in &runs {
                let text = rows.concat();
                let mut left = text.as_str();
                for there in &before {
                    left = if there.starts_with(left) { "" } else { left.strip_prefix(there.as_str()).unwrap_or(left) };
                }
                prop_assert_eq!(left, "");
            }
        });
    }

    #[test]
    fn what_is_no_object_of_ours_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "1\n2\n").unwrap();
        let whole = fs::read(root.path().join(key().name(1))).unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, &whole).unwrap();
        let name = |copy| root.path().join(key().name(copy));
        fs::remove_file(name(1)).unwrap();
        // Cut off by a power loss, empty, of another kind; links, whatever they lead to.
        fs::write(name(1), &whole[..whole.len() - 1]).unwrap();
        fs::write(name(2), "").unwrap();
        fs::write(name(3), "1\n2\n").unwrap();
        symlink(&victim, name(4)).unwrap();
        symlink(root.path().join("nowhere"), name(5)).unwrap();
        fs::create_dir(name(6)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            name(7),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        for _ in 0..2 {
            assert_eq!(put(root.path(), "1\n2\n").unwrap(), Some(key().name(8)));
        }
        assert_eq!(fs::read(name(8)).unwrap(), whole);
        assert_eq!(fs::read(victim).unwrap(), whole);
        assert!(!root.path().join("nowhere").exists());
    }

    #[test]
    fn there_is_an_end_to_the_names() {
        let root = tempfile::tempdir().unwrap();
        for copy in 1..=MOST_COPIES {
            let path = root.path().join(key().name(copy));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "no object").unwrap();
        }
        let error = put(root.path(), "one more\n").unwrap_err();
        assert!(error.to_string().contains("have other rows"), "{error}");
    }
}
