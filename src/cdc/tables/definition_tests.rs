//! Which plan a table gets after changes of it, without a server.

use std::time::Instant;

use crate::binlog::{Charset, ColumnType, FilePosition, Operations, TransactionKey, Versioning};

use crate::config::{OversizeRows, Protection, TableBackfill};
use crate::encode::{Dialect, InvalidText};

use super::*;

fn column(name: &str, kind: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        kind,
        nullable: true,
        unsigned: false,
        charset: matches!(kind, ColumnType::Blob(_)).then_some(Charset::Utf8),
        labels: Vec::new(),
    }
}

fn map(columns: &[(&str, ColumnType)]) -> TableMap {
    TableMap {
        schema: "shop".to_owned(),
        table: "T".to_owned(),
        columns: columns
            .iter()
            .map(|(name, kind)| column(name, *kind))
            .collect(),
        has_signs: true,
        key: vec![0],
    }
}

fn table(change: impl FnOnce(&mut CheckedTable)) -> CheckedTable {
    let mut table = CheckedTable {
        schema: "shop".to_owned(),
        name: "T".to_owned(),
        columns: None,
        protection: Protection::default(),
        definition: Vec::new(),
        accepted: Vec::new(),
        versioning: Versioning::Unknown,
        columns_are_names: false,
        metadata: Vec::new(),
        operations: Operations::INSERTS,
        before_image: false,
        key_change: KeyChange::Update,
        on_schema_change: SchemaChange::Stop,
        dialect: Dialect::Csv,
        invalid_text: InvalidText::Replace,
        oversize: OversizeRows::Stop,
        backfill: TableBackfill::No,
        is_read: false,
        stream: None,
    };
    change(&mut table);
    table
}

/// The names of the columns that are written of this table map, and whether they begin a layout.
fn written(
    definition: &mut TableDefinition,
    map: &TableMap,
    before: Option<&Plan>,
) -> Result<(Vec<String>, bool), Error> {
    let bytes = format!("{:?}", map.columns);
    let context = RowContext {
        map,
        generation: 1,
        definition: bytes.as_bytes(),
        flavor: Flavor::MySql,
        key: TransactionKey::Start(FilePosition::new("b.000001", 4)),
        file: "b.000001",
        start: 4,
        gtid: None,
        commit_time_us: 0,
        order_time_us: 0,
        may_be_undone: false,
        now: Instant::now(),
    };
    let (plan, begins) = definition.plan(&context, before)?;
    let names = plan.shape().into_iter().map(|(name, _)| name).collect();
    Ok((names, begins))
}

const INT: ColumnType = ColumnType::Int(4);
const BIGINT: ColumnType = ColumnType::Int(8);
const TEXT: ColumnType = ColumnType::Blob(2);

/// What a definition says of `id, a` and then of another table map, in the same run.
fn after(table: CheckedTable, then: &[(&str, ColumnType)]) -> Result<(Vec<String>, bool), Error> {
    let mut definition = TableDefinition::new(table, TableLayouts::default());
    let first = map(&[("id", INT), ("a", TEXT)]);
    let (names, begins) = written(&mut definition, &first, None).unwrap();
    assert_eq!((names, begins), (vec!["id".into(), "a".into()], true));
    let plan = Plan::compile(&first, &[], Dialect::Csv).unwrap();
    written(&mut definition, &map(then), Some(&plan))
}

#[test]
fn a_column_more_is_left_out_or_a_key_more() {
    let more = [("id", INT), ("b", INT), ("a", TEXT)];
    let (names, begins) = after(table(|_| ()), &more).unwrap();
    assert_eq!((names.join(","), begins), ("id,a".to_owned(), false));
    let jsonl = table(|table| table.dialect = Dialect::Jsonl);
    let (names, begins) = after(jsonl, &more).unwrap();
    assert_eq!((names.join(","), begins), ("id,b,a".to_owned(), true));
    let version = table(|table| table.on_schema_change = SchemaChange::Version);
    let (names, begins) = after(version, &more).unwrap();
    assert_eq!((names.join(","), begins), ("id,b,a".to_owned(), true));
}

#[test]
fn a_column_that_changes_or_goes_stops_with_a_way_to_accept_it() {
    for then in [&[("id", BIGINT), ("a", TEXT)][..], &[("id", INT)]] {
        let Err(Error::Failure(failure)) = after(table(|_| ()), then) else {
            panic!("{then:?} was written");
        };
        assert_eq!(failure.exit, Exit::Data);
        let option = failure.remedy.split_once("--accept-change shop.T=");
        let code = option.unwrap().1.split([';', ' ']).next().unwrap();
        let accepted = table(|table| table.accepted = vec![code.parse().unwrap()]);
        let (names, begins) = after(accepted, then).unwrap();
        let expected: Vec<&str> = then.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            (names, begins),
            (expected.into_iter().map(Into::into).collect(), true)
        );
        let version = table(|table| table.on_schema_change = SchemaChange::Version);
        assert!(after(version, then).unwrap().1, "{then:?}");
    }
}

#[test]
fn a_definition_that_comes_again_has_the_layout_that_it_had() {
    let mut definition = TableDefinition::new(table(|_| ()), TableLayouts::default());
    let (first, more) = (
        map(&[("id", INT), ("a", TEXT)]),
        map(&[("id", INT), ("a", TEXT), ("b", INT)]),
    );
    let id_a = vec!["id".to_owned(), "a".to_owned()];
    assert_eq!(
        written(&mut definition, &first, None).unwrap(),
        (id_a.clone(), true)
    );
    assert_eq!(written(&mut definition, &more, None).unwrap().0, id_a);
    // A restart has the layouts, and no plan.
    let layouts = definition.layouts().clone();
    let mut again = TableDefinition::new(table(|_| ()), layouts);
    assert_eq!(written(&mut again, &more, None).unwrap().0, id_a);
    assert_eq!(written(&mut again, &first, None).unwrap().0, id_a);
}

#[test]
fn a_metadata_column_of_a_columns_name_is_refused_where_names_are_keys() {
    let jsonl = table(|table| {
        table.dialect = Dialect::Jsonl;
        table.metadata = vec![crate::encode::MetadataColumn::Operation];
    });
    let mut definition = TableDefinition::new(jsonl, TableLayouts::default());
    let name = crate::encode::MetadataColumn::Operation.name();
    assert!(written(&mut definition, &map(&[("id", INT), (name, INT)]), None).is_err());
}
