//! The layouts of a table's lines: which columns, written as what, in which order; and which of them the
//! lines of a table have.
//!
//! A layout is decided by what the binlog shows, in its order, and is part of the checkpoint. So the lines
//! are the same however often the agent is stopped and started in between. What does not live here: how a
//! line is written, and what the server says about a table.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::binlog::{LogicalType, TableChange, TableMap, UnknownType};
use crate::config::Protection;

use super::definition_code::DefinitionCode;
use super::guard::{Doubt, Guard};
use super::server_columns::is_same;

/// The columns of a line: each one's name and type.
pub(crate) type Layout = Vec<(String, LogicalType)>;

/// A layout as checkpoints before version 4 hold it: types as they are displayed.
type DisplayedLayout = Vec<(String, String)>;

/// The layouts of each table, `schema.table`, as the checkpoint holds them.
pub(crate) type KnownLayouts = BTreeMap<String, TableLayouts>;

/// How many tables' definitions are remembered with their layouts. Those of long ago are not read again.
const MOST_DECISIONS: usize = 256;
/// How many accepted definitions are remembered until they come.
const MOST_ACCEPTED: usize = 16;

/// A change of a table that the operator accepts: lines then have the table's new columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedChange {
    /// `schema.table`.
    pub table: String,
    /// The definition of the table after the change.
    pub code: DefinitionCode,
}

impl FromStr for AcceptedChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write SCHEMA.TABLE=CODE as in the message that stopped the agent";
        let (table, code) = text.rsplit_once('=').ok_or_else(wrong)?;
        let code = code.parse().map_err(|_| wrong())?;
        let is_name = table.split_once('.').is_some();
        is_name
            .then(|| Self {
                table: table.to_owned(),
                code,
            })
            .ok_or_else(|| wrong().to_owned())
    }
}

/// Which layout the lines of a table have while it has one definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Decision {
    definition: DefinitionCode,
    /// Index of the layout.
    layout: usize,
    /// Other columns have been chosen since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_of_earlier_choice: bool,
    /// The operator has accepted the definition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_accepted: bool,
}

/// The layouts that one table's lines have had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableLayouts {
    /// The columns that the configuration chose; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<Vec<String>>,
    /// In the order in which they began. A layout's version is its place, from 1 on.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "stored_layouts"
    )]
    layouts: Vec<Layout>,
    /// Those that were used last are last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    decisions: Vec<Decision>,
    /// Index of the layout of the newest lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<usize>,
    /// Definitions that the operator has accepted, and of which no line was written since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    accepted: Vec<DefinitionCode>,
    /// The columns that are protected.
    #[serde(default, skip_serializing_if = "Guard::is_unused")]
    guard: Guard,
    /// It is of a checkpoint that did not hold what was chosen.
    #[serde(skip)]
    is_choice_unknown: bool,
}

impl TableLayouts {
    /// Those of a checkpoint from before version 3.
    pub(super) fn of_shapes(shapes: Vec<Layout>) -> Self {
        Self {
            current: shapes.len().checked_sub(1),
            layouts: shapes,
            is_choice_unknown: true,
            ..Self::default()
        }
    }

    /// Takes the configuration's choice of columns, and of those that are protected. Another choice than before is one
    /// for all lines that follow, as far as their table has these columns.
    pub(super) fn choose(&mut self, chosen: Option<&[String]>, protection: &Protection) {
        if self.is_choice_unknown {
            self.is_choice_unknown = false;
            self.chosen = self.newest().filter(|_| chosen.is_some()).map(names);
        }
        let is_protected_so = self.guard.is_choice(protection);
        if is_protected_so && is_same_choice(self.chosen.as_deref(), chosen) {
            return;
        }
        if !is_protected_so {
            self.guard.choose(protection);
        }
        self.chosen = chosen.map(<[String]>::to_vec);
        self.current = None;
        for decision in &mut self.decisions {
            decision.is_of_earlier_choice = true;
        }
    }

    /// Takes the definitions that the operator accepts, until lines of them come. One that was accepted before has
    /// its layout.
    pub(super) fn accept(&mut self, codes: &[DefinitionCode]) {
        for code in codes {
            let mut decisions = self.decisions.iter();
            let is_done = decisions
                .any(|it| it.definition == *code && it.is_accepted && !it.is_of_earlier_choice);
            if !is_done && !self.accepted.contains(code) {
                self.accepted.push(*code);
            }
        }
        let too_many = self.accepted.len().saturating_sub(MOST_ACCEPTED);
        self.accepted.drain(..too_many);
    }

    /// The definitions that the operator has accepted, and that have not come yet.
    pub(super) fn accepted(&self) -> &[DefinitionCode] {
        &self.accepted
    }

    /// Whether the table was followed before with this choice of columns, protected so.
    pub(super) fn is_choice(&self, chosen: Option<&[String]>, protection: &Protection) -> bool {
        if !self.guard.is_choice(protection) {
            return false;
        }
        if self.is_choice_unknown {
            let newest = self.newest().map(names);
            return chosen.is_none() || is_same_choice(newest.as_deref(), chosen);
        }
        is_same_choice(self.chosen.as_deref(), chosen)
    }

    /// Whether a column with this name was protected or written before.
    pub(super) fn knows(&self, column: &str) -> bool {
        let mut written = self.layouts.iter().flatten();
        self.guard.knows(column) || written.any(|(name, _)| is_same(name, column))
    }

    /// Takes a statement that may have changed the table.
    pub(super) fn note(&mut self, change: &TableChange) {
        self.guard.note(change);
    }

    /// Why rows of a definition must not be written before somebody has decided about protected columns, if so.
    pub(super) fn doubt(
        &mut self,
        definition: DefinitionCode,
        map: &TableMap,
        protection: &Protection,
    ) -> Option<Doubt> {
        let is_decided = self.decided(definition).is_some_and(|(_, is_now)| is_now);
        let is_trusted = is_decided || self.accepted.contains(&definition);
        let doubt = self.guard.doubt(map, protection).filter(|_| !is_trusted);
        if doubt.is_none() {
            self.guard.trust(map);
        }
        doubt
    }

    fn newest(&self) -> Option<&Layout> {
        self.layouts.get(self.current?)
    }

    /// All of them, by version, from 1 on.
    pub(crate) fn all(&self) -> &[Layout] {
        &self.layouts
    }

    /// The layout of the newest lines.
    pub(super) fn current(&self) -> Option<&Layout> {
        self.newest()
    }

    /// The version of the newest lines, from 1 on. The same layout always has the same one, so that rows
    /// which are read once more after a crash get the version that they had.
    pub(super) fn version(&self) -> usize {
        self.current.map_or(1, |current| current + 1)
    }

    /// The layout that was decided for this definition, and whether it was with the columns that are
    /// chosen now.
    pub(super) fn decided(&self, definition: DefinitionCode) -> Option<(&Layout, bool)> {
        let mut decisions = self.decisions.iter();
        let decision = decisions.find(|decision| decision.definition == definition)?;
        let layout = self.layouts.get(decision.layout)?;
        Some((layout, !decision.is_of_earlier_choice))
    }

    /// Takes the layout of the lines that follow, of a table with this definition.
    pub(super) fn decide(&mut self, definition: DefinitionCode, layout: Layout) {
        let known = self.layouts.iter().position(|known| *known == layout);
        let index = known.unwrap_or_else(|| {
            self.layouts.push(layout);
            self.layouts.len() - 1
        });
        self.current = Some(index);
        let before = self
            .decisions
            .iter()
            .position(|it| it.definition == definition);
        let before = before.map(|before| self.decisions.remove(before));
        let pending = self.accepted.len();
        self.accepted.retain(|code| *code != definition);
        let is_accepted =
            self.accepted.len() < pending || before.is_some_and(|before| before.is_accepted);
        if self.decisions.len() >= MOST_DECISIONS {
            self.decisions.remove(0);
        }
        self.decisions.push(Decision {
            definition,
            layout: index,
            is_of_earlier_choice: false,
            is_accepted,
        });
    }
}

/// Servers say today how a name is spelled, in capital or small letters.
fn is_same_choice(one: Option<&[String]>, other: Option<&[String]>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (one, other) => one == other,
    }
}

/// Layouts with types of today, or as they are displayed.
pub(super) fn stored_layouts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Layout>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Typed(Layout),
        Displayed(DisplayedLayout),
    }
    let layout = |stored| match stored {
        Stored::Typed(layout) => Ok(layout),
        Stored::Displayed(layout) => {
            let column = |(name, text): (String, String)| Ok((name, text.parse()?));
            let columns = layout.into_iter().map(column);
            columns.collect::<Result<_, UnknownType>>()
        }
    };
    let layouts = Vec::<Stored>::deserialize(deserializer)?.into_iter();
    let layouts: Result<_, UnknownType> = layouts.map(layout).collect();
    layouts.map_err(D::Error::custom)
}

pub(super) fn names(layout: &Layout) -> Vec<String> {
    layout.iter().map(|(name, _)| name.clone()).collect()
}

/// What makes lines of `new` others than those of `old`, for people.
pub(super) fn differences(old: &Layout, new: &Layout) -> String {
    let mut differences = Vec::new();
    for (name, kind) in old {
        match new
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            None => differences.push(format!("{name} is gone")),
            Some((_, now)) if now != kind => {
                differences.push(format!("{name} was {kind} and is {now}"));
            }
            Some(_) => {}
        }
    }
    differences.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(columns: &[(&str, &str)]) -> Layout {
        let owned = |(name, kind): &(&str, &str)| ((*name).to_owned(), kind.parse().unwrap());
        columns.iter().map(owned).collect()
    }

    fn code(number: u32) -> DefinitionCode {
        DefinitionCode::of([&number.to_le_bytes()[..]])
    }

    #[test]
    fn a_layout_keeps_its_version() {
        let mut layouts = TableLayouts::default();
        let a = || layout(&[("id", "INT")]);
        let b = || layout(&[("id", "BIGINT")]);
        let c = || layout(&[("id", "BIGINT"), ("note", "TEXT")]);
        let mut versions = Vec::new();
        for (number, layout) in [(1, a()), (1, a()), (2, b()), (3, c()), (2, b()), (4, a())] {
            layouts.decide(code(number), layout);
            versions.push(layouts.version());
        }
        assert_eq!(versions, [1, 1, 2, 3, 2, 1]);
        assert_eq!(layouts.decided(code(3)), Some((&c(), true)));
        let stored = serde_json::to_string(&layouts).unwrap();
        let read: TableLayouts = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, layouts);
    }

    #[test]
    fn another_choice_leaves_what_was_decided_to_those_who_cannot_have_it() {
        let mut layouts = TableLayouts::default();
        let chosen = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let both: Vec<String> = chosen(&["id", "note"]);
        layouts.choose(Some(&both), &Protection::default());
        layouts.decide(code(1), layout(&[("id", "INT"), ("note", "TEXT")]));
        assert!(
            layouts.is_choice(Some(&both), &Protection::default())
                && !layouts.is_choice(None, &Protection::default())
        );
        layouts.choose(Some(&both), &Protection::default());
        assert_eq!(
            layouts.decided(code(1)).map(|(_, is_now)| is_now),
            Some(true)
        );
        layouts.choose(None, &Protection::default());
        assert_eq!(
            layouts.decided(code(1)).map(|(_, is_now)| is_now),
            Some(false)
        );
        assert_eq!(layouts.current(), None);
    }

    #[test]
    fn what_is_accepted_waits_for_its_lines_and_is_accepted_once() {
        let mut layouts = TableLayouts::default();
        layouts.decide(code(1), layout(&[("id", "INT")]));
        layouts.accept(&[code(2), code(2)]);
        let stored = serde_json::to_string(&layouts).unwrap();
        let mut layouts: TableLayouts = serde_json::from_str(&stored).unwrap();
        assert_eq!(layouts.accepted(), [code(2)]);
        layouts.decide(code(1), layout(&[("id", "INT")]));
        assert_eq!(layouts.accepted(), [code(2)]);
        layouts.decide(code(2), layout(&[("id", "INT"), ("c", "INT")]));
        // It may be given again at each start.
        layouts.accept(&[code(2)]);
        assert!(layouts.accepted().is_empty());
        let many: Vec<_> = (10..100).map(code).collect();
        layouts.accept(&many);
        assert_eq!(layouts.accepted(), &many[many.len() - MOST_ACCEPTED..]);
    }

    #[test]
    fn shapes_of_older_checkpoints_go_on() {
        let shapes = vec![
            layout(&[("id", "INT")]),
            layout(&[("id", "INT"), ("n", "INT")]),
        ];
        let mut layouts = TableLayouts::of_shapes(shapes.clone());
        assert!(layouts.is_choice(None, &Protection::default()));
        layouts.choose(None, &Protection::default());
        assert_eq!(layouts.current(), Some(&shapes[1]));
        let chosen = ["id".to_owned(), "n".to_owned()];
        let mut layouts = TableLayouts::of_shapes(shapes.clone());
        layouts.choose(Some(&chosen), &Protection::default());
        assert_eq!(layouts.current(), Some(&shapes[1]));
        let mut layouts = TableLayouts::of_shapes(shapes);
        layouts.choose(Some(&chosen[..1]), &Protection::default());
        assert_eq!(layouts.current(), None);
    }

    #[test]
    fn decisions_are_bounded_and_those_in_use_stay() {
        let mut layouts = TableLayouts::default();
        for number in 0..1000_u32 {
            let definition = code(number);
            layouts.decide(definition, layout(&[("id", "INT")]));
            layouts.decide(code(0), layout(&[("id", "INT")]));
        }
        assert_eq!(layouts.decisions.len(), MOST_DECISIONS);
        assert!(layouts.decided(code(0)).is_some());
    }

    #[test]
    fn codes_and_accepted_changes_are_what_messages_show() {
        let code = code(7);
        let text = format!("shop.T={code}");
        let accepted: AcceptedChange = text.parse().unwrap();
        assert_eq!((accepted.table.as_str(), accepted.code), ("shop.T", code));
        for wrong in [
            "",
            "shop.T",
            "T=00000000",
            "shop.T=0",
            "shop.T=0000000g",
            "shop.T=+0000000",
        ] {
            assert!(wrong.parse::<AcceptedChange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_has_changed_is_named() {
        let old = layout(&[("id", "INT"), ("a", "TEXT"), ("b", "TEXT")]);
        let new = layout(&[("ID", "BIGINT"), ("b", "TEXT"), ("c", "INT")]);
        assert_eq!(
            differences(&old, &new),
            "id was INT and is BIGINT, a is gone"
        );
    }
}
