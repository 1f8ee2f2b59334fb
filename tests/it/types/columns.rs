//! Columns of every type, with values at their bounds and at random, as SQL literals.
//!
//! What does not live here: what a column is expected to look like; only the server knows.

use rand::Rng;
use rand::rngs::StdRng;

use super::exact::exact;
use super::json::{json_bounds, quoted_json, random_json};
use super::text::{literal, random_text, text_bounds};
use testkit::servers::Kind;

/// A column of a test's table.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) sql_type: String,
    values: Values,
}

pub(super) enum Values {
    Int {
        bits: u32,
        unsigned: bool,
    },
    Float,
    Double,
    /// FLOAT(M,D) and DOUBLE(M,D): digits before the point and after it.
    Fixed {
        whole: i32,
        scale: i32,
    },
    Year,
    Date,
    /// With fractional digits, like those below.
    Time(usize),
    DateTime(usize),
    Timestamp(usize),
    /// Digits before the point and after it.
    Decimal {
        whole: usize,
        scale: usize,
    },
    /// So many bits.
    Bit(usize),
    /// Up to so many bytes.
    Bytes(usize),
    /// Any sum of these.
    Set(u64),
    Json,
    /// Floating numbers, so many, and the function that makes a vector of their text.
    Vector(usize, &'static str),
    /// An expression with a random 128-bit number in hexadecimal digits for its `{}`.
    Wide(&'static str),
    /// Up to so many characters.
    Text {
        charset: &'static str,
        chars: usize,
    },
    /// One of these expressions.
    OneOf(Vec<String>),
}

/// How often a random row has NULL in a nullable column, and how often one of the bounds.
const NULL_SHARE: f64 = 0.1;
const BOUND_SHARE: f64 = 0.1;

/// What breaks careless CSV, and what only looks as if it did. All of it is ASCII.
pub(super) const NASTY: &[&str] = &[
    "",
    ",",
    "\"",
    "\"\"",
    "\n",
    "\r",
    "\r\n",
    "\\",
    "\\\\",
    "\\N",
    "NULL",
    "null",
    "\0",
    "'",
    ";",
    "\t",
    " ",
    " lead",
    "trail ",
    "a,b",
    "a\"b",
    "\"a\"",
    "a\nb",
    "a\rb",
    "\\\"",
    "\\n",
    "a\\",
    "\u{1}",
    "\u{7f}",
    "#",
    "=1+1",
    "0x41",
    "a,\"b\"\n\\N\r\0",
];

// Values at the bounds of their types, or halfway between what can be printed.
const FLOATS: &[&str] = &[
    "0",
    "-0e0",
    "0.1",
    "-1.1",
    "1e0",
    "16777217",
    "123456.789",
    "3.4028234e38",
    "-3.4028234e38",
    "1.17549435e-38",
    "1e-45",
    "1e10",
    "1.5e-7",
];
const DOUBLES: &[&str] = &[
    "0",
    "-0e0",
    "0.1",
    "-1.1",
    "0.30000000000000004",
    "1e15",
    "1e16",
    "1e22",
    "1e23",
    "9007199254740993",
    "1.7976931348623157e308",
    "-1.7976931348623157e308",
    "2.2250738585072014e-308",
    "5e-324",
    "1e-5",
    "123456789012345680000",
];
const FIXED: &[&str] = &[
    "0", "-0e0", "0.1", "0.5", "-0.5", "0.125", "0.0625", "1", "-1.1", "2.675", "99.995", "1e300",
    "-1e300",
];
const DATES: &[&str] = &[
    "0000-00-00",
    "0000-01-01",
    "2020-00-00",
    "2020-05-00",
    "1000-01-01",
    "1969-12-31",
    "2024-02-29",
    "9999-12-31",
];
const TIMES: &[&str] = &[
    "00:00:00",
    "-00:00:01",
    "838:59:59",
    "-838:59:59",
    "838:59:58.999999",
    "-838:59:58.999999",
    "00:00:00.000001",
    "-00:00:00.000001",
    "-00:00:00.1",
    "-00:00:00.01",
    "-00:00:01.5",
    "-99:59:59.999",
    "99:59:59.5",
    "100:00:00",
    "-100:00:00.25",
    "-00:59:59.9999",
    "23:59:59.99999",
];
const DATETIMES: &[&str] = &[
    "0000-00-00 00:00:00",
    "0000-01-01 00:00:00",
    "2020-00-00 12:00:00",
    "1000-01-01 00:00:00",
    "1969-12-31 23:59:59.999999",
    "2016-03-04 05:06:07.000001",
    "2024-02-29 00:00:00.1",
    "2024-12-31 23:59:59.5",
    "9999-12-31 23:59:59",
];
const TIMESTAMPS: &[&str] = &[
    "0000-00-00 00:00:00",
    "1970-01-01 00:00:01",
    "1970-01-01 00:00:01.000001",
    "2016-03-04 05:06:07.654321",
    "2024-02-29 23:59:59.5",
    "2038-01-19 03:14:07",
];

/// Character sets with characters of one or two bytes.
pub(super) const TWO_BYTES: [&str; 8] = [
    "gbk", "sjis", "big5", "euckr", "gb2312", "cp932", "ujis", "eucjpms",
];

impl Column {
    pub(super) fn new(
        name: impl Into<String>,
        sql_type: impl Into<String>,
        values: Values,
    ) -> Self {
        Self {
            name: name.into(),
            sql_type: sql_type.into(),
            values,
        }
    }

    /// `name type`.
    pub(super) fn definition(&self) -> String {
        format!("`{}` {} NULL", self.name, self.sql_type)
    }

    /// Values that are at a bound or odd, NULL included.
    pub(super) fn bounds(&self) -> Vec<String> {
        let mut bounds = self.values.bounds();
        bounds.push("NULL".to_owned());
        bounds
    }

    pub(super) fn random(&self, bounds: &[&str], rng: &mut StdRng) -> String {
        if rng.random_bool(NULL_SHARE) {
            "NULL".to_owned()
        } else if rng.random_bool(BOUND_SHARE) {
            (*pick(bounds, rng)).to_owned()
        } else {
            self.values.random(rng)
        }
    }
}

pub(super) fn pick<'v, T>(values: &'v [T], rng: &mut StdRng) -> &'v T {
    &values[rng.random_range(0..values.len())]
}

impl Values {
    fn bounds(&self) -> Vec<String> {
        let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let quoted = |values: &[&str]| values.iter().map(|value| format!("'{value}'")).collect();
        match self {
            Self::Int { bits, unsigned } => {
                let (least, most) = int_range(*bits, *unsigned);
                let mut bounds = vec![least, least + 1, -1, 0, 1, most - 1, most];
                bounds.retain(|value| (least..=most).contains(value));
                bounds.iter().map(ToString::to_string).collect()
            }
            Self::Float => text(FLOATS),
            Self::Double => text(DOUBLES),
            Self::Fixed { whole, scale } => {
                let mut bounds: Vec<String> = text(FIXED);
                bounds.push(format!("1e{}", whole - 1));
                bounds.push(format!("-1.23456789012345678e{}", whole - 1));
                bounds.push(format!("1e-{scale}"));
                bounds
            }
            Self::Year => quoted(&["0000", "1901", "1970", "2000", "2155"]),
            Self::Date => quoted(DATES),
            Self::Time(_) => quoted(TIMES),
            Self::DateTime(_) => quoted(DATETIMES),
            Self::Timestamp(_) => quoted(TIMESTAMPS),
            Self::Text { charset, chars } => text_bounds(charset, *chars),
            Self::OneOf(values) => values.clone(),
            Self::Decimal { whole, scale } => decimal_bounds(*whole, *scale),
            Self::Bit(bits) => {
                let all = format!("b'{}'", "1".repeat(*bits));
                let high = format!("b'1{}'", "0".repeat(bits - 1));
                vec!["b'0'".to_owned(), "b'1'".to_owned(), high, all]
            }
            Self::Bytes(len) => {
                let mut bounds = text(&["x''", "x'00'", "x'FF'", "x'0A'", "x'2C22'", "x'4100'"]);
                bounds.retain(|bytes| bytes.len() <= 3 + 2 * len);
                let whole = [0_u8, 0x20, 0xff].map(|byte| literal("binary", &vec![byte; *len]));
                bounds.extend(whole);
                bounds
            }
            Self::Set(most) => vec!["0".to_owned(), "1".to_owned(), most.to_string()],
            Self::Json => json_bounds(),
            Self::Vector(len, function) => {
                ["0", "-0.5", "3.4028235e38", "1.1754944e-38", "16777216"]
                    .map(|number| vector(function, &vec![number.to_owned(); *len]))
                    .to_vec()
            }
            Self::Wide(expression) => [
                "00000000000000000000000000000000",
                "ffffffffffffffffffffffffffffffff",
                "00000000000000000000ffffc0000280",
                "000000000000000000000000c0000280",
                "20010db8000000000000ff0000428329",
                "00010002000300040005000600070008",
            ]
            .map(|digits| expression.replace("{}", digits))
            .to_vec(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "each type has its arm")]
    fn random(&self, rng: &mut StdRng) -> String {
        match self {
            Self::Int { bits, unsigned } => {
                let (least, most) = int_range(*bits, *unsigned);
                // As many small numbers as large ones.
                let shift = rng.random_range(0..*bits);
                (rng.random_range(least..=most) >> shift).to_string()
            }
            Self::Float => loop {
                let value = f32::from_bits(rng.random());
                if value.is_finite() {
                    return format!("{value:e}");
                }
            },
            Self::Double => loop {
                let value = f64::from_bits(rng.random());
                if value.is_finite() {
                    return format!("{value:e}");
                }
            },
            Self::Fixed { whole, scale } => {
                let sign = pick(&["", "-"], rng);
                let exponent = rng.random_range(-scale..*whole);
                format!("{sign}{:.17}e{exponent}", rng.random_range(0.0..10.0))
            }
            Self::Year => rng.random_range(1901..=2155).to_string(),
            Self::Date => format!("'{}'", random_date(0..10_000, rng)),
            Self::Time(digits) => {
                let sign = pick(&["", "-"], rng);
                let hour = rng.random_range(0..838);
                format!("'{sign}{hour}{}'", random_clock(*digits, rng))
            }
            Self::DateTime(digits) => {
                let (date, hour) = (random_date(1..10_000, rng), rng.random_range(0..24));
                format!("'{date} {hour}{}'", random_clock(*digits, rng))
            }
            Self::Timestamp(digits) => {
                let (date, hour) = (random_date(1971..2038, rng), rng.random_range(0..24));
                format!("'{date} {hour}{}'", random_clock(*digits, rng))
            }
            Self::Text { charset, chars } => random_text(charset, *chars, rng),
            Self::OneOf(values) => pick(values, rng).clone(),
            Self::Decimal { whole, scale } => {
                let mut digits = |most: usize| -> String {
                    let count = rng.random_range(0..=most);
                    (0..count)
                        .map(|_| char::from(rng.random_range(b'0'..=b'9')))
                        .collect()
                };
                let (before, after) = (digits(*whole), digits(*scale));
                let sign = pick(&["", "-"], rng);
                format!("{sign}0{before}.{after}0")
            }
            Self::Bit(bits) => {
                let digits = (0..*bits).map(|_| char::from(rng.random_range(b'0'..=b'1')));
                format!("b'{}'", digits.collect::<String>())
            }
            Self::Bytes(len) => {
                let len = rng.random_range(0..=(*len).min(40));
                let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
                literal("binary", &bytes)
            }
            Self::Set(most) => rng.random_range(0..=*most).to_string(),
            Self::Json => quoted_json(&random_json(0, rng)),
            Self::Vector(len, function) => {
                let number = |rng: &mut StdRng| loop {
                    let value = f32::from_bits(rng.random());
                    if value.is_normal() {
                        return format!("{value:e}");
                    }
                };
                let numbers: Vec<String> = (0..*len).map(|_| number(rng)).collect();
                vector(function, &numbers)
            }
            Self::Wide(expression) => {
                expression.replace("{}", &format!("{:032x}", rng.random::<u128>()))
            }
        }
    }
}

fn decimal_bounds(whole: usize, scale: usize) -> Vec<String> {
    let most = format!("{}.{}", "9".repeat(whole), "9".repeat(scale));
    let least = format!("0.{}1", "0".repeat(scale.saturating_sub(1)));
    let mut bounds = vec!["0".to_owned(), "-0.0".to_owned(), format!("-{most}"), most];
    if scale > 0 {
        bounds.extend([format!("-{least}"), least]);
    }
    bounds
}

fn vector(function: &str, numbers: &[String]) -> String {
    format!("{function}('[{}]')", numbers.join(","))
}

fn int_range(bits: u32, unsigned: bool) -> (i128, i128) {
    if unsigned {
        (0, (1 << bits) - 1)
    } else {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    }
}

fn random_date(years: std::ops::Range<u32>, rng: &mut StdRng) -> String {
    let (year, month) = (rng.random_range(years), rng.random_range(1..=12));
    format!("{year:04}-{month:02}-{:02}", rng.random_range(1..=28))
}

/// `:MM:SS.ffffff` with so many digits, none of which is left for the server to round.
fn random_clock(digits: usize, rng: &mut StdRng) -> String {
    let (minute, second) = (rng.random_range(0..60), rng.random_range(0..60));
    let fraction = format!("{:06}", rng.random_range(0..1_000_000));
    format!(":{minute:02}:{second:02}.{}", &fraction[..digits])
}

/// One column of each supported type.
pub(super) fn supported(kind: Kind) -> Vec<Column> {
    let mut columns = numbers();
    columns.extend(temporals());
    columns.extend(texts());
    columns.extend(exact(kind));
    columns
}

/// Integers and floating numbers.
pub(super) fn numbers() -> Vec<Column> {
    let mut columns = Vec::new();
    for (name, bits) in [
        ("tinyint", 8),
        ("smallint", 16),
        ("mediumint", 24),
        ("int", 32),
        ("bigint", 64),
    ] {
        for (sign, unsigned) in [("", false), (" unsigned", true)] {
            let sql_type = format!("{name}{sign}");
            columns.push(Column::new(
                sql_type.replace(' ', "_"),
                &sql_type,
                Values::Int { bits, unsigned },
            ));
        }
    }
    let unsigned = |bits| Values::Int {
        bits,
        unsigned: true,
    };
    columns.push(Column::new(
        "flag",
        "bool",
        Values::Int {
            bits: 8,
            unsigned: false,
        },
    ));
    columns.push(Column::new("padded", "int(7) zerofill", unsigned(32)));
    columns.push(Column::new("year", "year", Values::Year));
    columns.push(Column::new(
        "padded_big",
        "bigint(20) zerofill",
        unsigned(64),
    ));
    for (name, sql_type, values) in [
        ("float", "float", Values::Float),
        ("float_unsigned", "float unsigned", Values::Float),
        ("float_24", "float(24)", Values::Float),
        ("float_53", "float(53)", Values::Double),
        ("double", "double", Values::Double),
        ("double_unsigned", "double unsigned", Values::Double),
    ] {
        columns.push(Column::new(name, sql_type, values));
    }
    for (base, whole, scale) in [
        ("float", 4, 3),
        ("float", 1, 6),
        ("float", 10, 10),
        ("float", 20, 0),
        ("double", 8, 2),
        ("double", 10, 6),
        ("double", 20, 0),
        ("double", 10, 20),
        ("double", 1, 30),
        ("double", 30, 2),
        ("double", 225, 30),
    ] {
        let sql_type = format!("{base}({},{scale})", whole + scale);
        columns.push(Column::new(
            format!("{base}_{whole}_{scale}"),
            sql_type,
            Values::Fixed { whole, scale },
        ));
    }
    columns
}

/// Dates and times.
pub(super) fn temporals() -> Vec<Column> {
    let mut columns = vec![Column::new("date", "date", Values::Date)];
    for digits in 0..=6 {
        for (name, values) in [
            ("time", Values::Time(digits)),
            ("datetime", Values::DateTime(digits)),
            ("timestamp", Values::Timestamp(digits)),
        ] {
            let sql_type = format!("{name}({digits})");
            columns.push(Column::new(format!("{name}_{digits}"), sql_type, values));
        }
    }
    columns
}

/// DATE, TIME, DATETIME and TIMESTAMP.
pub(super) fn without_fractions() -> Vec<Column> {
    let mut columns = temporals();
    columns.retain(|column| !column.name.ends_with(|last| ('1'..='6').contains(&last)));
    columns
}

/// Text of each length in each character set.
pub(super) fn texts() -> Vec<Column> {
    let mut columns = Vec::new();
    for charset in ["utf8mb4", "latin1", "utf8mb3", "ascii"] {
        let widest = match charset {
            "utf8mb4" => 4,
            "utf8mb3" => 3,
            _ => 1,
        };
        for (sql_type, chars) in [
            ("char(10)", 10),
            ("char(255)", 255),
            // Below and above 255 bytes in each character set, where the length takes a second byte.
            ("varchar(63)", 63),
            ("varchar(64)", 64),
            ("varchar(255)", 255),
            ("varchar(256)", 256),
            ("tinytext", 255 / widest),
            ("text", 300),
            ("mediumtext", 65_600 / widest),
            ("longtext", 65_600),
        ] {
            let name = format!("{charset}_{}", sql_type.replace(['(', ')'], ""));
            let sql_type = format!("{sql_type} character set {charset}");
            columns.push(Column::new(name, sql_type, Values::Text { charset, chars }));
        }
    }
    // Their values are written in UTF-8, which the server turns into what the column has.
    for (charset, values_in) in [
        ("ucs2", "utf8mb3"),
        ("utf16", "utf8mb4"),
        ("utf16le", "utf8mb4"),
        ("utf32", "utf8mb4"),
    ] {
        for (sql_type, chars) in [("char(10)", 10), ("varchar(64)", 64), ("text", 300)] {
            let name = format!("{charset}_{}", sql_type.replace(['(', ')'], ""));
            let sql_type = format!("{sql_type} character set {charset}");
            let values = Values::Text {
                charset: values_in,
                chars,
            };
            columns.push(Column::new(name, sql_type, values));
        }
    }
    for charset in TWO_BYTES {
        for (sql_type, chars) in [("char(10)", 10), ("varchar(100)", 100), ("text", 300)] {
            let name = format!("{charset}_{}", sql_type.replace(['(', ')'], ""));
            let sql_type = format!("{sql_type} character set {charset}");
            columns.push(Column::new(name, sql_type, Values::Text { charset, chars }));
        }
    }
    columns
}

/// Columns that tests leave out between others.
pub(super) fn passed(kind: Kind) -> Vec<Column> {
    let mut types: Vec<(&str, &[&str])> = vec![
        ("text character set gbk", &["'a'", "_gbk x'B0A1'"]),
        ("char(200) character set sjis", &["'a'", "_sjis x'8AD4'"]),
        ("bit(9)", &["0", "511"]),
    ];
    if kind != Kind::Mysql {
        types.push(("text compressed", &["''", "REPEAT('ab', 500)"]));
    }
    let column = |(index, (sql_type, values)): (usize, (&str, &[&str]))| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Column::new(format!("passed_{index}"), sql_type, Values::OneOf(values))
    };
    types.into_iter().enumerate().map(column).collect()
}

/// One column of each type that has no character set or another one in a table map than in its
/// definition, or a sign that nobody declares.
pub(super) fn odd(kind: Kind) -> Vec<Column> {
    let mut columns = exact(kind);
    columns.push(Column::new("year", "year", Values::Year));
    columns.extend(passed(kind));
    columns
}
