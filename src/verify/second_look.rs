//! What is told of the few rows that are not equal: their keys and the columns that differ, which records do not have.
//!
//! Lines are read again from their objects, and rows from the table; a row may be another one by then, which is told as it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracing::info;

use crate::Failure;
use crate::config::Config;

use super::Job;
use super::fields::{Fields, Found};
use super::judge::{Fault, Finding};
use super::objects::{Place, version_in};
use super::report::{Told, Where};
use super::shape::Line;
use super::source::{Part, RowLines, read_part};

/// Bytes that a part aims at.
const PART_BYTES: usize = 1 << 20;

/// Both sides of a comparison.
pub(super) struct Sides<'s> {
    pub(super) job: &'s Arc<Job>,
    pub(super) parts: &'s [Part],
    pub(super) objects: &'s [String],
    pub(super) place: &'s Place,
}

/// What was found at the second look.
#[derive(Debug, Default)]
pub(super) struct SecondLook {
    /// By object and number.
    lines: HashMap<(u32, u32), Vec<u8>>,
    /// By the hash of the key.
    rows: HashMap<[u64; 2], Vec<u8>>,
}

impl SecondLook {
    /// # Errors
    /// If either side cannot be read again.
    pub(super) async fn of(
        sides: &Sides<'_>,
        findings: &[Finding],
        config: &Config,
    ) -> Result<Self, Failure> {
        let mut look = Self::default();
        if findings.is_empty() {
            return Ok(look);
        }
        info!(
            "verify: looking again at {} rows that are not equal",
            findings.len()
        );
        look.read_lines(sides, findings).await?;
        look.read_rows(sides, findings, config).await?;
        Ok(look)
    }

    async fn read_lines(&mut self, sides: &Sides<'_>, findings: &[Finding]) -> Result<(), Failure> {
        let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for place in findings.iter().flat_map(|it| [it.line, it.other]).flatten() {
            wanted.entry(place.part).or_default().push(place.number);
        }
        let dialect = sides.job.scan.table.dialect;
        for (part, numbers) in wanted {
            let Some(name) = sides.objects.get(part as usize) else {
                continue;
            };
            let lines = &mut self.lines;
            let mut take = |line: &[u8], _: &Fields, number: u32| {
                if numbers.contains(&number) {
                    lines.insert((part, number), line.to_vec());
                }
                Ok(())
            };
            sides.place.read(name, dialect, &mut take).await?;
        }
        Ok(())
    }

    async fn read_rows(
        &mut self,
        sides: &Sides<'_>,
        findings: &[Finding],
        config: &Config,
    ) -> Result<(), Failure> {
        let mut wanted: BTreeMap<u32, Vec<[u64; 2]>> = BTreeMap::new();
        for finding in findings {
            if let Some(place) = finding.source {
                wanted.entry(place.part).or_default().push(finding.key);
            }
        }
        let job = sides.job;
        if job.scan.identifying().is_empty() {
            // Nothing of these rows is told but that they are.
            return Ok(());
        }
        let mut reader = crate::cdc::ScanReader::new(config, PART_BYTES);
        let mut lines = RowLines::new(&job.scan)?;
        let mut scratch = Vec::new();
        for (part, keys) in wanted {
            let range = sides
                .parts
                .get(part as usize)
                .map(|part| part.range.clone());
            let mut next = range;
            while let Some(range) = next.take() {
                let mark = job.watch.visible(job.until()).await?;
                let Some(read) = read_part(&mut reader, &job.scan, &range, &mark).await? else {
                    // Altered since: keys of rows without a line are not told.
                    return Ok(());
                };
                for row in read.chunk.rows() {
                    let line = lines.line(row, read.chunk.key_len)?;
                    let record = job
                        .shapes
                        .of_row(line.text, line.fields, (part, 0), &mut scratch)
                        .next();
                    if let Some(key) = record
                        .map(|record| record.key)
                        .filter(|key| keys.contains(key))
                    {
                        self.rows.insert(key, line.text.to_vec());
                    }
                }
                next = read.rest;
            }
        }
        Ok(())
    }

    /// What is told of each finding.
    pub(super) fn told(&self, sides: &Sides<'_>, findings: &[Finding]) -> Vec<Told> {
        let mut told: Vec<Told> = findings
            .iter()
            .map(|finding| self.told_of(sides, finding))
            .collect();
        told.sort_by(|one, other| (one.fault, &one.key).cmp(&(other.fault, &other.key)));
        told
    }

    fn told_of(&self, sides: &Sides<'_>, finding: &Finding) -> Told {
        let (shapes, dialect) = (&sides.job.shapes, sides.job.scan.table.dialect);
        let at = |place: super::judge::Place| {
            let object = sides
                .objects
                .get(place.part as usize)
                .cloned()
                .unwrap_or_default();
            Where {
                object,
                line: u64::from(place.number) + 1,
            }
        };
        let text = finding
            .line
            .and_then(|place| self.lines.get(&(place.part, place.number)));
        let version = finding
            .line
            .and_then(|place| version_in(sides.objects.get(place.part as usize)?));
        let row = self.rows.get(&finding.key);
        let (mut line_fields, mut row_fields) = (Fields::default(), Fields::default());
        let line = text.and_then(|text| split(text, &mut line_fields, dialect));
        let row_line = row.and_then(|text| split(text, &mut row_fields, dialect));
        let key = match (&line, &row_line) {
            // All of the row would be its key.
            _ if sides.job.scan.identifying().is_empty() => None,
            (Some(line), _) => shapes.key_text(line, version),
            (None, Some(row)) => shapes.row_text(row),
            (None, None) => None,
        };
        let columns = match (&line, &row_line, finding.fault) {
            (Some(line), Some(row), Fault::Differing) => shapes.differences(line, version, row),
            _ => Vec::new(),
        };
        let shown = |text: &Vec<u8>| {
            String::from_utf8_lossy(text)
                .trim_end_matches('\n')
                .to_owned()
        };
        Told {
            fault: finding.fault,
            key,
            line: finding.line.map(at),
            other: finding.other.map(at),
            columns,
            delivered: text.map(shown),
            source: row.map(shown),
        }
    }
}

fn split<'l>(
    text: &'l [u8],
    fields: &'l mut Fields,
    dialect: crate::encode::Dialect,
) -> Option<Line<'l>> {
    let found = fields.find(text, dialect);
    matches!(found, Found::Line(_)).then_some(Line { text, fields })
}
