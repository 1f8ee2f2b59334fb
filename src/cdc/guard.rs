//! Keeps the values of protected columns from being written as they are because a column has another name than
//! the configuration knows.
//!
//! A table's definition is trusted if it has all columns that are protected, and no statement was logged that may have
//! given one of them another name. Otherwise somebody must decide. What was trusted once stays so until other
//! columns are protected, which is why this is part of the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::binlog::{MaskKind, TableChange, TableMap};
use crate::config::{Protection, is_same_column};

/// What is known of a table's protected columns. Names are in small letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guard {
    /// Columns that the configuration excludes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    excluded: BTreeSet<String>,
    /// Columns that it masks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    masks: BTreeMap<String, MaskKind>,
    /// Those that the table has had.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    seen: BTreeSet<String>,
    /// One that a statement may have renamed, until rows of a trusted definition come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renamed: Option<String>,
}

/// Why a definition of a table is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It lacks a protected column.
    Missing {
        /// As the configuration spells it.
        column: String,
        how: &'static str,
    },
    /// A statement may have renamed one.
    Renamed { column: String },
}

impl Guard {
    /// Whether nothing is protected, or was.
    pub(crate) fn is_unused(&self) -> bool {
        *self == Self::default()
    }

    fn of(protection: &Protection) -> Self {
        let excluded = protection.excluded.iter();
        let masks = protection.masks.iter();
        Self {
            excluded: excluded.map(|name| name.to_lowercase()).collect(),
            masks: masks
                .map(|(name, mask)| (name.to_lowercase(), mask.kind()))
                .collect(),
            seen: BTreeSet::new(),
            renamed: None,
        }
    }

    /// Whether the same columns were protected in the same way.
    pub(super) fn is_choice(&self, protection: &Protection) -> bool {
        let chosen = Self::of(protection);
        self.excluded == chosen.excluded && self.masks == chosen.masks
    }

    /// Takes what the configuration protects, which is another choice than before.
    pub(super) fn choose(&mut self, protection: &Protection) {
        *self = Self::of(protection);
    }

    /// Whether a column was protected before.
    pub(super) fn knows(&self, column: &str) -> bool {
        let column = column.to_lowercase();
        self.excluded.contains(&column) || self.masks.contains_key(&column)
    }

    /// Takes a statement that may have changed the table.
    pub(super) fn note(&mut self, change: &TableChange) {
        let mut protected = self.excluded.iter().chain(self.masks.keys());
        let renamed = protected.find(|column| change.may_rename(column)).cloned();
        self.renamed = renamed.or(self.renamed.take());
    }

    /// Why a definition that was not trusted before is not trusted, if it is not.
    pub(super) fn doubt(&self, map: &TableMap, protection: &Protection) -> Option<Doubt> {
        let may_lack =
            |name: &str| protection.may_lack && !self.seen.contains(&name.to_lowercase());
        let mut columns = protection.columns();
        let missing = columns.find(|(name, _)| !has(map, name) && !may_lack(name));
        if let Some((column, how)) = missing {
            let column = column.to_owned();
            return Some(Doubt::Missing { column, how });
        }
        let renamed = self.renamed.clone();
        renamed.map(|column| Doubt::Renamed { column })
    }

    /// The definition is trusted, of which rows come now.
    pub(super) fn trust(&mut self, map: &TableMap) {
        let protected = self.excluded.iter().chain(self.masks.keys());
        let seen = protected.filter(|name| has(map, name));
        self.seen.extend(seen.cloned());
        self.renamed = None;
    }
}

fn has(map: &TableMap, name: &str) -> bool {
    let mut columns = map.columns.iter();
    columns.any(|column| is_same_column(&column.name, name))
}
