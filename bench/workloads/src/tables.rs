//! The tables that `decode` reads: their columns, and the made-up rows in them.
//!
//! What lives here: workload A's columns; `wide`, 100 columns of all sorts, a tenth of their values NULL; `text`,
//! prose of about 2 KB a row, half of it with commas, quotes and line breaks. What does not: how rows get into a
//! file (`capture`), and how the yardstick writes them (`baseline_cells`).

use std::io::Write;

use anyhow::Result;
use hydrant_binlog::encode::ChosenColumn;

use crate::capture::{self, SplitMix, TRANSACTION_ROWS};
use crate::sales;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Workload A: eight columns of the sales.
    Sales,
    /// 100 mixed columns.
    Wide,
    /// Rows of 2 KB of prose.
    Text,
}

/// A column of `wide` or `text`: what it holds, how it is declared, and its values.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// An integer of so many bits.
    Int(&'static str, u64),
    /// The same, UNSIGNED.
    Unsigned(&'static str, u64),
    /// DECIMAL(M,D), of which at most 18 digits are used on either side of the point.
    Decimal(u32, u32),
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DATE.
    Date,
    /// DATETIME(6).
    DateTime,
    /// TIMESTAMP(3).
    Timestamp,
    /// TIME.
    Time,
    /// A name in utf8mb4, in a column of this type.
    Name(&'static str),
    /// A name in latin1, in a column of this type.
    Latin1(&'static str),
    /// Prose in utf8mb4 of up to so many words, in a column of this type.
    Prose(&'static str, u64),
    /// ENUM of [`ENUM_LABELS`].
    Enum,
    /// SET of [`SET_LABELS`].
    Set,
    /// BIT(12).
    Bit,
    /// BINARY(16), of which some end in zeros, which the server leaves out of the binlog.
    Binary,
    /// JSON.
    Json,
}

/// Labels of the ENUM columns.
pub const ENUM_LABELS: [&str; 5] = ["new", "paid", "packed", "sent", "returned"];
/// Labels of the SET columns.
pub const SET_LABELS: [&str; 5] = ["gift", "fragile", "insured", "express", "cold"];
/// Bytes of the BINARY columns.
pub const BINARY_LEN: usize = 16;

const WIDE_COLUMNS: usize = 100;

/// Taken in turn.
const WIDE: [Column; 27] = [
    Column::Int("TINYINT", 8),
    Column::Unsigned("TINYINT UNSIGNED", 8),
    Column::Int("SMALLINT", 16),
    Column::Unsigned("SMALLINT UNSIGNED", 16),
    Column::Int("MEDIUMINT", 24),
    Column::Unsigned("MEDIUMINT UNSIGNED", 24),
    Column::Int("INT", 32),
    Column::Unsigned("INT UNSIGNED", 32),
    Column::Int("BIGINT", 64),
    Column::Unsigned("BIGINT UNSIGNED", 64),
    Column::Decimal(10, 2),
    Column::Float,
    Column::Double,
    Column::Date,
    Column::DateTime,
    Column::Timestamp,
    Column::Time,
    Column::Name("VARCHAR(80)"),
    Column::Latin1("VARCHAR(80)"),
    Column::Enum,
    Column::Set,
    Column::Bit,
    Column::Binary,
    Column::Json,
    Column::Name("CHAR(40)"),
    Column::Latin1("CHAR(40)"),
    Column::Decimal(30, 10),
];

const TEXT: [Column; 5] = [
    Column::Unsigned("BIGINT UNSIGNED", 64),
    Column::Name("VARCHAR(80)"),
    Column::Prose("VARCHAR(500)", 20),
    Column::Prose("VARCHAR(4000)", 100),
    Column::Prose("TEXT", 280),
];

/// Names of any language.
const NAMES: [&str; 8] = [
    "Ada Lovelace",
    "Grace Hopper",
    "José Núñez",
    "Łukasz Wójcik",
    "Ελένη Παπαδοπούλου",
    "山田太郎",
    "Smith, Jones and Sons",
    "Robert \"Bob\" Tables",
];

/// Names that latin1 has letters for.
const LATIN1_NAMES: [&str; 6] = [
    "Ada Lovelace",
    "Grace Hopper",
    "José Núñez",
    "Jürgen Groß",
    "Smith, Jones and Sons",
    "Price in € only",
];

const WORDS: [&str; 24] = [
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "that",
    "it",
    "was",
    "row",
    "river",
    "harbour",
    "letter",
    "window",
    "evening",
    "remarkable",
    "understanding",
    "café",
    "naïve",
    "Straße",
    "Ελλάδα",
    "東京",
    "🚢",
    "between",
];

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sales, Self::Wide, Self::Text];

    /// As the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sales => "sales",
            Self::Wide => "wide",
            Self::Text => "text",
        }
    }

    /// In the schema `shop`.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Sales => "Sales",
            Self::Wide => "Wide",
            Self::Text => "Text",
        }
    }

    /// Rows that make a file of well below MySQL's largest.
    #[must_use]
    pub fn default_rows(self) -> u64 {
        match self {
            Self::Sales => 2_000_000,
            Self::Wide | Self::Text => 100_000,
        }
    }

    /// How many times the yardstick hydrant is to be, at least.
    #[must_use]
    pub fn least_ratio(self) -> u32 {
        match self {
            Self::Sales => 12,
            Self::Wide | Self::Text => 5,
        }
    }

    /// All columns of the table, which are also those that are written; none for the sales, of which the table
    /// has one more.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Sales => Vec::new(),
            Self::Wide => WIDE.into_iter().cycle().take(WIDE_COLUMNS).collect(),
            Self::Text => TEXT.into(),
        }
    }

    /// The columns that are written, for hydrant.
    #[must_use]
    pub fn chosen(self) -> Vec<ChosenColumn> {
        match self {
            Self::Sales => sales::sales_columns(),
            Self::Wide | Self::Text => (0..self.columns().len())
                .map(|index| ChosenColumn {
                    name: format!("c{index}"),
                    ..ChosenColumn::default()
                })
                .collect(),
        }
    }

    /// The binlog of so many rows in transactions of 1,000. The rows are the same in every capture.
    ///
    /// # Errors
    /// When no server can be had to make it, or the file cannot be read.
    pub fn binlog(self, row_count: u64) -> Result<Vec<u8>> {
        if self == Self::Sales {
            return sales::workload_a(row_count);
        }
        let columns = self.columns();
        let name = format!("workload-{}-{row_count}", self.name());
        capture::binlog(&name, |server| {
            server.sql(&self.declaration())?;
            capture::insert_with(server, row_count, TRANSACTION_ROWS, |sql, rows, random| {
                self.write_insert(&columns, sql, rows, random)
            })
        })
    }

    fn declaration(self) -> String {
        let columns = self.columns();
        let columns = columns.iter().enumerate();
        let columns: Vec<_> = columns
            .map(|(index, column)| format!("c{index} {} NULL", column.declaration()))
            .collect();
        format!(
            "CREATE DATABASE shop; CREATE TABLE shop.{} ({});",
            self.table(),
            columns.join(", ")
        )
    }

    fn write_insert(
        self,
        columns: &[Column],
        sql: &mut impl Write,
        rows: u64,
        random: &mut SplitMix,
    ) -> Result<()> {
        write!(sql, "INSERT INTO shop.{} VALUES ", self.table())?;
        for row in 0..rows {
            sql.write_all(if row == 0 { b"" } else { b"," })?;
            for (index, column) in columns.iter().enumerate() {
                sql.write_all(if index == 0 { b"(" } else { b"," })?;
                if self == Self::Wide && random.below(10) == 0 {
                    sql.write_all(b"NULL")?;
                } else {
                    column.write_value(sql, random)?;
                }
            }
            sql.write_all(b")")?;
        }
        Ok(())
    }
}

impl Column {
    fn declaration(self) -> String {
        let labels = |labels: &[&str]| format!("('{}')", labels.join("','"));
        match self {
            Self::Int(kind, _) | Self::Unsigned(kind, _) => kind.to_owned(),
            Self::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
            Self::Float => "FLOAT".to_owned(),
            Self::Double => "DOUBLE".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::DateTime => "DATETIME(6)".to_owned(),
            Self::Timestamp => "TIMESTAMP(3)".to_owned(),
            Self::Time => "TIME".to_owned(),
            Self::Name(kind) | Self::Prose(kind, _) => format!("{kind} CHARACTER SET utf8mb4"),
            Self::Latin1(kind) => format!("{kind} CHARACTER SET latin1"),
            Self::Enum => format!("ENUM{}", labels(&ENUM_LABELS)),
            Self::Set => format!("SET{}", labels(&SET_LABELS)),
            Self::Bit => "BIT(12)".to_owned(),
            Self::Binary => format!("BINARY({BINARY_LEN})"),
            Self::Json => "JSON".to_owned(),
        }
    }

    /// Writes a value as a literal of SQL. None is an empty text: the csv crate writes it like a NULL.
    fn write_value(self, sql: &mut impl Write, random: &mut SplitMix) -> Result<()> {
        match self {
            Self::Int(_, bits) => {
                let unused = 64 - bits + random.below(bits);
                write!(sql, "{}", random.next().cast_signed() >> unused)?;
            }
            Self::Unsigned(_, bits) => {
                let unused = 64 - bits + random.below(bits);
                write!(sql, "{}", random.next() >> unused)?;
            }
            Self::Decimal(precision, scale) => {
                let sign = random.of(&["", "-"]);
                let most = u64::from(18.min(precision - scale));
                let digits = 1 + random.below(most);
                let whole = random.below(10_u64.pow(u32::try_from(digits)?));
                let fraction = random.below(10_u64.pow(scale));
                let scale = usize::try_from(scale)?;
                write!(sql, "{sign}{whole}.{fraction:0scale$}")?;
            }
            Self::Float => write_floating(10_000_000, 10, sql, random)?,
            Self::Double => write_floating(1_000_000_000_000_000, 20, sql, random)?,
            Self::Date => {
                write_date(sql, random)?;
                sql.write_all(b"'")?;
            }
            Self::DateTime => {
                write_date(sql, random)?;
                write_clock(24, sql, random)?;
                write!(sql, ".{:06}'", random.below(1_000_000))?;
            }
            Self::Timestamp => {
                write_date(sql, random)?;
                write_clock(24, sql, random)?;
                // Some are whole seconds, which mysql_common gives without a fraction.
                write!(sql, ".{:03}'", random.below(1_000) * random.below(4).min(1))?;
            }
            Self::Time => {
                sql.write_all(random.of(&["'", "'-"]).as_bytes())?;
                write_clock(838, sql, random)?;
                sql.write_all(b"'")?;
            }
            Self::Name(_) => write!(sql, "'{}'", random.of(&NAMES))?,
            Self::Latin1(_) => write!(sql, "'{}'", random.of(&LATIN1_NAMES))?,
            Self::Prose(_, most_words) => write_prose(most_words, sql, random)?,
            Self::Enum => write!(sql, "{}", 1 + random.below(5))?,
            Self::Set => write!(sql, "{}", 1 + random.below(31))?,
            Self::Bit => write!(sql, "{}", random.below(4096))?,
            Self::Binary => {
                let high = random.next();
                match random.below(4) {
                    0 => write!(sql, "X'{high:016x}'")?,
                    _ => write!(sql, "X'{high:016x}{:016x}'", random.next())?,
                }
            }
            // The names of members are in the order of serde_json and of MySQL, which sorts them by length.
            Self::Json => write!(
                sql,
                r#"'{{"count": {}, "label": "{}", "ready": {}, "sizes": [{}, {}]}}'"#,
                random.below(100_000),
                random.of(&LATIN1_NAMES),
                random.of(&["true", "false", "null"]),
                random.below(100),
                random.below(100_000)
            )?,
        }
        Ok(())
    }
}

fn write_floating(
    bound: u64,
    most_places: u64,
    sql: &mut impl Write,
    random: &mut SplitMix,
) -> Result<()> {
    let sign = random.of(&["", "-"]);
    let number = 1 + random.below(bound);
    write!(sql, "{sign}{number}e-{}", random.below(most_places))?;
    Ok(())
}

/// An opening quote and a date that a TIMESTAMP has too.
fn write_date(sql: &mut impl Write, random: &mut SplitMix) -> Result<()> {
    let year = 1971 + random.below(66);
    let (month, day) = (1 + random.below(12), 1 + random.below(28));
    write!(sql, "'{year}-{month:02}-{day:02} ")?;
    Ok(())
}

fn write_clock(hours: u64, sql: &mut impl Write, random: &mut SplitMix) -> Result<()> {
    let hour = random.below(hours);
    let (minute, second) = (random.below(60), random.below(60));
    write!(sql, "{hour:02}:{minute:02}:{second:02}")?;
    Ok(())
}

/// From half as many words to all of them.
fn write_prose(most_words: u64, sql: &mut impl Write, random: &mut SplitMix) -> Result<()> {
    let is_plain = random.below(2) == 0;
    let words = most_words / 2 + random.below(most_words / 2 + 1);
    sql.write_all(b"'")?;
    for _ in 0..words {
        let word = random.of(&WORDS);
        match random.below(40) {
            0..=2 if !is_plain => write!(sql, "{word}, ")?,
            3 if !is_plain => write!(sql, "\"{word}\" ")?,
            4 if !is_plain => write!(sql, "{word}.\\n")?,
            5..=6 => write!(sql, "{word}. ")?,
            _ => write!(sql, "{word} ")?,
        }
    }
    sql.write_all(b"end.'")?;
    Ok(())
}
