//! Plans on images made by hand.

use crate::{Charset, Column, ColumnType};

use super::*;

/// Begins an event of inserts of whole rows.
fn begin(plan: &mut Plan, images: &[u8]) {
    plan.begin(&RowsEvent {
        operation: RowOperation::Insert,
        before: None,
        after: Some(&[0xff]),
        is_partial: false,
        images,
    });
}

/// Finds a row and writes it as it is now.
fn write_row(
    plan: &mut Plan,
    images: &[u8],
    at: usize,
    suffix: &RowSuffix,
    ordinal: u64,
    out: &mut Vec<u8>,
) -> Result<usize, RowError> {
    begin(plan, images);
    let next = plan.find_row(images, at)?;
    let number = LineNumber {
        ordinal,
        sequence: 1_700_000_000_000_000_000,
    };
    plan.write_line(images, Image::After, suffix, number, out)?;
    Ok(next)
}

fn facts(operation: RowOperation, commit_time_us: i64, position: &str) -> LineFacts<'_> {
    LineFacts {
        schema: "shop",
        table: "Sales",
        operation: LineOperation::of(operation, Image::After),
        commit_time_us,
        position,
        schema_version: 1,
        absent: "",
    }
}

fn column(name: &str, kind: ColumnType, charset: Option<Charset>) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        nullable: true,
        unsigned: false,
        charset,
        labels: Vec::new(),
    }
}

fn sales() -> TableMap {
    let text = || Some(Charset::Utf8);
    TableMap {
        has_signs: true,
        key: Vec::new(),
        schema: "shop".into(),
        table: "Sales".into(),
        columns: vec![
            column("InvoiceID", ColumnType::Int(4), None),
            column(
                "Category",
                ColumnType::String {
                    prefix: 2,
                    padded_len: 0,
                },
                text(),
            ),
            column("Price", ColumnType::Double, None),
        ],
    }
}

fn chosen(name: &str, scale: Option<u8>) -> ChosenColumn {
    ChosenColumn {
        name: name.into(),
        scale,
        ..ChosenColumn::default()
    }
}

fn image(nulls: u8, category: &[u8]) -> Vec<u8> {
    let mut image = vec![nulls];
    image.extend_from_slice(&7_u32.to_le_bytes());
    if nulls & 2 == 0 {
        image.extend_from_slice(&u16::try_from(category.len()).unwrap().to_le_bytes());
        image.extend_from_slice(category);
    }
    image.extend_from_slice(&12.5_f64.to_le_bytes());
    image
}

#[test]
fn columns_are_written_in_the_chosen_order() {
    let wanted = [chosen("Price", Some(2)), chosen("category", None)];
    let mut plan = Plan::compile(&sales(), &wanted, Dialect::Csv).unwrap();
    let mut images = image(0, b"Garden");
    images.extend(image(2, b""));
    let mut out = Vec::new();
    let suffix = RowSuffix::default();
    let next = write_row(&mut plan, &images, 0, &suffix, 0, &mut out).unwrap();
    let end = write_row(&mut plan, &images, next, &suffix, 1, &mut out).unwrap();
    assert_eq!(end, images.len());
    assert_eq!(String::from_utf8(out).unwrap(), "12.50,Garden\n12.50,\n");
}

#[test]
fn metadata_follows_the_columns_in_its_own_order() {
    let mut plan = Plan::compile(&sales(), &[chosen("InvoiceID", None)], Dialect::Csv).unwrap();
    let mut suffix = RowSuffix::default();
    let all = [
        MetadataColumn::Ordinal,
        MetadataColumn::Table,
        MetadataColumn::Position,
        MetadataColumn::CommitTime,
        MetadataColumn::Operation,
        MetadataColumn::Schema,
    ];
    suffix.set(
        &all,
        &facts(RowOperation::Insert, 1_457_049_600_000_001, "0-1-7"),
    );
    let mut out = Vec::new();
    write_row(&mut plan, &image(0, b"x"), 0, &suffix, 3, &mut out).unwrap();
    let line = String::from_utf8(out).unwrap();
    assert_eq!(line, "7,shop,Sales,I,2016-03-04 00:00:00.000001,0-1-7,3\n");
}

#[test]
fn each_dialect_has_its_lines() {
    let wanted = ["InvoiceID", "Category", "Price"].map(|name| chosen(name, None));
    let all = [
        MetadataColumn::Operation,
        MetadataColumn::CommitTime,
        MetadataColumn::Position,
        MetadataColumn::Ordinal,
    ];
    for (dialect, metadata, expected) in [
        (Dialect::Csv, &all[..0], "7,\"a,\\\",12.5\n7,,12.5\n"),
        (Dialect::Hive, &all[..0], "7,a\\,\\\\,12.5\n7,\\N,12.5\n"),
        (
            Dialect::OpenCsv,
            &all[..0],
            "7,\"a,\\\\\",12.5\n7,\\N,12.5\n",
        ),
        (
            Dialect::Jsonl,
            &all[..0],
            "{\"InvoiceID\":7,\"Category\":\"a,\\\\\",\"Price\":12.5}\n\
             {\"InvoiceID\":7,\"Category\":null,\"Price\":12.5}\n",
        ),
        (
            Dialect::Hive,
            &all,
            "7,a\\,\\\\,12.5,U,1970-01-01 00:00:00.000001,a:1\\,2,0\n\
             7,\\N,12.5,U,1970-01-01 00:00:00.000001,a:1\\,2,1\n",
        ),
        (
            Dialect::OpenCsv,
            &all,
            "7,\"a,\\\\\",12.5,\"U\",1970-01-01 00:00:00.000001,\"a:1,2\",0\n\
             7,\\N,12.5,\"U\",1970-01-01 00:00:00.000001,\"a:1,2\",1\n",
        ),
        (
            Dialect::Jsonl,
            &all[1..],
            "{\"InvoiceID\":7,\"Category\":\"a,\\\\\",\"Price\":12.5,\
             \"commit_time\":\"1970-01-01 00:00:00.000001\",\"position\":\"a:1,2\",\"ordinal\":0}\n\
             {\"InvoiceID\":7,\"Category\":null,\"Price\":12.5,\
             \"commit_time\":\"1970-01-01 00:00:00.000001\",\"position\":\"a:1,2\",\"ordinal\":1}\n",
        ),
    ] {
        let mut plan = Plan::compile(&sales(), &wanted, dialect).unwrap();
        let mut suffix = RowSuffix::new(dialect);
        suffix.set(metadata, &facts(RowOperation::Update, 1, "a:1,2"));
        let images = [image(0, b"a,\\"), image(2, b"")].concat();
        let mut out = Vec::new();
        let next = write_row(&mut plan, &images, 0, &suffix, 0, &mut out).unwrap();
        write_row(&mut plan, &images, next, &suffix, 1, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn names_are_escaped_in_keys() {
    let mut map = sales();
    map.columns[0].name = "a \"b\"".into();
    let wanted = [chosen("a \"b\"", None)];
    let mut plan = Plan::compile(&map, &wanted, Dialect::Jsonl).unwrap();
    let mut out = Vec::new();
    let suffix = RowSuffix::new(Dialect::Jsonl);
    write_row(&mut plan, &image(0, b"x"), 0, &suffix, 0, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"a \\\"b\\\"\":7}\n");
}

#[test]
fn an_image_cut_anywhere_is_an_error_that_names_a_column() {
    let wanted = [chosen("Category", None)];
    let mut plan = Plan::compile(&sales(), &wanted, Dialect::Csv).unwrap();
    let whole = image(0, b"Garden");
    for len in 0..whole.len() {
        let error = write_row(
            &mut plan,
            &whole[..len],
            0,
            &RowSuffix::default(),
            0,
            &mut Vec::new(),
        )
        .unwrap_err();
        assert_eq!(error.problem, CellProblem::Truncated, "{len}");
        assert!(!error.column.is_empty());
    }
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let compile =
        |map: &TableMap, column: &str| Plan::compile(map, &[chosen(column, None)], Dialect::Csv);
    let missing = compile(&sales(), "Colour").unwrap_err();
    assert!(missing.to_string().contains("Colour"));
    let mut map = sales();
    map.columns[1].charset = Some(Charset::Other("klingon".into()));
    let refused = compile(&map, "Category").unwrap_err();
    assert!(refused.to_string().contains("Category: text in klingon"));
    // A column that is not chosen need only be passed over.
    assert!(compile(&map, "Price").is_ok());
    map.columns[0].kind = ColumnType::Unknown(141);
    assert!(compile(&map, "Price").is_err());
}

/// Rows of InvoiceID, Category and Price as an update's images hold them.
fn update<'a>(before: &'a [u8], after: &'a [u8], images: &'a [u8]) -> RowsEvent<'a> {
    RowsEvent {
        operation: RowOperation::Update,
        before: Some(before),
        after: Some(after),
        is_partial: false,
        images,
    }
}

#[test]
fn what_an_image_does_not_hold_is_absent_unless_the_one_before_holds_it() {
    let wanted = ["InvoiceID", "Category", "Price"].map(|name| chosen(name, None));
    let mut plan = Plan::compile(&sales(), &wanted, Dialect::Csv).unwrap();
    let mut line = |rows: &RowsEvent<'_>, image| {
        plan.begin(rows);
        let end = plan.find_row(rows.images, 0).unwrap();
        assert_eq!(end, rows.images.len());
        let mut out = Vec::new();
        plan.write_line(
            rows.images,
            image,
            &RowSuffix::default(),
            LineNumber::default(),
            &mut out,
        )
        .unwrap();
        (String::from_utf8(out).unwrap(), plan.absent(image))
    };
    let absent = |line: &str, names: &str| (line.to_owned(), names.to_owned());
    // InvoiceID 7 before; Category NULL after: one bit of NULLs each, for the columns there are.
    let keys = [0, 7, 0, 0, 0, 1];
    let minimal = update(&[0b001], &[0b010], &keys);
    assert_eq!(
        line(&minimal, Image::Before),
        absent("7,,\n", "Category,Price")
    );
    assert_eq!(line(&minimal, Image::After), absent("7,,\n", "Price"));
    // Category and Price before, Price after.
    let price = 12.5_f64.to_le_bytes();
    let images = [&[0, 1, 0, b'x'], &price[..], &[0], &1.5_f64.to_le_bytes()].concat();
    let rows = update(&[0b110], &[0b100], &images);
    assert_eq!(line(&rows, Image::Before), absent(",x,12.5\n", "InvoiceID"));
    assert_eq!(line(&rows, Image::After), absent(",x,1.5\n", "InvoiceID"));
    // An insert has no image before to tell anything, even after an update.
    let images = [&[0], &price[..]].concat();
    let insert = RowsEvent {
        operation: RowOperation::Insert,
        before: None,
        after: Some(&[0b100]),
        is_partial: false,
        images: &images,
    };
    assert_eq!(
        line(&insert, Image::After),
        absent(",,12.5\n", "InvoiceID,Category")
    );
}

#[test]
fn images_of_any_columns_cut_anywhere_are_an_error() {
    let wanted = ["InvoiceID", "Category", "Price"].map(|name| chosen(name, None));
    let mut plan = Plan::compile(&sales(), &wanted, Dialect::Csv).unwrap();
    let whole = [image(0, b"a"), image(2, b"")].concat();
    let rows = update(&[0b111], &[0b111], &whole);
    for is_partial in [false, true] {
        plan.begin(&RowsEvent { is_partial, ..rows });
        for len in 0..whole.len() {
            assert!(plan.find_row(&whole[..len], 0).is_err(), "{len}");
        }
    }
}

#[test]
fn a_changed_document_needs_the_one_before() {
    let mut map = sales();
    map.columns[1] = column("Category", ColumnType::Json(4), None);
    map.columns[2] = column("Price", ColumnType::Json(4), None);
    let wanted = [chosen("Price", None), chosen("Category", None)];
    let mut plan = Plan::compile(&map, &wanted, Dialect::Csv).unwrap();
    // Category is [true]; Price is null.
    let before = [
        &[0, 9, 0, 0, 0, 2, 1, 0, 7, 0, 4, 1, 0, 0][..],
        &[2, 0, 0, 0, 4, 0],
    ]
    .concat();
    // Category: $[0] is replaced with null; Price is a whole document, false.
    let change = [&[0, 4][..], b"$[0]", &[2, 4, 0]].concat();
    let after = [&[1, 0b01, 0, 9, 0, 0, 0][..], &change, &[2, 0, 0, 0, 4, 2]].concat();
    let images = [before.clone(), after.clone()].concat();
    let mut rows = RowsEvent {
        is_partial: true,
        ..update(&[0b110], &[0b110], &images)
    };
    let mut out = Vec::new();
    plan.begin(&rows);
    assert_eq!(plan.find_row(&images, 0), Ok(images.len()));
    for image in [Image::Before, Image::After] {
        plan.write_line(
            &images,
            image,
            &RowSuffix::default(),
            LineNumber::default(),
            &mut out,
        )
        .unwrap();
    }
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "null,[true]\nfalse,[null]\n"
    );
    // Without the column before there is nothing to change.
    let images = [&[0, 2, 0, 0, 0, 4, 0], &after[..]].concat();
    rows = RowsEvent {
        is_partial: true,
        ..update(&[0b100], &[0b110], &images)
    };
    plan.begin(&rows);
    assert_eq!(plan.find_row(&images, 0), Ok(images.len()));
    let error = plan
        .write_line(
            &images,
            Image::After,
            &RowSuffix::default(),
            LineNumber::default(),
            &mut Vec::new(),
        )
        .unwrap_err();
    assert_eq!(error.problem, CellProblem::NoDocument);
    assert_eq!(error.column, "Category");
}

#[test]
fn versions_absent_columns_and_sequences_come_last_in_each_dialect() {
    let columns = [
        MetadataColumn::Operation,
        MetadataColumn::Ordinal,
        MetadataColumn::SchemaVersion,
        MetadataColumn::Absent,
        MetadataColumn::Sequence,
    ];
    for (dialect, some, none) in [
        (
            Dialect::Csv,
            "7,B,4,2,\"n,note\",1700000000000000000\n",
            "7,B,4,2,,1700000000000000000\n",
        ),
        (
            Dialect::Hive,
            "7,B,4,2,n\\,note,1700000000000000000\n",
            "7,B,4,2,\\N,1700000000000000000\n",
        ),
        (
            Dialect::OpenCsv,
            "7,\"B\",4,2,\"n,note\",1700000000000000000\n",
            "7,\"B\",4,2,\\N,1700000000000000000\n",
        ),
        (
            Dialect::Jsonl,
            "{\"InvoiceID\":7,\"operation\":\"B\",\"ordinal\":4,\"schema_version\":2,\"absent\":\"n,note\",\"sequence\":1700000000000000000}\n",
            "{\"InvoiceID\":7,\"operation\":\"B\",\"ordinal\":4,\"schema_version\":2,\"absent\":null,\"sequence\":1700000000000000000}\n",
        ),
    ] {
        let mut plan = Plan::compile(&sales(), &[chosen("InvoiceID", None)], dialect).unwrap();
        for (absent, expected) in [("n,note", some), ("", none)] {
            let mut suffix = RowSuffix::new(dialect);
            let facts = LineFacts {
                operation: LineOperation::Before,
                schema_version: 2,
                absent,
                ..facts(RowOperation::Update, 0, "")
            };
            suffix.set(&columns, &facts);
            let mut out = Vec::new();
            write_row(&mut plan, &image(0, b"x"), 0, &suffix, 4, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}

/// Each in a dialect: text, a label, compressed text and JSON with half of a surrogate pair.
#[test]
fn text_that_is_not_valid_is_replaced_or_refused() {
    let utf8 = || Some(Charset::Utf8);
    let label = Column {
        labels: vec![b"a".to_vec(), b"b,\xed\xa0\xbd".to_vec()],
        ..column("set", ColumnType::Set(1), utf8())
    };
    let map = TableMap {
        has_signs: true,
        key: Vec::new(),
        schema: "shop".into(),
        table: "T".into(),
        columns: vec![
            column("id", ColumnType::Int(1), None),
            column("text", ColumnType::Blob(1), utf8()),
            label,
            column("packed", ColumnType::Compressed(1), utf8()),
            column("json", ColumnType::Json(1), None),
        ],
    };
    let mut images = vec![0, 1, 5];
    images.extend(b",\xed\xa0\xbd\xff");
    images.extend([3, 5, 0]);
    images.extend(b"a\xed\xa0\xbd");
    // ["\xd8="]
    let json = [2, 1, 0, 10, 0, 12, 7, 0, 2, 0xd8, b'='];
    images.push(11);
    images.extend(json);
    let names = ["id", "text", "set", "packed", "json"];
    let wanted = names.map(|name| chosen(name, None));
    for (dialect, line) in [
        (Dialect::Csv, "1,\",??\",\"a,b,?\",a?,\"[\"\"?=\"\"]\"\n"),
        (Dialect::Hive, "1,\\,??,a\\,b\\,?,a?,[\"?=\"]\n"),
        (
            Dialect::OpenCsv,
            "1,\",??\",\"a,b,?\",\"a?\",\"[\"\"?=\"\"]\"\n",
        ),
        (
            Dialect::Jsonl,
            "{\"id\":1,\"text\":\",??\",\"set\":\"a,b,?\",\"packed\":\"a?\",\"json\":\"[\\\"?=\\\"]\"}\n",
        ),
    ] {
        let suffix = RowSuffix::new(dialect);
        for invalid in [InvalidText::Replace, InvalidText::Stop] {
            let plan = Plan::compile(&map, &wanted, dialect).unwrap();
            let mut plan = plan.with_invalid_text(invalid);
            begin(&mut plan, &images);
            plan.find_row(&images, 0).unwrap();
            let mut out = Vec::new();
            let written = plan.write_line(
                &images,
                Image::After,
                &suffix,
                LineNumber::default(),
                &mut out,
            );
            if invalid == InvalidText::Stop {
                let error = written.unwrap_err();
                assert_eq!(
                    (error.column.as_str(), error.problem),
                    ("text", CellProblem::Text)
                );
                continue;
            }
            assert_eq!(written.unwrap(), [1, 2, 3, 4]);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, line.replace('?', "\u{fffd}"));
        }
    }
}
