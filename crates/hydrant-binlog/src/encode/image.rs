//! Row images: which columns they hold, and where the cells of one row are.
//!
//! What lives here: images that leave columns out (`binlog_row_image`), and those that hold changes
//! of JSON documents in place of documents. What does not: what a cell means.
//!
//! Source: MySQL `sql/rpl_record.cc` and `sql/log_event.cc`.

use std::ops::Range;

use crate::{ColumnType, RowsEvent};

/// One of the two images that a row event may have of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The row as it was: of updates and deletes.
    Before,
    /// The row as it is now: of inserts and updates.
    After,
}

/// How to pass over one column, and where its cell is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The column's index in the table map.
    column: usize,
    fixed: usize,
    prefix: usize,
    /// Of a JSON column, its number among the JSON columns.
    json: Option<usize>,
    output: Option<usize>,
}

/// An image that ends within a column, by its index in the table map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CutOff {
    pub(super) column: usize,
}

/// A cell that is NULL, or of a column that is not in the image.
pub(super) const NULL: Range<usize> = usize::MAX..usize::MAX;

/// The images of one kind: the columns that they hold, and the cells of the row at hand.
#[derive(Debug)]
struct Images {
    /// As in [`RowsEvent`].
    present: Vec<u8>,
    steps: Vec<Step>,
    /// By output.
    has: Vec<bool>,
    cells: Vec<Range<usize>>,
}

/// Finds the cells of rows.
///
/// Contract: [`Cells::begin`] with each row event, then [`Cells::find`] for each of its rows.
#[derive(Debug)]
pub(super) struct Cells {
    all: Vec<Step>,
    json_count: usize,
    before: Images,
    after: Images,
    has_before: bool,
    has_after: bool,
    is_partial: bool,
    /// Outputs that an update leaves out of the image after because it does not touch them.
    untouched: Vec<usize>,
    /// Outputs whose cell in the image after is a change of the document before.
    changes: Vec<usize>,
}

impl Images {
    fn new(output_count: usize) -> Self {
        Self {
            present: Vec::new(),
            steps: Vec::new(),
            has: vec![false; output_count],
            cells: vec![NULL; output_count],
        }
    }

    /// Takes the columns of an event's images. Gives whether they are others than before.
    fn hold(&mut self, present: &[u8], all: &[Step]) -> bool {
        if self.present == present {
            return false;
        }
        self.present.clear();
        self.present.extend_from_slice(present);
        self.steps.clear();
        self.has.fill(false);
        for step in all {
            let byte = present.get(step.column / 8).copied().unwrap_or(0);
            if byte >> (step.column % 8) & 1 == 1 {
                self.steps.push(*step);
                if let Some(output) = step.output {
                    self.has[output] = true;
                }
            }
        }
        true
    }

    /// Walks one image and notes where the wanted cells are. Gives where it ends.
    fn find(&mut self, images: &[u8], start: usize) -> Result<usize, CutOff> {
        let bitmap_end = start + self.steps.len().div_ceil(8);
        let nulls = images.get(start..bitmap_end).ok_or(CutOff { column: 0 })?;
        let mut at = bitmap_end;
        for (index, step) in self.steps.iter().enumerate() {
            if nulls[index / 8] >> (index % 8) & 1 == 1 {
                if let Some(output) = step.output {
                    self.cells[output] = NULL;
                }
                continue;
            }
            let cut_off = CutOff {
                column: step.column,
            };
            let from = at + step.prefix;
            let prefix = images.get(at..from).ok_or(cut_off)?;
            let len = match *prefix {
                [] => step.fixed,
                [a] => a.into(),
                [a, b] => u16::from_le_bytes([a, b]).into(),
                _ => little_endian(prefix),
            };
            at = from + len;
            if at > images.len() {
                return Err(cut_off);
            }
            if let Some(output) = step.output {
                self.cells[output] = from..at;
            }
        }
        Ok(at)
    }
}

fn little_endian(bytes: &[u8]) -> usize {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

impl Cells {
    /// Of a table with these columns; each has its type, and where it is wanted. An error is the
    /// index of a column that cannot be passed over.
    pub(super) fn new(
        columns: impl Iterator<Item = (ColumnType, Option<usize>)>,
        output_count: usize,
    ) -> Result<Self, usize> {
        let mut all = Vec::new();
        let mut json_count = 0;
        for (column, (kind, output)) in columns.enumerate() {
            let layout = kind.layout().ok_or(column)?;
            let is_json = matches!(kind, ColumnType::Json(_));
            all.push(Step {
                column,
                fixed: layout.fixed as usize,
                prefix: usize::from(layout.prefix),
                json: is_json.then_some(json_count),
                output,
            });
            json_count += usize::from(is_json);
        }
        Ok(Self {
            all,
            json_count,
            before: Images::new(output_count),
            after: Images::new(output_count),
            has_before: false,
            has_after: false,
            is_partial: false,
            untouched: Vec::new(),
            changes: Vec::new(),
        })
    }

    /// Wants a column's cells, too, and gives the output that they are found under. Call it before the first
    /// event.
    pub(super) fn watch(&mut self, column: usize) -> Option<usize> {
        let step = self.all.get_mut(column)?;
        let output = *step.output.get_or_insert_with(|| {
            for images in [&mut self.before, &mut self.after] {
                images.has.push(false);
                images.cells.push(NULL);
            }
            self.after.cells.len() - 1
        });
        Some(output)
    }

    /// Takes the next event. Gives whether its images hold others than those of the last one.
    pub(super) fn begin(&mut self, rows: &RowsEvent<'_>) -> bool {
        self.is_partial = rows.is_partial;
        self.changes.clear();
        let kind = (rows.before.is_some(), rows.after.is_some());
        let mut differs = kind != (self.has_before, self.has_after);
        (self.has_before, self.has_after) = kind;
        if let Some(present) = rows.before {
            differs |= self.before.hold(present, &self.all);
        }
        if let Some(present) = rows.after {
            differs |= self.after.hold(present, &self.all);
        }
        if differs {
            self.before.cells.fill(NULL);
            self.after.cells.fill(NULL);
            self.untouched.clear();
            if self.has_before && self.has_after {
                let pairs = self.before.has.iter().zip(&self.after.has).enumerate();
                let untouched = pairs.filter(|(_, (before, after))| **before && !**after);
                self.untouched.extend(untouched.map(|(output, _)| output));
            }
        }
        differs
    }

    /// Outputs whose value the event does not tell. What an update leaves out of the image after
    /// it has not touched, so the image before tells.
    pub(super) fn absent(&self, image: Image) -> impl Iterator<Item = usize> {
        let outputs = 0..self.before.has.len();
        outputs.filter(move |output| match image {
            Image::Before => !self.before.has[*output],
            Image::After => {
                let untouched = self.has_before && self.before.has[*output];
                !self.after.has[*output] && !untouched
            }
        })
    }

    /// Finds the cells of the row that starts at `images[at]`. Gives where the next one starts.
    pub(super) fn find(&mut self, images: &[u8], at: usize) -> Result<usize, CutOff> {
        let mut at = at;
        if self.has_before {
            at = self.before.find(images, at)?;
        }
        if self.has_after {
            if self.is_partial {
                at = self.find_changes(images, at).ok_or(CutOff { column: 0 })?;
            }
            at = self.after.find(images, at)?;
            for output in &self.untouched {
                self.after.cells[*output] = self.before.cells[*output].clone();
            }
        }
        Ok(at)
    }

    /// Reads which JSON columns hold changes, from the front of an image after. Gives where it
    /// goes on.
    fn find_changes(&mut self, images: &[u8], at: usize) -> Option<usize> {
        const PARTIAL_JSON_UPDATES: u8 = 1;
        self.changes.clear();
        let options = *images.get(at)?;
        match options {
            0 => Some(at + 1),
            PARTIAL_JSON_UPDATES => {
                let end = at + 1 + self.json_count.div_ceil(8);
                let bits = images.get(at + 1..end)?;
                for step in &self.after.steps {
                    if let (Some(json), Some(output)) = (step.json, step.output)
                        && bits[json / 8] >> (json % 8) & 1 == 1
                    {
                        self.changes.push(output);
                    }
                }
                Some(end)
            }
            // Options that nobody has yet.
            _ => None,
        }
    }

    /// The cells of the row at hand, by output.
    pub(super) fn of(&self, image: Image) -> &[Range<usize>] {
        match image {
            Image::Before => &self.before.cells,
            Image::After => &self.after.cells,
        }
    }

    /// Whether an update has other bytes in this output. What is not in both images has not changed.
    pub(super) fn differs(&self, output: usize, images: &[u8]) -> bool {
        let (before, after) = (&self.before.cells[output], &self.after.cells[output]);
        if !self.before.has[output] || !self.after.has[output] {
            return false;
        }
        // NULL is a range that is in no image.
        images.get(before.clone()) != images.get(after.clone())
    }

    /// Whether the cell in this image is a change of the document in the image before.
    #[inline]
    pub(super) fn is_change(&self, image: Image, output: usize) -> bool {
        !self.changes.is_empty() && image == Image::After && self.changes.contains(&output)
    }

    /// Whether the image before has this output's column.
    pub(super) fn has_before(&self, output: usize) -> bool {
        self.has_before && self.before.has[output]
    }
}
