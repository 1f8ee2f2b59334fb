//! GTID sets: what is read, printed, and contained.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn mysql(text: &str) -> GtidSet {
    GtidSet::parse(Flavor::MySql, text).unwrap()
}

#[test]
fn text_is_normalised() {
    let text = format!("{}:5-7:1-2:3,\n {UUID}:tag_1:4", UUID.to_uppercase());
    assert_eq!(mysql(&text).to_string(), format!("{UUID}:1-3:5-7:tag_1:4"));
    assert_eq!(mysql("").to_string(), "");
    let state = GtidSet::parse(Flavor::MariaDb, "1-2-9, 0-1-100").unwrap();
    assert_eq!(state.to_string(), "0-1-100,1-2-9");
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "x",
        UUID,
        "3e11:1",
        &format!("{UUID}:0"),
        &format!("{UUID}:5-4"),
        &format!("{UUID}:a-b:1"),
        &format!("{UUID}:{}:1", "a".repeat(33)),
        "0-1-100",
    ] {
        assert!(GtidSet::parse(Flavor::MySql, text).is_err(), "{text}");
    }
    for text in ["0-1", "0-1-2-3", "0-1-2,0-1-3", "a-1-2"] {
        assert!(GtidSet::parse(Flavor::MariaDb, text).is_err(), "{text}");
    }
}

#[test]
fn tags_are_kept_apart_and_told_without_case() {
    let mut set = mysql(&format!("{UUID}:1-4:Backfill:1-2"));
    let tag = Tag::new("BACKFILL").unwrap();
    let source = Uuid::try_parse(UUID).unwrap();
    set.add(Gtid::MySql {
        source,
        tag,
        number: 3,
    });
    assert_eq!(set.to_string(), format!("{UUID}:1-4:backfill:1-3"));
    assert!(!set.contains(&mysql(&format!("{UUID}:backfill:4"))));
    let longest = "a".repeat(32);
    assert_eq!(Tag::new(&longest).unwrap().as_str(), longest);
    for text in ["", "1a", "a b", &"a".repeat(33)] {
        assert_eq!(Tag::new(text), None, "{text}");
    }
}

#[test]
fn containment_is_per_source() {
    let held = mysql(&format!("{UUID}:1-10"));
    assert!(held.contains(&mysql(&format!("{UUID}:2-3:9"))));
    assert!(!held.contains(&mysql(&format!("{UUID}:9-11"))));
    assert!(!held.contains(&mysql(&format!("{UUID}:tag:1"))));
    assert!(held.contains(&mysql("")));
}

#[test]
fn previous_gtids_are_read_with_and_without_tags() {
    let uuid = Uuid::try_parse(UUID).unwrap();
    let mut untagged = 1_u64.to_le_bytes().to_vec();
    untagged.extend_from_slice(uuid.as_bytes());
    for number in [1_u64, 4, 9] {
        untagged.extend_from_slice(&number.to_le_bytes());
    }
    let set = MySqlGtidSet::from_previous_gtids(&untagged).unwrap();
    assert_eq!(set.to_string(), format!("{UUID}:4-8"));

    let mut tagged = ((1_u64 << 56) | (1 << 8)).to_le_bytes().to_vec();
    tagged.extend_from_slice(uuid.as_bytes());
    tagged.extend_from_slice(b"\x06abc");
    for number in [1_u64, 1, 3] {
        tagged.extend_from_slice(&number.to_le_bytes());
    }
    let set = MySqlGtidSet::from_previous_gtids(&tagged).unwrap();
    assert_eq!(set.to_string(), format!("{UUID}:abc:1-2"));

    for len in 0..tagged.len() {
        assert!(
            MySqlGtidSet::from_previous_gtids(&tagged[..len]).is_err(),
            "{len}"
        );
    }
}

proptest! {
    #[test]
    fn a_set_holds_what_was_added(
        ranges in prop::collection::vec((1_u64..60, 0_u64..8), 0..24)
    ) {
        let source = Source { uuid: Uuid::nil(), tag: Tag::NONE };
        let mut set = MySqlGtidSet::default();
        let mut model = BTreeSet::new();
        for (first, extra) in ranges {
            set.add(source, first, first + extra);
            model.extend(first..=first + extra);
        }
        let intervals = set.0.get(&source).cloned().unwrap_or_default();
        let held: Vec<u64> = intervals.iter().flat_map(|(a, b)| *a..=*b).collect();
        prop_assert_eq!(held, model.into_iter().collect::<Vec<_>>());
        prop_assert!(intervals.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        let again = MySqlGtidSet::parse(&set.to_string()).unwrap();
        prop_assert_eq!(again, set);
    }

    #[test]
    fn a_difference_is_what_is_held_by_one_alone(
        held in prop::collection::btree_set(1_u64..40, 0..30),
        taken in prop::collection::btree_set(1_u64..40, 0..30)
    ) {
        let source = Source { uuid: Uuid::nil(), tag: Tag::NONE };
        let set = |numbers: &mut dyn Iterator<Item = &u64>| {
            let mut set = MySqlGtidSet::default();
            numbers.for_each(|number| set.add(source, *number, *number));
            set
        };
        let left = set(&mut held.iter()).without(&set(&mut taken.iter()));
        prop_assert_eq!(left, set(&mut held.difference(&taken)));
    }
}
