//! Records of both sides in one order, however many there are: sorted runs in temporary files, and their merge.
//!
//! The files have no names, so that nothing is left behind, whatever ends the process. They are in `TMPDIR`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Exit, Failure};

use super::record::{RECORD_BYTES, Record};

/// Records that are sorted in memory by each writer; about 10 MiB.
const RUN_RECORDS: usize = 180_000;
/// Runs that are merged at once, each with a buffer of this size.
const MOST_RUNS: usize = 128;
const RUN_BUFFER: usize = 64 << 10;

/// The runs of all writers.
#[derive(Debug, Default)]
pub(super) struct Spill {
    runs: Mutex<Vec<Run>>,
}

/// A sorted run.
#[derive(Debug)]
struct Run {
    file: File,
    records: u64,
}

/// Takes records of one reader.
#[derive(Debug)]
pub(super) struct RunWriter {
    records: Vec<Record>,
    spill: Arc<Spill>,
}

impl Spill {
    /// One more writer.
    pub(super) fn writer(self: &Arc<Self>) -> RunWriter {
        RunWriter {
            records: Vec::new(),
            spill: Arc::clone(self),
        }
    }

    /// Adds a run. Files are open, so that too many are merged at once.
    fn add(&self, run: Run) -> io::Result<()> {
        let merged = {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.push(run);
            if runs.len() < 2 * MOST_RUNS {
                return Ok(());
            }
            smallest(&mut runs)
        };
        self.add(merge_to_file(merged)?)
    }

    /// All records in their order. Every writer must be done.
    ///
    /// # Errors
    /// If the disk does not take or give them.
    pub(super) fn merge(&self, mut take: impl FnMut(&Record)) -> Result<(), Failure> {
        let mut runs =
            std::mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner));
        while runs.len() > MOST_RUNS {
            let merged = merge_to_file(smallest(&mut runs));
            runs.push(merged.map_err(|error| unusable(&error))?);
        }
        merge_runs(runs, |record| {
            take(record);
            Ok(())
        })
        .map_err(|error| unusable(&error))
    }
}

impl RunWriter {
    /// Takes a record.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(super) fn push(&mut self, record: Record) -> Result<(), Failure> {
        if self.records.is_empty() {
            self.records.reserve_exact(RUN_RECORDS);
        }
        self.records.push(record);
        if self.records.len() >= RUN_RECORDS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is in memory.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.records.sort_unstable();
        let run = write_run(self.records.iter().map(|record| Ok(*record)));
        let added = run.and_then(|run| self.spill.add(run));
        added.map_err(|error| unusable(&error))?;
        self.records.clear();
        Ok(())
    }
}

/// Takes so many out as are merged at once. Small ones first, so that each record is written again few times.
fn smallest(runs: &mut Vec<Run>) -> Vec<Run> {
    runs.sort_by_key(|run| run.records);
    runs.drain(..MOST_RUNS).collect()
}

fn write_run(records: impl Iterator<Item = io::Result<Record>>) -> io::Result<Run> {
    let mut file = BufWriter::with_capacity(RUN_BUFFER, tempfile::tempfile()?);
    let mut count = 0;
    for record in records {
        file.write_all(&record?.to_bytes())?;
        count += 1;
    }
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Run {
        file,
        records: count,
    })
}

fn merge_to_file(runs: Vec<Run>) -> io::Result<Run> {
    let mut file = BufWriter::with_capacity(RUN_BUFFER, tempfile::tempfile()?);
    let mut records = 0;
    merge_runs(runs, |record| {
        records += 1;
        file.write_all(&record.to_bytes())
    })?;
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(Run { file, records })
}

fn merge_runs(runs: Vec<Run>, mut take: impl FnMut(&Record) -> io::Result<()>) -> io::Result<()> {
    let mut readers = Vec::with_capacity(runs.len());
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for run in runs {
        let mut reader = RunReader {
            file: BufReader::with_capacity(RUN_BUFFER, run.file),
            left: run.records,
        };
        if let Some(record) = reader.next()? {
            heads.push(Reverse((record, readers.len())));
            readers.push(reader);
        }
    }
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((record, index)) = &mut *head;
        take(record)?;
        match readers[*index].next()? {
            Some(next) => *record = next,
            None => drop(PeekMut::pop(head)),
        }
    }
    Ok(())
}

struct RunReader {
    file: BufReader<File>,
    left: u64,
}

impl RunReader {
    fn next(&mut self) -> io::Result<Option<Record>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut bytes = [0; RECORD_BYTES];
        self.file.read_exact(&mut bytes)?;
        Ok(Some(Record::from_bytes(&bytes)))
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::definite(
        Exit::Temporary,
        format!(
            "cannot use temporary files in {}: {error}",
            std::env::temp_dir().display()
        ),
        format!(
            "make room there, {RECORD_BYTES} bytes for each row and each line, or name another directory in TMPDIR"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;

    #[test]
    fn records_come_in_order_from_many_runs() {
        let spill = Arc::new(Spill::default());
        let mut expected = Vec::new();
        for number in 0..u32::try_from(MOST_RUNS * 3 + 3).unwrap() {
            let mut writer = spill.writer();
            for part in 0..5 {
                let key = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> part;
                let record = Record {
                    key: [key, 1],
                    order: i64::from(part),
                    kind: Kind::Row,
                    part,
                    number,
                    identity: 0,
                    data: 7,
                    variant: 0,
                };
                expected.push(record);
                writer.push(record).unwrap();
            }
            writer.flush().unwrap();
        }
        expected.sort_unstable();
        let mut merged = Vec::new();
        spill.merge(|record| merged.push(*record)).unwrap();
        assert_eq!(merged, expected);
    }
}
