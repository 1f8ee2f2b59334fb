//! Tables that are followed from the moment on at which the binlog names them.
//!
//! What lives here: they join those that are followed, by their first table map or by a statement that defines them. What
//! does not: which tables are chosen, which is an argument.

use foldhash::HashSet;

use super::super::query::LoggedStatement;
use super::super::table_map::names_key;
use super::exempt::Note;
use super::followed::Followed;
use super::start::TableChooser;
use super::{Decoder, WatchedTable};

/// Names of tables that are not followed, and that are not asked about again.
const MOST_REMEMBERED: usize = 200_000;

/// What a decoder has been told and asked of a [`TableChooser`].
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) chooser: Option<TableChooser>,
    /// Names, as in table maps, of tables that it was asked about and has not chosen.
    passed_by: HashSet<Vec<u8>>,
    /// Indices of tables that were chosen since they were taken.
    new_tables: Vec<usize>,
}

impl Chosen {
    pub(super) fn by(chooser: Option<TableChooser>) -> Self {
        Self {
            chooser,
            ..Self::default()
        }
    }

    pub(super) fn has_new(&self) -> bool {
        !self.new_tables.is_empty()
    }
}

impl Decoder {
    /// Tables that are followed since this was called last: each one's index, and what it is. Call it before rows of them
    /// are taken.
    pub fn take_new_tables(&mut self) -> Vec<(usize, WatchedTable)> {
        let new = std::mem::take(&mut self.chosen.new_tables).into_iter();
        let table = |index: usize| Some((index, self.followed.get(index)?.table.clone()));
        new.filter_map(table).collect()
    }

    /// Follows a table from here on, and gives its index.
    fn follow(&mut self, table: WatchedTable) -> usize {
        let index = self.followed.len();
        let key = names_key(&table.schema, &table.name);
        self.index_by_names.insert(key, index);
        self.chosen.new_tables.push(index);
        self.followed.push(Followed::new(table));
        index
    }

    /// The index of a table that a table map names for the first time, if it is chosen.
    pub(super) fn chosen_by_map(&mut self, names: &[u8]) -> Option<usize> {
        let chooser = self.chosen.chooser.as_ref()?;
        if self.chosen.passed_by.contains(names) {
            return None;
        }
        let (schema, name) = split_names(names)?;
        match chooser.chosen(schema, name) {
            Some(table) => Some(self.follow(table)),
            None => {
                if self.chosen.passed_by.len() >= MOST_REMEMBERED {
                    self.chosen.passed_by.clear();
                }
                self.chosen.passed_by.insert(names.to_vec());
                None
            }
        }
    }

    /// Follows the chosen tables that a statement defines, moves or empties, so that it is judged like one of tables that
    /// are followed already.
    pub(super) fn follow_named(&mut self, logged: &LoggedStatement<'_>) {
        let Some(chooser) = self.chosen.chooser.clone() else {
            return;
        };
        let spelled = |(schema, name): (String, String)| {
            if chooser.folds {
                (schema.to_lowercase(), name.to_lowercase())
            } else {
                (schema, name)
            }
        };
        for (from, to) in logged.renamed_tables() {
            let (from, to) = (spelled(from), spelled(to));
            let is_followed = |(schema, name): &(String, String)| {
                self.index_by_names.contains_key(&names_key(schema, name))
                    || chooser.chosen(schema, name).is_some()
            };
            let is_new = !self.index_by_names.contains_key(&names_key(&to.0, &to.1));
            if is_new && chooser.chosen(&to.0, &to.1).is_some() && !is_followed(&from) {
                self.notes.push(Note::RenamedInto {
                    position: self.failed(super::Problem::Truncated).position,
                    table: format!("{}.{}", to.0, to.1),
                });
            }
        }
        for (schema, name) in logged.defined_tables().into_iter().map(spelled) {
            let is_known = self.index_by_names.contains_key(&names_key(&schema, &name));
            if !is_known && let Some(table) = chooser.chosen(&schema, &name) {
                self.follow(table);
            }
        }
    }
}

/// Schema and table as they stand in a table map: length, schema, 0, length, table, 0.
fn split_names(names: &[u8]) -> Option<(&str, &str)> {
    let (len, rest) = names.split_first()?;
    let (schema, rest) = rest.split_at_checked((*len).into())?;
    let (len, rest) = rest.strip_prefix(&[0])?.split_first()?;
    let (name, _) = rest.split_at_checked((*len).into())?;
    Some((
        std::str::from_utf8(schema).ok()?,
        std::str::from_utf8(name).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for names in [("shop", "Sales"), ("größe", ""), ("", "x")] {
            assert_eq!(split_names(&names_key(names.0, names.1)), Some(names));
        }
        assert_eq!(split_names(b"\x04sho"), None);
        assert_eq!(split_names(b""), None);
    }
}
