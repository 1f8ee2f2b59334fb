//! What is stored is read, of every version.

use std::sync::Arc;

use super::super::server_columns::ConfirmedId;
use super::*;
use crate::binlog::{Flavor, GtidSet, LastTransaction, LogicalType, ServerColumn};
use crate::sink::StagedPlace;

const INT: LogicalType = LogicalType::Int {
    bits: 32,
    unsigned: false,
};

const BACKFILL: &str = r#"{"shop.T": {"generation": 0, "key": ["id"], "ranges": [{"after": ["34"], "to": ["3130"]}],
    "parts": 1, "rows": 4, "runs": 1}}"#;

fn checkpoint() -> Checkpoint {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mut layouts = TableLayouts::default();
    let layout = vec![("id".to_owned(), INT)];
    layouts.decide("0000002a".parse().unwrap(), layout);
    let layouts = KnownLayouts::from([("shop.T".to_owned(), layouts)]);
    let column = ServerColumn {
        name: "id".to_owned(),
        data_type: "int".to_owned(),
        column_type: "int(11)".to_owned(),
        ..ServerColumn::default()
    };
    let id = ConfirmedId {
        id: 90,
        may_be_renewed: true,
    };
    Checkpoint::at(
        &Mark {
            xa: PreparedXa {
                from: Some(FilePosition::new("b.000001", 4)),
                with_rows: vec!["X'31',X'',1".to_owned()],
                ..PreparedXa::default()
            },
            sequence: 1_700_000_000_000_000_000,
            lineage: Lineage {
                file_begun: Some(1_700_000_000),
                last: Some(LastTransaction {
                    start: FilePosition::new("b.000001", 420),
                    end: 700,
                    fingerprint: 77,
                    gtid: Some(format!("{uuid}:5")),
                    before: None,
                }),
            },
            columns: Arc::new(KnownColumns::from([("shop.T".to_owned(), vec![column])])),
            confirmed_ids: Arc::new(ConfirmedIds::from([("shop.T".to_owned(), id)])),
            backfill: Arc::new(serde_json::from_str(BACKFILL).unwrap()),
            ..Mark::new(
                Identity(uuid.into()),
                Some(FilePosition::new("b.000002", 157)),
                GtidSet::parse(Flavor::MySql, &format!("{uuid}:1-5")).ok(),
            )
        },
        layouts,
    )
}

/// One with an object that is not visible yet.
fn staged() -> Checkpoint {
    let checkpoint = checkpoint();
    let mark = Mark {
        backfill: Arc::new(checkpoint.backfill.clone()),
        ..Mark::new(checkpoint.server.clone(), checkpoint.position.clone(), None)
    };
    let object = StagedObject {
        id: Uuid::from_u128(7),
        key: "shop.T/dt=2016-03-04/hr=00/b.000001-000000000420-000000000-6df20e8f.csv.gz"
            .to_owned(),
        rows: 2,
        bytes: 10,
        crc32: 77,
        place: StagedPlace::Dir {
            root: "/data".into(),
            file: "0+7".to_owned(),
        },
    };
    let written = BTreeMap::from([("shop.T".to_owned(), Prefix::before(&mark, "shop.T"))]);
    checkpoint.with_objects(Uuid::from_u128(5), written, vec![object])
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/checkpoint.json");
    let store = CheckpointStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), None);
    store.save(&checkpoint()).unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint()));
}

#[test]
fn no_symbolic_link_is_followed() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink(folder.path().join("real"), folder.path().join("linked")).unwrap();
    // A folder may be one.
    let path = folder.path().join("linked/checkpoint.json");
    for (name, there) in [
        ("lock", false),
        ("lock", true),
        ("new", false),
        ("new", true),
    ] {
        if there {
            fs::write(&victim, "another's").unwrap();
        }
        let link = beside(&path, name);
        symlink(&victim, &link).unwrap();
        let store = CheckpointStore::open(&path);
        let error = store
            .and_then(|store| store.save(&checkpoint()))
            .unwrap_err();
        assert_eq!(error.exit, Exit::Config, "{error:?}");
        assert!(error.what.contains(&*link.to_string_lossy()), "{error:?}");
        assert!(error.remedy.contains("remove it"), "{error:?}");
        assert_eq!(victim.exists(), there);
        if there {
            assert_eq!(fs::read_to_string(&victim).unwrap(), "another's");
            fs::remove_file(&victim).unwrap();
        }
        fs::remove_file(link).unwrap();
    }
    // What a crash left is no link.
    fs::write(beside(&path, "new"), "half").unwrap();
    let store = CheckpointStore::open(&path).unwrap();
    store.save(&checkpoint()).unwrap();
    assert_eq!(store.load().unwrap(), Some(checkpoint()));
}

#[test]
fn two_agents_cannot_share_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.json");
    let first = CheckpointStore::open(&path).unwrap();
    let error = CheckpointStore::open(&path).unwrap_err();
    assert_eq!(error.exit, Exit::Temporary);
    drop(first);
    assert!(CheckpointStore::open(&path).is_ok());
}

/// What older versions have written is read; what they do not have is as if nothing were known of it.
#[test]
fn older_versions_are_read_and_become_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.json");
    let store = CheckpointStore::open(&path).unwrap();
    let shape = vec![("id".to_owned(), INT)];
    for (version, text, with_rows, sequence) in [
        (
            1,
            include_str!("../../tests/data/checkpoints/version-1.json"),
            0,
            0,
        ),
        (
            2,
            include_str!("../../tests/data/checkpoints/version-2.json"),
            1,
            0,
        ),
        (
            3,
            include_str!("../../tests/data/checkpoints/version-3.json"),
            1,
            1_700_000_000_000_000_000,
        ),
        (
            4,
            include_str!("../../tests/data/checkpoints/version-4.json"),
            1,
            1_700_000_000_000_000_000,
        ),
        (
            5,
            include_str!("../../tests/data/checkpoints/version-5.json"),
            1,
            1_700_000_000_000_000_000,
        ),
        (
            6,
            include_str!("../../tests/data/checkpoints/version-6.json"),
            1,
            1_700_000_000_000_000_000,
        ),
    ] {
        fs::write(&path, text).unwrap();
        let read = store.load().unwrap().unwrap();
        assert_eq!((read.version, read.sequence), (version, sequence));
        assert_eq!(read.xa.with_rows.len(), with_rows);
        assert_eq!(read.position, Some(FilePosition::new("b.000002", 157)));
        let layouts = read.layouts();
        assert_eq!(layouts["shop.T"].current(), Some(&shape), "{version}");
    }
    // That is also how the newest one is written.
    let written = fs::read_to_string(&path).unwrap();
    store.save(&staged()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
    assert_eq!(store.load().unwrap(), Some(staged()));
}

#[test]
fn a_damaged_or_newer_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.json");
    let store = CheckpointStore::open(&path).unwrap();
    store.save(&checkpoint()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for damaged in [
        &text[..text.len() / 2],
        &text.replace("\"version\": 6", "\"version\": 7"),
    ] {
        fs::write(&path, damaged).unwrap();
        let error = store.load().unwrap_err();
        assert_eq!(error.exit, Exit::Data);
    }
}

#[test]
fn the_followed_tables_are_kept_and_older_versions_name_none() {
    let followed = FollowedTable {
        schema: "my.db".to_owned(),
        name: "T".to_owned(),
        events: Operations::INSERTS,
    };
    let folder = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(&folder.path().join("checkpoint.json")).unwrap();
    let saved = checkpoint().of(&(vec![followed.clone()], Vec::new()));
    store.save(&saved).unwrap();
    let loaded = store.load().unwrap().unwrap();
    assert_eq!(loaded.version, VERSION);
    assert_eq!(loaded.tables, [followed]);
    store.save(&checkpoint()).unwrap();
    assert_eq!(store.load().unwrap().unwrap().tables, []);
}
