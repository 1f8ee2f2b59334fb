//! Columns of types that have a form of their own in the lines: exact numbers, bytes, labels, JSON, and
//! what only one family of servers has.

use super::columns::{Column, Values};
use super::json::JSON_EXPRESSIONS;
use super::text::text_bounds;
use testkit::servers::Kind;

/// Types that have a form of their own in the lines.
pub(super) fn exact(kind: Kind) -> Vec<Column> {
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

/// Columns that are stored compressed where that makes them shorter.
fn compressed() -> Vec<Column> {
    let repeated = "REPEAT('ab, \"c\"', 90)";
    let mut columns = Vec::new();
    for (sql_type, charset) in [
        ("varchar(60)", "utf8mb4"),
        ("varchar(2000)", "latin1"),
        ("tinytext", "utf8mb3"),
        ("text", "gbk"),
        ("mediumtext", "utf8mb4"),
        ("longtext", "latin1"),
    ] {
        let mut values = text_bounds(charset, 50);
        values.extend([repeated.to_owned(), "''".to_owned()]);
        let name = format!("packed_{charset}_{}", sql_type.replace(['(', ')'], ""));
        let sql_type = format!("{sql_type} compressed character set {charset}");
        columns.push(Column::new(name, sql_type, Values::OneOf(values)));
    }
    for sql_type in [
        "varbinary(90)",
        "tinyblob",
        "blob",
        "mediumblob",
        "longblob",
    ] {
        let values = [
            "x''",
            "x'00'",
            "REPEAT(x'00FF', 45)",
            "REPEAT(x'0102', 120)",
        ];
        let name = format!("packed_{}", sql_type.replace(['(', ')'], ""));
        let sql_type = format!("{sql_type} compressed");
        columns.push(Column::new(name, sql_type, one_of(&values)));
    }
    columns
}

/// Zero groups at the start, in the middle, at the end, alone and as long as others; IPv4 in IPv6,
/// and what is nearly that.
const ADDRESSES: &[&str] = &[
    "'::'",
    "'::1'",
    "'1::'",
    "'0:2:3:4:5:6:7:8'",
    "'1:0:3:4:5:6:7:8'",
    "'1:2:3:4:5:0:7:8'",
    "'1:2:3:4:5:6:0:8'",
    "'1:2:3:4:5:6:7:0'",
    "'0:2:3:4:5:6:7:0'",
    "'0:2:0:4:0:6:0:8'",
    "'1:0:0:4:0:0:7:8'",
    "'1:0:3:4:0:0:0:8'",
    "'0:0:3:4:5:6:0:0'",
    "'0:0:3:4:5:0:0:0'",
    "'::7:8'",
    "'::1:0'",
    "'::1.2.3.4'",
    "'::0.0.1.0'",
    "'::255.255.0.0'",
    "'::ffff:1.2.3.4'",
    "'::ffff:0.0.0.0'",
    "'::ffff:0.0.1.0'",
    "'::fffe:1.2.3.4'",
    "'::1:ffff:1.2.3.4'",
    "'1::ffff:1.2.3.4'",
    "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'",
    "'eafc:1d23:3378:529:bcbc::6bd3:4d2'",
];

/// What only one family has, or only its later servers.
fn of_one_family(kind: Kind) -> Vec<Column> {
    match kind {
        Kind::Mysql => vec![
            Column::new("json", "json", Values::Json),
            Column::new("json_made", "json", one_of(JSON_EXPRESSIONS)),
            Column::new("vector", "vector(3)", Values::Vector(3, "TO_VECTOR")),
            Column::new("vector_wide", "vector(64)", Values::Vector(64, "TO_VECTOR")),
        ],
        Kind::Mariadb => of_mariadb(),
        Kind::Mariadb11 => {
            let mut columns = of_mariadb();
            columns.extend(of_mariadb_11());
            columns
        }
    }
}

fn of_mariadb() -> Vec<Column> {
    let json = ["'{\"key\": [1, 2.5, null, \"text\"]}'", "'[]'"];
    let inet4 = [
        "'127.0.0.1'",
        "'0.0.0.0'",
        "'255.255.255.255'",
        "'10.0.0.0'",
    ];
    let mut columns = compressed();
    columns.extend([
        Column::new("json", "json", one_of(&json)),
        Column::new("inet6", "inet6", Values::Wide("CAST(x'{}' AS inet6)")),
        Column::new("inet6_odd", "inet6", one_of(ADDRESSES)),
        Column::new("uuid", "uuid", Values::Wide("'{}'")),
        Column::new("inet4", "inet4", one_of(&inet4)),
    ]);
    columns
}

fn of_mariadb_11() -> Vec<Column> {
    let late = [
        "'2038-01-19 03:14:08'",
        "'2099-12-31 23:59:59.999999'",
        "'2106-02-07 06:28:15.999999'",
    ];
    let any_second = "FROM_UNIXTIME(1 + CONV(RIGHT('{}', 8), 16, 10) % 4294967295)";
    let mut columns = vec![
        Column::new("timestamp_late", "timestamp(6)", one_of(&late)),
        Column::new("timestamp_any", "timestamp", Values::Wide(any_second)),
    ];
    // Below and above 255 bytes, where the length takes a second byte.
    for len in [1, 63, 64] {
        columns.push(Column::new(
            format!("vector_{len}"),
            format!("vector({len})"),
            Values::Vector(len, "VEC_FROMTEXT"),
        ));
    }
    columns
}
