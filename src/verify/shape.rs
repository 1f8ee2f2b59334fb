//! PURE. Which fields of a line are its key, which of them are compared, and which tell of the change.
//!
//! Lines of one table may have several layouts. Each is compared in the columns that it shares with the table as it is now.

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::binlog::LogicalType;
use crate::encode::{Dialect, MetadataColumn};

use super::fields::Fields;
use super::record::{Kind, Record};

/// Columns: each one's name and type.
pub(super) type Columns = Vec<(String, LogicalType)>;

/// All shapes that the lines of a table have, and the one of the rows that are read from it.
#[derive(Debug)]
pub(super) struct Shapes {
    dialect: Dialect,
    seed: u64,
    /// By version, from 1 on.
    layouts: Vec<Shape>,
    /// Of lines that do not tell their version, one for all layouts that have the same names.
    unversioned: Vec<Shape>,
    /// Of a row of the table, by variant.
    variants: Vec<Shape>,
    names: (Vec<u8>, Vec<u8>),
    metadata: Vec<MetadataColumn>,
    /// The variant in which all columns are compared.
    pub(super) whole: u8,
}

/// The fields of one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    columns: Columns,
    /// In the order of the key.
    key: Vec<usize>,
    /// In the order of the table's columns.
    data: Vec<usize>,
    variant: u8,
}

/// Why lines cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShapeError {
    /// A line has other fields than any layout.
    #[error(
        "a line with {fields} fields, which no layout of the table has with the metadata that is configured"
    )]
    Unknown {
        /// How many it has.
        fields: usize,
    },
    /// Two layouts have as many fields.
    #[error("a line may be of several layouts, which have as many columns")]
    Ambiguous,
    /// Rows without a key have several layouts.
    #[error("its lines have no key and several layouts")]
    Keyless,
    /// A line lacks columns that its row image lacked.
    #[error("a line does not have all columns (`absent`)")]
    Absent,
    /// A field about the change is not what it should be.
    #[error("the field {0} is not what it should be")]
    Odd(MetadataColumn),
    /// A column of the key is missing in a layout, or was of another type.
    #[error(
        "lines of version {version} have no column {column} of the key as the table has it now"
    )]
    Key {
        /// The layout's.
        version: usize,
        /// The column.
        column: String,
    },
    /// More variants than can be told apart.
    #[error("more than 255 layouts differ in what they share with the table")]
    TooMany,
}

impl Shapes {
    /// Of lines with these layouts, by version, of a table that has these columns now. `key` are the columns by which rows
    /// are told apart; all that is compared if it is empty. `table` are its schema and name, for lines that have them.
    ///
    /// # Errors
    /// If a layout has no key.
    pub(super) fn new(
        (dialect, seed): (Dialect, u64),
        now: &Columns,
        layouts: &[Columns],
        (key, metadata): (&[String], &[MetadataColumn]),
        table: (&str, &str),
    ) -> Result<Self, ShapeError> {
        let mut shapes = Self {
            dialect,
            seed,
            layouts: Vec::new(),
            unversioned: Vec::new(),
            variants: Vec::new(),
            names: (text(table.0, dialect), text(table.1, dialect)),
            metadata: metadata.to_vec(),
            whole: 0,
        };
        let given: &[Columns] = if layouts.is_empty() {
            std::slice::from_ref(now)
        } else {
            layouts
        };
        for (index, layout) in given.iter().enumerate() {
            let shape = shapes.shape((now, key), &[layout], index + 1)?;
            shapes.layouts.push(shape);
            // Without a version, lines of layouts with the same names look the same.
            let has_names = |other: &&Columns| names(other).eq(names(layout));
            let family: Vec<&Columns> = given.iter().filter(has_names).collect();
            if family
                .first()
                .is_some_and(|first| std::ptr::eq(*first, layout))
            {
                let shape = shapes.shape((now, key), &family, index + 1)?;
                shapes.unversioned.push(shape);
            }
        }
        if key.is_empty() && shapes.variants.len() > 1 {
            return Err(ShapeError::Keyless);
        }
        shapes.finish();
        Ok(shapes)
    }

    /// The shape of lines of any of these layouts, which have the same names.
    fn shape(
        &mut self,
        (now, key): (&Columns, &[String]),
        family: &[&Columns],
        version: usize,
    ) -> Result<Shape, ShapeError> {
        let layout = family[0];
        let is_of =
            |name: &str, kind: LogicalType, is_same: fn(LogicalType, LogicalType) -> bool| {
                let at = find(layout, name)?;
                let mut kinds = family.iter().map(|layout| layout[at].1);
                kinds.all(|then| is_same(kind, then)).then_some(at)
            };
        let mut shape = Shape {
            columns: layout.clone(),
            key: Vec::new(),
            data: Vec::new(),
            variant: 0,
        };
        let mut of_table = Shape {
            columns: now.clone(),
            ..shape.clone()
        };
        for (now_at, (name, kind)) in now.iter().enumerate() {
            if let Some(at) = is_of(name, *kind, |one, other| one == other) {
                shape.data.push(at);
                of_table.data.push(now_at);
            }
        }
        for name in key {
            let now_at = find(now, name);
            let at = now_at.and_then(|at| is_of(name, now[at].1, is_same_text));
            let (at, now_at) = at.zip(now_at).ok_or_else(|| ShapeError::Key {
                version,
                column: name.clone(),
            })?;
            shape.key.push(at);
            of_table.key.push(now_at);
        }
        let mut known = self.variants.iter();
        let variant = known.position(|known| known.data == of_table.data);
        let number = variant.unwrap_or(self.variants.len());
        shape.variant = u8::try_from(number).map_err(|_| ShapeError::TooMany)?;
        if variant.is_none() {
            of_table.variant = shape.variant;
            self.variants.push(of_table);
        }
        Ok(shape)
    }

    /// Rows without a key are the same if all that is compared is.
    fn finish(&mut self) {
        let widest = self
            .variants
            .iter()
            .max_by_key(|variant| variant.data.len());
        self.whole = widest.map_or(0, |variant| variant.variant);
        let lines = self.layouts.iter_mut().chain(&mut self.unversioned);
        for shape in lines.chain(&mut self.variants) {
            if shape.key.is_empty() {
                shape.key.clone_from(&shape.data);
            }
        }
    }

    /// The columns that are compared in the lines that share most with the table.
    pub(super) fn compared(&self) -> Vec<&str> {
        let shape = self.variants.get(usize::from(self.whole));
        let shape = shape.into_iter();
        shape
            .flat_map(|shape| shape.data.iter().filter_map(|at| name_of(shape, *at)))
            .collect()
    }

    /// The record of a row of the table, for each variant.
    pub(super) fn of_row(
        &self,
        line: &[u8],
        fields: &Fields,
        (part, number): (u32, u32),
        scratch: &mut Vec<u8>,
    ) -> impl Iterator<Item = Record> {
        let shapes = self.variants.iter();
        shapes.map(move |shape| Record {
            key: self.key(shape, line, fields, scratch),
            order: i64::MIN,
            kind: Kind::Source,
            part,
            number,
            identity: 0,
            data: self.data(shape, line, fields, scratch),
            variant: shape.variant,
        })
    }

    /// The record of a line, in an object of this version, if that is known; none if the line is another table's.
    ///
    /// # Errors
    /// If it has none of the known shapes.
    pub(super) fn of_line(
        &self,
        (line, fields): (&[u8], &Fields),
        version: Option<usize>,
        (part, number): (u32, u32),
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Record>, ShapeError> {
        let first = fields.values.len().checked_sub(self.metadata.len());
        let unknown = || ShapeError::Unknown {
            fields: fields.values.len(),
        };
        let first = first.ok_or_else(unknown)?;
        let mut about = About::default();
        for (column, value) in self.metadata.iter().zip(&fields.values[first..]) {
            let value = &line[value.clone()];
            if !self.note(*column, value, &mut about)? {
                return Ok(None);
            }
        }
        let shape = self.find(line, fields, first, version.or(about.version))?;
        let identity = match (about.position, about.ordinal, about.sequence) {
            (Some(position), Some(ordinal), _) => {
                XxHash3_64::oneshot_with_seed(ordinal, position) | 1
            }
            (_, _, Some(sequence)) => sequence.cast_unsigned() | 1 << 63,
            _ => 0,
        };
        let record = Record {
            key: self.key(shape, line, fields, scratch),
            order: about.sequence.unwrap_or(0),
            kind: about.kind.unwrap_or(Kind::Row),
            part,
            number,
            identity,
            data: self.data(shape, line, fields, scratch),
            variant: shape.variant,
        };
        Ok(Some(record))
    }

    /// Takes a field about the change. Says whether the line is of this table.
    fn note<'l>(
        &self,
        column: MetadataColumn,
        value: &'l [u8],
        about: &mut About<'l>,
    ) -> Result<bool, ShapeError> {
        let digits = || -> Result<i64, ShapeError> {
            let text = std::str::from_utf8(value).ok();
            let number = text.and_then(|text| text.parse().ok());
            number.ok_or(ShapeError::Odd(column))
        };
        match column {
            MetadataColumn::Schema => return Ok(value == self.names.0),
            MetadataColumn::Table => return Ok(value == self.names.1),
            MetadataColumn::Operation => {
                let letters = value
                    .strip_prefix(b"\"")
                    .and_then(|rest| rest.strip_suffix(b"\""));
                about.kind = Some(match letters.unwrap_or(value) {
                    b"I" | b"U" => Kind::Row,
                    b"D" | b"B" => Kind::Away,
                    b"R" => Kind::Read,
                    _ => return Err(ShapeError::Odd(column)),
                });
            }
            MetadataColumn::CommitTime => {}
            MetadataColumn::Position => about.position = Some(value),
            MetadataColumn::Ordinal => about.ordinal = Some(digits()?.cast_unsigned()),
            MetadataColumn::SchemaVersion => {
                about.version =
                    Some(usize::try_from(digits()?).map_err(|_| ShapeError::Odd(column))?);
            }
            MetadataColumn::Absent => {
                if !is_null(value, self.dialect) {
                    return Err(ShapeError::Absent);
                }
            }
            MetadataColumn::Sequence => about.sequence = Some(digits()?),
        }
        Ok(true)
    }

    /// The shape of a line with so many columns.
    fn find(
        &self,
        line: &[u8],
        fields: &Fields,
        columns: usize,
        version: Option<usize>,
    ) -> Result<&Shape, ShapeError> {
        let unknown = ShapeError::Unknown {
            fields: fields.values.len(),
        };
        let is_as_long = |shape: &&Shape| shape.columns.len() == columns;
        if let Some(version) = version {
            let shape = self.layouts.get(version.wrapping_sub(1));
            return shape.filter(is_as_long).ok_or(unknown);
        }
        let mut shapes = self.unversioned.iter().filter(is_as_long);
        match (shapes.next(), shapes.next()) {
            (None, _) => Err(unknown),
            (Some(shape), None) => Ok(shape),
            (Some(_), Some(_)) if fields.names.is_empty() => Err(ShapeError::Ambiguous),
            (Some(_), Some(_)) => {
                let is_named = |shape: &&Shape| {
                    let mut pairs = names(&shape.columns).zip(&fields.names);
                    pairs.all(|(name, found)| text(name, Dialect::Jsonl) == line[found.clone()])
                };
                let mut shapes = self.unversioned.iter().filter(is_as_long);
                shapes.find(is_named).ok_or(unknown)
            }
        }
    }

    fn key(&self, shape: &Shape, line: &[u8], fields: &Fields, scratch: &mut Vec<u8>) -> [u64; 2] {
        gather(&shape.key, line, fields, scratch);
        let hash = XxHash3_128::oneshot_with_seed(self.seed, scratch);
        let (high, low) = (hash >> 64, hash & u128::from(u64::MAX));
        [high, low].map(|half| u64::try_from(half).unwrap_or_default())
    }

    fn data(&self, shape: &Shape, line: &[u8], fields: &Fields, scratch: &mut Vec<u8>) -> u64 {
        gather(&shape.data, line, fields, scratch);
        XxHash3_64::oneshot_with_seed(self.seed, scratch)
    }

    /// The key of a line as it is written, for people.
    pub(super) fn key_text(&self, line: &Line<'_>, version: Option<usize>) -> Option<String> {
        Some(shown(self.shape_of(line, version)?, line))
    }

    /// The same of a row of the table.
    pub(super) fn row_text(&self, row: &Line<'_>) -> Option<String> {
        self.variants.first().map(|shape| shown(shape, row))
    }

    /// The compared columns in which a line says something else than a row.
    pub(super) fn differences(
        &self,
        line: &Line<'_>,
        version: Option<usize>,
        row: &Line<'_>,
    ) -> Vec<String> {
        let layout = self.shape_of(line, version);
        let Some(layout) = layout else {
            return Vec::new();
        };
        let Some(of_row) = self.variants.get(usize::from(layout.variant)) else {
            return Vec::new();
        };
        let pairs = layout.data.iter().zip(&of_row.data);
        let differing = pairs.filter(|(at, row_at)| line.value(**at) != row.value(**row_at));
        let names = differing.filter_map(|(at, _)| name_of(layout, *at));
        names.map(str::to_owned).collect()
    }

    fn shape_of(&self, line: &Line<'_>, version: Option<usize>) -> Option<&Shape> {
        let first = line.fields.values.len().checked_sub(self.metadata.len())?;
        self.find(line.text, line.fields, first, version).ok()
    }
}

/// A line, or a row as one, and its fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'l> {
    pub(super) text: &'l [u8],
    pub(super) fields: &'l Fields,
}

impl<'l> Line<'l> {
    fn value(&self, at: usize) -> Option<&'l [u8]> {
        self.text.get(self.fields.values.get(at)?.clone())
    }
}

/// What the fields about the change say.
#[derive(Debug, Default)]
struct About<'l> {
    kind: Option<Kind>,
    position: Option<&'l [u8]>,
    ordinal: Option<u64>,
    sequence: Option<i64>,
    version: Option<usize>,
}

fn shown(shape: &Shape, line: &Line<'_>) -> String {
    let column = |at: &usize| {
        let name = name_of(shape, *at)?;
        let value = String::from_utf8_lossy(line.value(*at)?);
        Some(format!("{name}={value}"))
    };
    let columns: Vec<String> = shape.key.iter().filter_map(column).collect();
    columns.join(", ")
}

fn name_of(shape: &Shape, at: usize) -> Option<&str> {
    shape.columns.get(at).map(|(name, _)| name.as_str())
}

fn names(columns: &Columns) -> impl Iterator<Item = &str> {
    columns.iter().map(|(name, _)| name.as_str())
}

/// Servers compare names of columns without case.
fn find(columns: &Columns, name: &str) -> Option<usize> {
    let is_it = |(other, _): &(String, LogicalType)| {
        other == name || other.to_lowercase() == name.to_lowercase()
    };
    columns.iter().position(is_it)
}

/// Whether a value is written alike as both types.
fn is_same_text(one: LogicalType, other: LogicalType) -> bool {
    let is_int = |kind| matches!(kind, LogicalType::Int { .. });
    one == other || is_int(one) && is_int(other)
}

/// What fields are hashed as. A field has no comma that is not quoted or escaped.
fn gather(chosen: &[usize], line: &[u8], fields: &Fields, out: &mut Vec<u8>) {
    out.clear();
    for at in chosen {
        if let Some(value) = fields.values.get(*at) {
            out.extend_from_slice(&line[value.clone()]);
        }
        out.push(b',');
    }
}

fn is_null(value: &[u8], dialect: Dialect) -> bool {
    match dialect {
        Dialect::Csv => value.is_empty(),
        Dialect::Hive | Dialect::OpenCsv => value == b"\\N",
        Dialect::Jsonl => value == b"null",
    }
}

/// A text as a line of this dialect has it.
fn text(text: &str, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    dialect.write_text(text.as_bytes(), &mut out);
    out
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
