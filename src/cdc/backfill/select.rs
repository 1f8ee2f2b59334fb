//! The SELECT that reads a part of a table.

use crate::binlog::{ServerColumn, TableMap};
use crate::cdc::checked_table::CheckedTable;
use crate::cdc::server_columns::{chosen, is_same};
use crate::encode::{ChosenColumn, Dialect, Plan, quoted_name};
use crate::{Exit, Failure};

use super::seam::Part;

/// What is selected, and how.
pub(super) struct Select {
    pub(super) statement: String,
    pub(super) columns: Vec<String>,
}

impl Select {
    /// What reads a part of a table that has these columns.
    ///
    /// # Errors
    /// If it cannot be read any more.
    pub(super) fn of(
        part: &Part,
        table: &CheckedTable,
        columns: &[ServerColumn],
    ) -> Result<Self, Failure> {
        let key = &part.key;
        let gone = |what: &str| {
            Failure::uncertain(
                Exit::Data,
                format!("backfill of {}: {what}", table.full_name()),
                "remove the table from the configuration, or take `backfill` away from it",
            )
        };
        let is_listed = |name: &str| columns.iter().any(|column| is_same(&column.name, name));
        if columns.is_empty() || !key.names().all(is_listed) {
            return Err(gone("the table or a column of its key is gone"));
        }
        let wanted: Vec<&ServerColumn> = table.written_columns(columns).collect();
        let keys: Vec<&ServerColumn> = key
            .names()
            .filter_map(|name| columns.iter().find(|column| is_same(&column.name, name)))
            .collect();
        let list = |selected: &[&ServerColumn]| -> Result<Vec<String>, Failure> {
            let declared: Vec<ServerColumn> = selected.iter().map(|it| (*it).clone()).collect();
            let map = TableMap::declared(&table.schema, &table.name, &declared);
            let map = map.map_err(|column| gone(&format!("the type of {column} is not known")))?;
            let names = declared
                .iter()
                .map(|column| chosen(&column.name, &declared));
            let names: Vec<ChosenColumn> = names.collect();
            let plan = Plan::compile(&map, &names, Dialect::Csv);
            let plan = plan.map_err(|error| gone(&error.to_string()))?;
            Ok(plan.select_list().collect())
        };
        // A key is compared as it is, and so asked for as it is.
        let mut expressions: Vec<String> = keys.iter().map(|it| quoted_name(&it.name)).collect();
        expressions.extend(list(&wanted)?);
        let condition = key.condition(part.after.as_ref(), part.to.as_ref());
        let condition = condition.ok_or_else(|| gone("its key has changed"))?;
        Ok(Self {
            statement: format!(
                "SELECT {} FROM {}.{}{}",
                expressions.join(", "),
                quoted_name(&table.schema),
                quoted_name(&table.name),
                key.clauses(&condition),
            ),
            columns: wanted.iter().map(|column| column.name.clone()).collect(),
        })
    }
}
