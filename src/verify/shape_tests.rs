//! Lines of several layouts beside rows of a table.

use super::super::fields::Found;
use super::*;

const META: [MetadataColumn; 2] = [MetadataColumn::Operation, MetadataColumn::Sequence];

fn int(bits: u8) -> LogicalType {
    LogicalType::Int {
        bits,
        unsigned: false,
    }
}

fn columns(list: &[(&str, LogicalType)]) -> Columns {
    let owned = |(name, kind): &(&str, LogicalType)| ((*name).to_owned(), *kind);
    list.iter().map(owned).collect()
}

fn shapes(
    dialect: Dialect,
    now: &Columns,
    layouts: &[Columns],
    key: &[&str],
) -> Result<Shapes, ShapeError> {
    let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
    Shapes::new((dialect, 7), now, layouts, (&key, &META), ("s", "t"))
}

fn split(text: &str, dialect: Dialect) -> Fields {
    let mut fields = Fields::default();
    let found = fields.find(text.as_bytes(), dialect);
    assert_eq!(found, Found::Line(text.len()), "{text}");
    fields
}

fn line(shapes: &Shapes, text: &str, version: Option<usize>) -> Result<Record, ShapeError> {
    let fields = split(text, shapes.dialect);
    let record = shapes.of_line((text.as_bytes(), &fields), version, (0, 0), &mut Vec::new());
    record.map(Option::unwrap)
}

/// Whether a line is as a row of the table, in what they share, and how many columns that are.
fn is_equal(shapes: &Shapes, row: &str, text: &str, version: Option<usize>) -> (bool, usize) {
    let fields = split(row, shapes.dialect);
    let record = line(shapes, text, version).unwrap();
    let mut scratch = Vec::new();
    let mut rows = shapes.of_row(row.as_bytes(), &fields, (0, 0), &mut scratch);
    let row = rows.find(|row| row.variant == record.variant).unwrap();
    let shared = shapes.variants[usize::from(record.variant)].data.len();
    ((row.key, row.data) == (record.key, record.data), shared)
}

#[test]
fn lines_are_compared_in_what_they_share() {
    let one = columns(&[
        ("id", int(32)),
        ("a", LogicalType::Text),
        ("gone", LogicalType::Text),
    ]);
    let two = columns(&[("a", LogicalType::Text), ("ID", int(64)), ("n", int(32))]);
    let now = columns(&[("id", int(64)), ("n", int(64)), ("a", LogicalType::Text)]);
    let layouts = [one, two, now.clone()];
    let known = shapes(Dialect::Csv, &now, &layouts, &["id"]).unwrap();
    assert_eq!(known.compared(), ["id", "n", "a"]);
    let row = "7,8,x\n";
    assert_eq!(is_equal(&known, row, "7,x,y,I,1\n", Some(1)), (true, 1));
    assert_eq!(is_equal(&known, row, "7,z,y,I,1\n", Some(1)), (false, 1));
    assert_eq!(is_equal(&known, row, "x,7,9,U,2\n", Some(2)), (true, 2));
    assert_eq!(is_equal(&known, row, "7,8,x,R,2\n", Some(3)), (true, 3));
    assert_eq!(is_equal(&known, row, "7,9,x,R,2\n", Some(3)), (false, 3));
    // All have three columns, and other names.
    assert_eq!(
        line(&known, "7,x,y,I,1\n", None),
        Err(ShapeError::Ambiguous)
    );
    for (text, version) in [
        ("7,x,I,1\n", Some(1)),
        ("7,x,y,I,1\n", Some(4)),
        ("7,x,y,I,1\n", Some(0)),
        ("7\n", None),
    ] {
        let fields = split(text, Dialect::Csv).values.len();
        assert_eq!(
            line(&known, text, version),
            Err(ShapeError::Unknown { fields }),
            "{text}"
        );
    }
}

#[test]
fn names_tell_layouts_apart_and_types_are_not_guessed() {
    let one = columns(&[("id", int(32)), ("a", LogicalType::Text), ("n", int(32))]);
    let two = columns(&[("id", int(32)), ("a", LogicalType::Text), ("n", int(64))]);
    let three = columns(&[("id", int(32)), ("b", LogicalType::Text), ("n", int(64))]);
    let layouts = [one, two.clone(), three];
    let known = shapes(Dialect::Jsonl, &two, &layouts, &["id"]).unwrap();
    let row = "{\"id\":7,\"a\":\"x\",\"n\":1}\n";
    let of = |name: &str, n: u8| {
        format!("{{\"id\":7,\"{name}\":\"x\",\"n\":{n},\"operation\":\"I\",\"sequence\":3}}\n")
    };
    // As INT or as BIGINT, which the line does not tell.
    assert_eq!(is_equal(&known, row, &of("a", 2), None), (true, 2));
    assert_eq!(is_equal(&known, row, &of("a", 2), Some(2)), (false, 3));
    assert_eq!(is_equal(&known, row, &of("b", 1), None), (true, 2));
    assert!(line(&known, &of("c", 1), None).is_err());
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let now = columns(&[("id", int(64)), ("a", LogicalType::Text)]);
    let text = columns(&[("id", LogicalType::Text), ("a", LogicalType::Text)]);
    let error = shapes(Dialect::Csv, &now, std::slice::from_ref(&text), &["id"]).unwrap_err();
    let key = ShapeError::Key {
        version: 1,
        column: "id".to_owned(),
    };
    assert_eq!(error, key);
    let error = shapes(Dialect::Csv, &now, &[text, now.clone()], &[]).unwrap_err();
    assert_eq!(error, ShapeError::Keyless);
    let known = shapes(Dialect::Csv, &now, &[], &["id"]).unwrap();
    let odd = [
        ("1,x,X,1\n", MetadataColumn::Operation),
        ("1,x,I,one\n", MetadataColumn::Sequence),
    ];
    for (text, column) in odd {
        assert_eq!(line(&known, text, None), Err(ShapeError::Odd(column)));
    }
}
