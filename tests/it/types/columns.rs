//! Columns of every type, with values at their bounds and at random, as SQL literals.
//!
//! What does not live here: what a column is expected to look like; only the server knows.

use std::fmt::Write as _;

use rand::Rng;
use rand::rngs::StdRng;

use crate::support::servers::Kind;

/// A column of a test's table.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) sql_type: String,
    values: Values,
}

enum Values {
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
    /// Floating numbers, so many.
    Vector(usize),
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
const NASTY: &[&str] = &[
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

impl Column {
    fn new(name: impl Into<String>, sql_type: impl Into<String>, values: Values) -> Self {
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

    pub(super) fn random(&self, bounds: &[String], rng: &mut StdRng) -> String {
        if rng.random_bool(NULL_SHARE) {
            "NULL".to_owned()
        } else if rng.random_bool(BOUND_SHARE) {
            pick(bounds, rng).clone()
        } else {
            self.values.random(rng)
        }
    }
}

fn pick<'v, T>(values: &'v [T], rng: &mut StdRng) -> &'v T {
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
            Self::Vector(len) => ["0", "-0.5", "3.4028235e38", "1.1754944e-38", "16777216"]
                .map(|number| vector(&vec![number.to_owned(); *len]))
                .to_vec(),
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
            Self::Vector(len) => {
                let number = |rng: &mut StdRng| loop {
                    let value = f32::from_bits(rng.random());
                    if value.is_normal() {
                        return format!("{value:e}");
                    }
                };
                vector(&(0..*len).map(|_| number(rng)).collect::<Vec<_>>())
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

fn vector(numbers: &[String]) -> String {
    format!("TO_VECTOR('[{}]')", numbers.join(","))
}

/// A document as a literal.
fn quoted_json(text: &str) -> String {
    let mut literal = String::from("CONVERT(x'");
    for byte in text.as_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push_str("' USING utf8mb4)");
    literal
}

fn json_bounds() -> Vec<String> {
    let documents = [
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        r#"{"b": 1, "a": 2, "aa": 3, "": null}"#,
        "[0, -1, 32767, -32768, 32768, 65535, 65536, -2147483648, 2147483647, 4294967295]",
        "[4294967296, -9223372036854775808, 9223372036854775807, 18446744073709551615]",
        "[0.0, -0.0, 1.0, 1e15, 1e16, 123456789012345680000, 1e-5, 1.5e-14, 1.5e-15, 1.5e-16]",
        "[1.7976931348623157e308, 5e-324, 0.1, 1e20, 1e21, 1e22, 123456789.125, 1e100]",
        r#"["a,b", "quo\"te", "back\\slash", "/", "\b\f\n\r\t\u0001\u001f\u007f", "\u00e9\u4fa1"]"#,
        r#"{"nested": {"deep": [[[{"x": [1, [2, [3]]]}]]]}}"#,
    ];
    let mut bounds: Vec<String> = documents.map(quoted_json).to_vec();
    // Containers over 64 KiB, keys that are long, types of MySQL's own.
    let large: Vec<String> = (0..9_000).map(|n| format!("{n}, \"t{n}\"")).collect();
    bounds.push(quoted_json(&format!("[{}]", large.join(", "))));
    let members: Vec<String> = (0..5_000).map(|n| format!("\"key{n}\": {n}.5")).collect();
    bounds.push(quoted_json(&format!("{{{}}}", members.join(", "))));
    bounds.push(quoted_json(&format!(
        "[\"{}\", \"{}\"]",
        "x".repeat(200),
        "y".repeat(20_000)
    )));
    bounds
}

/// Values in JSON that only expressions can make.
const JSON_EXPRESSIONS: &[&str] = &[
    "JSON_ARRAY(CAST('12.340' AS DECIMAL(10,3)), CAST(-0.5 AS DECIMAL(65,30)))",
    "JSON_ARRAY(DATE '2016-03-04', DATE '0000-00-00')",
    "JSON_ARRAY(TIME '-838:59:59', TIME '00:00:00.000001', TIME '12:34:56.7')",
    "JSON_OBJECT('at', TIMESTAMP '2016-03-04 05:06:07.000008', 'b', x'00FF', 'c', b'101')",
    "JSON_ARRAY(CAST(REPEAT('a', 200) AS BINARY), ST_GeomFromText('POINT(1 2)'))",
    "JSON_ARRAY(CAST(1 AS DOUBLE), CAST(1.5e300 AS DOUBLE), CAST(0.1 AS FLOAT), CAST(2016 AS YEAR))",
    "JSON_SET('{\"a\": [1, 2, 3]}', '$.a[1]', JSON_OBJECT('b', TRUE))",
];

fn random_json(depth: usize, rng: &mut StdRng) -> String {
    let most = if depth < 4 { 8 } else { 6 };
    match rng.random_range(0..most) {
        0 => "null".to_owned(),
        1 => rng.random_bool(0.5).to_string(),
        2 => (rng.random::<i64>() >> rng.random_range(0..64)).to_string(),
        3 => rng.random::<u64>().to_string(),
        4 => loop {
            let value = f64::from_bits(rng.random());
            if value.is_finite() {
                return format!("{value:e}");
            }
        },
        5 => random_string(rng),
        6 => {
            let members: Vec<_> = (0..rng.random_range(0..5))
                .map(|_| random_json(depth + 1, rng))
                .collect();
            format!("[{}]", members.join(","))
        }
        _ => {
            let member = |rng: &mut StdRng| {
                format!("{}: {}", random_string(rng), random_json(depth + 1, rng))
            };
            let members: Vec<_> = (0..rng.random_range(0..5)).map(|_| member(rng)).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn random_string(rng: &mut StdRng) -> String {
    let characters: String = (0..rng.random_range(0..12))
        .map(|_| {
            if rng.random_bool(0.8) {
                char::from(rng.random_range(0..128))
            } else {
                rng.random()
            }
        })
        .collect();
    serde_json::Value::String(characters).to_string()
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

/// A string literal from bytes in a character set.
fn literal(charset: &str, bytes: &[u8]) -> String {
    let mut literal = format!("_{charset} x'");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}

fn text_bounds(charset: &str, chars: usize) -> Vec<String> {
    let mut values: Vec<Vec<u8>> = NASTY.iter().map(|text| text.as_bytes().to_vec()).collect();
    values.push(vec![b'x'; chars]);
    let from = |text: &str| text.as_bytes().to_vec();
    match charset {
        "utf8mb4" => {
            values.extend(
                [
                    "Grüße",
                    "価格",
                    "🚒",
                    "👩‍🚒 a,b",
                    "\u{feff}BOM",
                    "\u{10ffff}",
                    "e\u{301}",
                ]
                .map(from),
            );
            values.push("🚒".repeat(chars).into_bytes());
        }
        "utf8mb3" => {
            values.extend(["Grüße", "価格", "\u{feff}BOM", "\u{ffff}"].map(from));
            values.push("格".repeat(chars).into_bytes());
        }
        "latin1" => {
            let all: Vec<u8> = (0..=255).collect();
            values.extend(all.iter().map(|byte| vec![*byte]));
            // Without what needs quotes, and with it.
            let plain = all
                .iter()
                .copied()
                .filter(|byte| !b",\"\n\r".contains(byte));
            values.push(plain.take(chars).collect());
            values.push(all.iter().rev().copied().take(chars).collect());
            values.push(vec![0xff; chars]);
        }
        _ => values.push((0..128).take(chars).collect()),
    }
    values.retain(|bytes| character_count(charset, bytes) <= chars);
    values.iter().map(|bytes| literal(charset, bytes)).collect()
}

fn character_count(charset: &str, bytes: &[u8]) -> usize {
    match charset {
        "latin1" | "ascii" => bytes.len(),
        _ => String::from_utf8_lossy(bytes).chars().count(),
    }
}

fn random_text(charset: &str, chars: usize, rng: &mut StdRng) -> String {
    let len = rng.random_range(0..=chars.min(40));
    let mut bytes = Vec::new();
    for _ in 0..len {
        let nasty = *pick(NASTY, rng);
        let left = len - character_count(charset, &bytes).min(len);
        match rng.random_range(0..10) {
            0 if nasty.len() <= left => bytes.extend_from_slice(nasty.as_bytes()),
            1..=7 if left > 0 => bytes.push(rng.random_range(b' '..=b'~')),
            _ if left > 0 => push_random(charset, &mut bytes, rng),
            _ => {}
        }
    }
    literal(charset, &bytes)
}

fn push_random(charset: &str, bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let character = match charset {
        "latin1" => return bytes.push(rng.random()),
        "ascii" => return bytes.push(rng.random_range(0..128)),
        "utf8mb3" => rng.random_range('\u{80}'..='\u{ffff}'),
        _ => rng.random_range('\u{80}'..=char::MAX),
    };
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// One column of each supported type.
pub(super) fn supported(kind: Kind) -> Vec<Column> {
    let mut columns = numbers();
    columns.extend(temporals());
    columns.extend(texts());
    columns.extend(exact(kind));
    columns
}

/// Types that have a form of their own in the lines.
fn exact(kind: Kind) -> Vec<Column> {
    let mut columns = Vec::new();
    for (whole, scale) in [
        (35, 30),
        (65, 0),
        (30, 0),
        (0, 9),
        (0, 30),
        (1, 1),
        (9, 9),
        (10, 2),
        (19, 8),
    ] {
        for sign in ["", " unsigned", " zerofill"] {
            let sql_type = format!("decimal({},{scale}){sign}", whole + scale);
            let name = format!("decimal_{whole}_{scale}{}", sign.replace(' ', "_"));
            columns.push(Column::new(
                name,
                sql_type,
                Values::Decimal { whole, scale },
            ));
        }
    }
    for bits in [1, 7, 8, 9, 20, 63, 64] {
        columns.push(Column::new(
            format!("bit_{bits}"),
            format!("bit({bits})"),
            Values::Bit(bits),
        ));
    }
    for (sql_type, len) in [
        ("binary(1)", 1),
        ("binary(3)", 3),
        ("binary(255)", 255),
        ("varbinary(16)", 16),
        ("varbinary(300)", 300),
        ("tinyblob", 255),
        ("blob", 300),
        ("mediumblob", 70_000),
        ("longblob", 70_000),
    ] {
        let name = sql_type.replace(['(', ')'], "_");
        columns.push(Column::new(name, sql_type, Values::Bytes(len)));
    }
    columns.extend(labelled());
    let points = [
        "ST_GeomFromText('POINT(1 2)')",
        "ST_GeomFromText('LINESTRING(0 0, 1 1, 2 3)')",
        "ST_GeomFromText('POLYGON((0 0, 4 0, 4 4, 0 0))')",
    ];
    columns.push(Column::new("geometry", "geometry", one_of(&points)));
    columns.push(Column::new("point", "point", one_of(&points[..1])));
    columns.extend(of_one_family(kind));
    columns
}

fn one_of(values: &[&str]) -> Values {
    Values::OneOf(values.iter().map(|it| (*it).to_owned()).collect())
}

/// ENUM and SET.
fn labelled() -> Vec<Column> {
    let many: Vec<String> = (0..300).map(|n| format!("'label {n}'")).collect();
    let bits: Vec<String> = (0..64).map(|n| format!("'b{n}'")).collect();
    let one_of =
        |values: &[&str]| Values::OneOf(values.iter().map(|it| (*it).to_owned()).collect());
    vec![
        Column::new(
            "enum_few",
            "enum('small','large, \"quoted\"','') character set utf8mb4",
            one_of(&["'small'", "2", "3", "''", "'unknown'"]),
        ),
        Column::new(
            "enum_many",
            format!("enum({})", many.join(",")),
            one_of(&["1", "255", "256", "300"]),
        ),
        Column::new(
            "enum_latin1",
            "enum('Größe','x') character set latin1",
            one_of(&["1", "2"]),
        ),
        Column::new(
            "enum_utf16",
            "enum('価格','x') character set utf16",
            one_of(&["1", "2"]),
        ),
        Column::new("set_few", "set('a','b','c d','e \"f\"')", Values::Set(15)),
        Column::new(
            "set_nine",
            "set('a','b','c','d','e','f','g','h','i')",
            Values::Set(511),
        ),
        Column::new(
            "set_latin1",
            "set('é','ü') character set latin1",
            Values::Set(3),
        ),
        Column::new(
            "set_most",
            format!("set({})", bits.join(",")),
            Values::Set(u64::MAX),
        ),
    ]
}

/// What only one family has.
fn of_one_family(kind: Kind) -> Vec<Column> {
    let mut columns = Vec::new();
    match kind {
        Kind::Mysql => {
            columns.push(Column::new("json", "json", Values::Json));
            columns.push(Column::new("json_made", "json", one_of(JSON_EXPRESSIONS)));
            columns.push(Column::new("vector", "vector(3)", Values::Vector(3)));
            columns.push(Column::new(
                "vector_wide",
                "vector(200)",
                Values::Vector(200),
            ));
        }
        Kind::Mariadb => {
            columns.push(Column::new(
                "json",
                "json",
                Values::OneOf(vec![
                    "'{\"key\": [1, 2.5, null, \"text\"]}'".to_owned(),
                    "'[]'".to_owned(),
                ]),
            ));
            columns.push(Column::new(
                "inet6",
                "inet6",
                Values::Wide("CAST(x'{}' AS inet6)"),
            ));
            columns.push(Column::new("uuid", "uuid", Values::Wide("'{}'")));
            columns.push(Column::new(
                "inet4",
                "inet4",
                one_of(&[
                    "'127.0.0.1'",
                    "'0.0.0.0'",
                    "'255.255.255.255'",
                    "'10.0.0.0'",
                ]),
            ));
        }
    }
    columns
}

fn numbers() -> Vec<Column> {
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

fn temporals() -> Vec<Column> {
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

fn texts() -> Vec<Column> {
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
    columns
}

/// Columns of types that cannot be written.
pub(super) fn unsupported(kind: Kind) -> Vec<Column> {
    let mut types: Vec<(&str, &[&str])> = vec![
        ("text character set gbk", &["'a'", "_gbk x'B0A1'"]),
        ("char(200) character set sjis", &["'a'", "_sjis x'8AD4'"]),
        (
            "varchar(90) character set cp1251",
            &["'a'", "_cp1251 x'E0'"],
        ),
    ];
    if kind == Kind::Mariadb {
        types.extend([
            ("text compressed", &["''", "REPEAT('ab', 500)"] as &[&str]),
            ("varchar(300) compressed", &["'short'", "REPEAT('ab', 140)"]),
            ("varbinary(90) compressed", &["''", "REPEAT('a', 90)"]),
        ]);
    }
    let column = |(index, (sql_type, values)): (usize, (&str, &[&str]))| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Column::new(format!("passed_{index}"), sql_type, Values::OneOf(values))
    };
    types.into_iter().enumerate().map(column).collect()
}

/// One column of each type that has no character set or another one in a table map than in its
/// definition.
pub(super) fn odd(kind: Kind) -> Vec<Column> {
    let mut columns = exact(kind);
    columns.extend(unsupported(kind));
    columns
}
