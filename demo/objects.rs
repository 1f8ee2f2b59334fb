//! What has been delivered: the objects in the simulator's folder, looked at as they appear.
//!
//! What does not live here: answering questions from them, which is DuckDB's part (`duckdb.rs`).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use csv::{ReaderBuilder, StringRecord, Terminator};
use flate2::read::MultiGzDecoder;

/// The objects so far, and a count of what is in them.
#[derive(Debug)]
pub(crate) struct Objects {
    dir: PathBuf,
    files: HashSet<PathBuf>,
    /// The metadata columns of every row, which make rows distinct.
    rows: HashSet<(String, String)>,
}

impl Objects {
    /// Those in `dir`, which need not exist yet.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            files: HashSet::new(),
            rows: HashSet::new(),
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads what has appeared since the last time.
    pub(crate) fn look(&mut self) -> Result<()> {
        let mut found = Vec::new();
        find_objects(&self.dir, &mut found)
            .with_context(|| format!("cannot list {}", self.dir.display()))?;
        for path in found {
            if !self.files.contains(&path) {
                self.read(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                self.files.insert(path);
            }
        }
        Ok(())
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    /// How many distinct rows are in them.
    pub(crate) fn row_count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// How many transactions those are from.
    pub(crate) fn transaction_count(&self) -> u64 {
        let positions: HashSet<&str> = self.rows.iter().map(|row| row.0.as_str()).collect();
        positions.len() as u64
    }

    /// Some lines to show, of the newest object that has enough: its first two, and the next one with
    /// quotes in it.
    pub(crate) fn sample(&self) -> Result<Vec<String>> {
        let mut files: Vec<&PathBuf> = self.files.iter().collect();
        files.sort();
        for path in files.into_iter().rev() {
            let lines = BufReader::new(MultiGzDecoder::new(File::open(path)?)).lines();
            let lines: Vec<String> = lines.collect::<io::Result<_>>()?;
            // A value with a newline takes up two of these lines, with an odd number of quotes each.
            let is_whole = |line: &&String| line.matches('"').count().is_multiple_of(2);
            let (plain, quoted): (Vec<&String>, Vec<&String>) = lines
                .iter()
                .filter(is_whole)
                .partition(|line| !line.contains('"'));
            if let (&[first, second, ..], &[third, ..]) = (&plain[..], &quoted[..]) {
                return Ok([first, second, third].map(Clone::clone).to_vec());
            }
        }
        Ok(Vec::new())
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(MultiGzDecoder::new(File::open(path)?));
        let mut row = StringRecord::new();
        while reader.read_record(&mut row)? {
            let field = |index: usize| row.get(index).unwrap_or_default().to_owned();
            self.rows
                .insert((field(row.len() - 2), field(row.len() - 1)));
        }
        Ok(())
    }
}

fn find_objects(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find_objects(&entry.path(), found)?;
        } else if is_object(&entry.path()) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A name that starts with a dot is one that is not finished.
fn is_object(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && name.ends_with(".gz")
}
