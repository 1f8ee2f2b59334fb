//! What a followed table is: its columns as the binlog and the server tell them, and which layout its lines have. The
//! layout is decided anew for each definition of the table that the binlog shows.

use std::borrow::Cow;
use std::collections::BTreeSet;

use tracing::{info, warn};

use crate::binlog::{
    Column, DecodeError, Flavor, Problem, ServerColumn, TableChange, TableMap, VersionedColumns,
};
use crate::config::{KeyChange, SchemaChange};
use crate::encode::{ChosenColumn, Dialect, Plan, PlanError};
use crate::error::Error;
use crate::{Exit, Failure};

use super::super::checked_table::{CheckedTable, MERGED_KEY_REMEDY, merged_key};
use super::super::definition_code::DefinitionCode;
use super::super::guard::Doubt;
use super::super::layouts::{Layout, TableLayouts, differences};
use super::super::server_columns::{accept_option, chosen, definition_code, is_same};
use super::super::versioned::versioned_columns;
use super::row_context::RowContext;

/// A followed table as it is at some place of the binlog.
#[derive(Debug)]
pub(in super::super) struct TableDefinition {
    pub(super) checked: CheckedTable,
    layouts: TableLayouts,
    /// The server's answer about its columns, valid for the next rows.
    columns: Vec<ServerColumn>,
    /// Whether the table map of this generation leaves something for the server to tell.
    is_open: Option<(u64, bool)>,
    /// Those of the newest table map that have to do with system versioning.
    versioned: VersionedColumns,
    /// Columns that are not written, of which the log has told.
    left_out: BTreeSet<String>,
    /// The log has told that no key is known.
    is_told_of_no_key: bool,
}

impl TableDefinition {
    /// `layouts` are those that its lines had in runs before.
    pub(super) fn new(checked: CheckedTable, mut layouts: TableLayouts) -> Self {
        layouts.choose(checked.chosen_names().as_deref(), &checked.protection);
        layouts.accept(&checked.accepted);
        Self {
            columns: checked.definition.clone(),
            checked,
            layouts,
            is_open: None,
            versioned: VersionedColumns::default(),
            left_out: BTreeSet::new(),
            is_told_of_no_key: false,
        }
    }

    /// `schema.table`.
    pub(in super::super) fn name(&self) -> String {
        self.checked.full_name()
    }

    /// The layouts that its lines have had.
    pub(in super::super) fn layouts(&self) -> &TableLayouts {
        &self.layouts
    }

    /// The codes of definitions that the operator has accepted.
    pub(in super::super) fn accepted(&self) -> &[DefinitionCode] {
        self.layouts.accepted()
    }

    /// Takes what the server says about the columns of the rows that come next; nothing if it must be asked
    /// again. Says whether that is something else than before.
    pub(super) fn know(&mut self, columns: Vec<ServerColumn>) -> bool {
        let is_new = columns != self.columns;
        self.columns = columns;
        is_new
    }

    /// Takes a statement that may have changed the table.
    pub(in super::super) fn note(&mut self, change: &TableChange) {
        self.layouts.note(change);
    }

    /// Whether the server was asked about its columns.
    pub(in super::super) fn knows_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether the table map leaves something for the server to tell of the columns that are written.
    pub(in super::super) fn needs_server(
        &mut self,
        map: &TableMap,
        generation: u64,
        flavor: Flavor,
    ) -> bool {
        match self.is_open {
            Some((known, is_open)) if known == generation => is_open,
            _ => {
                let is_open = !map.is_named() || !self.open(map, flavor).is_empty();
                self.is_open = Some((generation, is_open));
                is_open
            }
        }
    }

    /// The written columns of a named table map that only the server can tell whole.
    pub(in super::super) fn open(&self, map: &TableMap, flavor: Flavor) -> Vec<String> {
        self.checked.open(map, flavor)
    }

    /// The plan for rows of the table as they come now, after one for rows of before, and whether it begins a
    /// layout.
    ///
    /// # Errors
    /// If its lines cannot be written, or no decision was made about them.
    pub(super) fn plan(
        &mut self,
        context: &RowContext<'_>,
        before: Option<&Plan>,
    ) -> Result<(Plan, bool), Error> {
        let named = self.named(context.map);
        let map = &*named.map_err(|problem| self.decode_error(context, problem))?;
        let (flavor, place) = (context.flavor, context.place());
        let told = match self.columns.as_slice() {
            [] => &self.checked.definition,
            columns => columns,
        };
        self.versioned = versioned_columns(&self.checked, map, told, flavor, before, &place);
        let splits = self.checked.key_change == KeyChange::Split;
        // ROW END is in each key of a system-versioned table, and no part of what identifies a row of now.
        let is_key = |index: &usize| Some(*index) != self.versioned.row_end;
        let key = splits.then(|| map.key(told).into_iter().filter(is_key).collect::<Vec<_>>());
        let open = self.open(map, flavor);
        let definition = definition_code(context.definition, map, &open, &self.columns);
        let primary_key = map.key(told);
        self.check_protected(map, definition, context)?;
        let mut plan = self.decide(map, definition, context)?;
        self.check_written(&plan, &primary_key, map, context)?;
        if let Some(columns) = key {
            self.note_key(&columns);
            plan = plan.with_key(&columns);
        }
        let version = self.layouts.current().map(|_| self.layouts.version());
        self.layouts.decide(definition, plan.shape());
        let begins = version != Some(self.layouts.version()) || before.is_none();
        if begins {
            let written: Vec<String> = plan.shape().into_iter().map(|(name, _)| name).collect();
            self.refuse_double_keys(&written)?;
            if self.checked.on_schema_change == SchemaChange::Version {
                info!(
                    "{}: version {} of its lines from the transaction at {place} on: {}",
                    self.name(),
                    self.layouts.version(),
                    written.join(", ")
                );
            }
        }
        Ok((plan, begins))
    }

    /// The plan for rows of the table as the server describes it at this place, and whether it begins a layout.
    ///
    /// # Errors
    /// As for [`Self::plan`].
    pub(super) fn plan_declared(
        &mut self,
        context: &RowContext<'_>,
        columns: &[ServerColumn],
        before: Option<&Plan>,
    ) -> Result<(Plan, bool), Error> {
        let told = std::mem::replace(&mut self.columns, columns.to_vec());
        let planned = self.plan(context, before);
        self.columns = told;
        planned
    }

    /// The plan that writes nothing but these columns, which are a key.
    ///
    /// # Errors
    /// If the table at hand does not have them.
    pub(super) fn key_plan<'n>(
        &self,
        context: &RowContext<'_>,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Plan, Error> {
        let map = self.named(context.map);
        let map = map.map_err(|problem| self.decode_error(context, problem))?;
        let columns: Vec<ChosenColumn> = names.map(|name| chosen(name, &self.columns)).collect();
        let plan = Plan::compile(&map, &columns, Dialect::Csv);
        plan.map_err(|error| unwritable(&error, context).into())
    }

    pub(super) fn decode_error(&self, context: &RowContext<'_>, problem: Problem) -> DecodeError {
        DecodeError {
            position: context.place(),
            table: Some(self.name()),
            problem,
        }
    }

    /// Says once if the key is not known.
    fn note_key(&mut self, columns: &[usize]) {
        if columns.is_empty() && !self.is_told_of_no_key {
            self.is_told_of_no_key = true;
            warn!(
                "{}: no primary key is known, so an update of the columns that identify a row is written as an \
                 update; set key_change = \"update\" if this is intended",
                self.name()
            );
        }
    }

    fn refuse_double_keys(&self, names: &[String]) -> Result<(), Failure> {
        self.checked
            .refuse_double_keys(&names.iter().map(String::as_str))
    }

    /// The table map with names, which are the server's where it has none.
    fn named<'m>(&self, map: &'m TableMap) -> Result<Cow<'m, TableMap>, Problem> {
        if map.is_named() {
            return Ok(Cow::Borrowed(map));
        }
        if self.columns.is_empty() {
            return self.checked.named(map).map(Cow::Owned);
        }
        map.complete(&self.columns)
            .map(Cow::Owned)
            .map_err(|misfit| Problem::Misfit(Box::new(misfit)))
    }

    /// The plan for the lines of a table with this definition.
    ///
    /// # Errors
    /// If they would be others than before, and no decision was made about them.
    fn decide(
        &mut self,
        map: &TableMap,
        definition: DefinitionCode,
        context: &RowContext<'_>,
    ) -> Result<Plan, Error> {
        let as_it_is = || {
            let plan = self.compile(map, &self.wanted(map, true));
            plan.map_err(|error| Error::from(unwritable(&error, context)))
        };
        let is_versioned = self.checked.on_schema_change == SchemaChange::Version;
        if is_versioned || self.layouts.accepted().contains(&definition) {
            return as_it_is();
        }
        if let Some((layout, is_now)) = self.layouts.decided(definition) {
            // A choice that this table cannot serve is one for later.
            let chosen = (!is_now).then(|| self.compile(map, &self.wanted(map, false)));
            if let Some(Ok(plan)) = chosen {
                return Ok(plan);
            }
            if let Some(plan) = self.same(map, layout) {
                self.tell_left_out(map, &plan, definition, context);
                return Ok(plan);
            }
        }
        let Some(current) = self.layouts.current().cloned() else {
            let plan = self.compile(map, &self.wanted(map, false));
            return plan.map_err(|error| {
                let mut failure = self.changed(&error.to_string(), definition, context);
                if let PlanError::MissingColumn { .. } = error {
                    // Nobody may have looked at the names that were chosen.
                    let names: Vec<&str> = map.columns.iter().map(|it| it.name.as_str()).collect();
                    failure.remedy = format!(
                        "the table has {} here: correct a name or type that is mistyped; if the column was added later, \
                         {}",
                        names.join(", "),
                        failure.remedy
                    );
                }
                failure.into()
            });
        };
        let Some(plan) = self.same(map, &current) else {
            let what = match self.compile(map, &self.wanted(map, true)) {
                Ok(now) => format!(
                    "a written column has changed: {}",
                    differences(&current, &now.shape())
                ),
                Err(error) => error.to_string(),
            };
            return Err(self.changed(&what, definition, context).into());
        };
        if self.checked.columns.is_none() && self.checked.dialect.has_keys() {
            // There a column more is only a key more. One whose name is written in other letters keeps its key.
            let known = |name: &String| {
                let mut known = current.iter().map(|(known, _)| known);
                known.find(|known| is_same(known, name)).cloned()
            };
            let names = self.wanted(map, true).into_iter();
            let names: Vec<String> = names.map(|name| known(&name).unwrap_or(name)).collect();
            let plan = self.compile(map, &names);
            return plan.map_err(|error| unwritable(&error, context).into());
        }
        self.tell_left_out(map, &plan, definition, context);
        Ok(plan)
    }

    /// MariaDB keeps a unique key of TEXT or BLOB in a hidden column behind all others.
    fn is_hash(&self, column: &Column) -> bool {
        let definition = self.checked.definition.iter();
        let mut declared = definition.filter(|column| !column.is_hash);
        column.may_be_hash() && !declared.any(|declared| is_same(&declared.name, &column.name))
    }

    /// The names of the columns to write, as the table map spells them; those that it has, or all that were chosen.
    fn wanted(&self, map: &TableMap, only_there: bool) -> Vec<String> {
        let spelled = |name: &String| {
            let mut columns = map.columns.iter();
            let column = columns.find(|column| is_same(&column.name, name))?;
            Some(column.name.clone())
        };
        match &self.checked.columns {
            None => {
                let is_written = |name: &String| !self.checked.protection.excludes(name);
                let listed = self.versioned.unlisted_from.unwrap_or(map.columns.len());
                let columns = &map.columns[..listed];
                let hidden = columns
                    .iter()
                    .rev()
                    .take_while(|column| self.is_hash(column));
                let columns = columns.iter().take(listed - hidden.count());
                let names = columns.map(|column| column.name.clone());
                names.filter(is_written).collect()
            }
            Some(chosen) => {
                let names = chosen.iter().map(|column| &column.name);
                let there: Vec<String> = names.clone().filter_map(spelled).collect();
                // A table that has none of them is an error that names one.
                if only_there && !there.is_empty() {
                    there
                } else {
                    let spelled = |name: &String| spelled(name).unwrap_or_else(|| name.clone());
                    names.map(spelled).collect()
                }
            }
        }
    }

    fn compile(&self, map: &TableMap, names: &[String]) -> Result<Plan, PlanError> {
        let column = |name: &String| self.checked.as_written(name, &self.columns);
        let columns: Vec<ChosenColumn> = names.iter().map(column).collect();
        let plan = Plan::compile(map, &columns, self.checked.dialect)?;
        let plan = plan.with_invalid_text(self.checked.invalid_text);
        Ok(plan.with_versioned(&self.versioned))
    }

    /// The plan for lines of this layout, if the table can have them.
    fn same(&self, map: &TableMap, layout: &Layout) -> Option<Plan> {
        let names: Vec<String> = layout.iter().map(|(name, _)| name.clone()).collect();
        if names
            .iter()
            .any(|name| self.checked.protection.excludes(name))
        {
            return None;
        }
        let plan = self.compile(map, &names).ok()?;
        (plan.shape() == *layout).then_some(plan)
    }

    /// Rows of a definition under which a protected column may have another name are not written before somebody has
    /// decided.
    fn check_protected(
        &mut self,
        map: &TableMap,
        definition: DefinitionCode,
        context: &RowContext<'_>,
    ) -> Result<(), Failure> {
        let protection = &self.checked.protection;
        if protection.is_empty() {
            return Ok(());
        }
        let Some(doubt) = self.layouts.doubt(definition, map, protection) else {
            return Ok(());
        };
        let what = match doubt {
            Doubt::Missing { column, how } => format!(
                "it has no column {column} here, which the configuration names as {how}; if the column has another \
                 name here, its values would be written as they are"
            ),
            Doubt::Renamed { column } => format!(
                "a statement before this one may have given the column {column}, which is masked or excluded, \
                 another name, or its name to another column"
            ),
        };
        let names: Vec<&str> = map.columns.iter().map(|it| it.name.as_str()).collect();
        let (table, place) = (self.name(), context.place());
        Err(Failure::definite(
            Exit::Data,
            format!("table {table}, transaction at {place}: {what}"),
            format!(
                "all earlier rows are delivered, and the others wait in the binlog. The table has {} here. If a \
                 protected column was renamed, write the name that it has here into the table's `mask` or \
                 `exclude_columns` in place of the other; if none of these columns needs protection beyond what is \
                 configured, start once more with {}",
                names.join(", "),
                accept_option(&table, definition)
            ),
        ))
    }

    /// Lines must have a column, and changes need a key that tells rows apart.
    fn check_written(
        &self,
        plan: &Plan,
        key: &[usize],
        map: &TableMap,
        context: &RowContext<'_>,
    ) -> Result<(), Failure> {
        let protection = &self.checked.protection;
        if protection.is_empty() {
            return Ok(());
        }
        let at = || format!("table {}, transaction at {}", self.name(), context.place());
        if plan.shape().is_empty() {
            return Err(Failure::definite(
                Exit::Data,
                format!("{}: exclude_columns leaves none of its columns", at()),
                "write one of them, or do not follow the table",
            ));
        }
        let names = key.iter().filter_map(|index| map.columns.get(*index));
        let mut names = names.map(|column| &column.name);
        let merged = names.find(|name| self.checked.merges_key(name));
        match merged {
            Some(name) => Err(Failure::definite(
                Exit::Data,
                format!("{}: {}", at(), merged_key(name)),
                MERGED_KEY_REMEDY,
            )),
            None => Ok(()),
        }
    }

    /// Logs once which columns are not written although they are not excluded.
    fn tell_left_out(
        &mut self,
        map: &TableMap,
        plan: &Plan,
        definition: DefinitionCode,
        context: &RowContext<'_>,
    ) {
        let shape = plan.shape();
        let wanted = self.wanted(map, true);
        let is_written = |name: &String| shape.iter().any(|(written, _)| is_same(written, name));
        let names = wanted.into_iter().filter(|name| !is_written(name));
        let names: Vec<String> = names
            .filter(|name| self.left_out.insert(name.clone()))
            .collect();
        if !names.is_empty() {
            warn!(
                "table {}: the column {} is not written, because the table's lines had no such column before the \
                 transaction at {}; to write it from the next start on, start with {}; to keep its lines apart \
                 from the earlier ones, set on_schema_change = \
                 \"version\" for the table, or give a replay --on-schema-change version",
                self.name(),
                names.join(", "),
                context.place(),
                accept_option(&self.name(), definition)
            );
        }
    }

    fn changed(&self, what: &str, definition: DefinitionCode, context: &RowContext<'_>) -> Failure {
        let place = context.place();
        let others: Vec<String> = self
            .layouts
            .accepted()
            .iter()
            .map(ToString::to_string)
            .collect();
        let others = match others.as_slice() {
            [] => String::new(),
            codes => format!(" (it is not {}, which was accepted)", codes.join(", ")),
        };
        Failure::definite(
            Exit::Data,
            format!(
                "table {}, transaction at {place}: {what}{others}",
                self.name()
            ),
            format!(
                "all earlier rows are delivered, and the others wait in the binlog; to write lines with the \
                 table's new columns from there on, start once more with {}; to write them apart from the \
                 earlier lines, set on_schema_change = \"version\" for the table, or give a \
                 replay --on-schema-change version; or choose other columns in its `columns`",
                accept_option(&self.name(), definition)
            ),
        )
    }
}

fn unwritable(error: &PlanError, context: &RowContext<'_>) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("transaction at {}: {error}", context.place()),
        "choose the columns to write, without it, in the table's `columns`",
    )
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
