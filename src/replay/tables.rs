//! What is known of the tables: from the database if there is one, or from the command line.

use crate::binlog::HiddenType;
use crate::cdc::{CheckedTable, Findings, KnownLayouts, NewTables, Server, check_tables};
use crate::config::{self, Replay, Table};
use crate::encode::ChosenColumn;
use crate::error::Error;

/// Asks the configuration's database for what the binlog does not tell; does without if there is
/// none.
pub(super) async fn checked(config: &Replay) -> Result<(Vec<CheckedTable>, NewTables), Error> {
    let (patterns, partitions) = (config.patterns.clone(), config.partitions.clone());
    match &config.source {
        Some(source) => {
            let mut server = Server::connect(source).await?;
            let (layouts, mut findings) = (KnownLayouts::new(), Findings::default());
            let folds = server.variable("lower_case_table_names") != Some("0");
            let new_tables = NewTables::of(patterns.folding(folds), partitions);
            let checked = check_tables(&mut server, &config.tables, &layouts, &mut findings).await;
            Ok((findings.conclude(checked)?, new_tables))
        }
        None => {
            let unchecked = |table| CheckedTable {
                columns_are_names: config.columns_are_names,
                ..unchecked(table)
            };
            let tables = config.tables.iter().map(unchecked).collect();
            Ok((tables, NewTables::of(patterns, partitions)))
        }
    }
}

fn unchecked(table: &Table) -> CheckedTable {
    let columns = table.columns.as_ref();
    let columns = columns.map(|columns| columns.iter().map(|text| chosen(text)).collect());
    CheckedTable::new(table, table.schema.clone(), table.name.clone(), columns)
}

/// Splits a list of columns at its commas, but not at those within parentheses or backticks.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut columns = Vec::new();
    let mut depth = 0_u32;
    let mut is_quoted = false;
    let mut column = String::new();
    for character in text.chars() {
        is_quoted ^= character == '`';
        match character {
            _ if is_quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                columns.push(std::mem::take(&mut column));
                continue;
            }
            _ => {}
        }
        column.push(character);
    }
    columns.push(column);
    let trimmed = columns.iter().map(|column| column.trim().to_owned());
    trimmed.filter(|column| !column.is_empty()).collect()
}

/// A column, perhaps with its type behind it where the binlog does not tell: `Price DOUBLE(10,2)`,
/// `address INET6`.
fn chosen(text: &str) -> ChosenColumn {
    let quoted = config::quoted_part(text.trim_start());
    let (name, data_type) = match &quoted {
        Some((name, "")) => return ChosenColumn::named(name),
        Some((name, data_type)) => (name.as_str(), data_type.trim()),
        None => match text.trim().rsplit_once(char::is_whitespace) {
            Some(parts) => parts,
            None => return ChosenColumn::named(text),
        },
    };
    let (scale, hidden_type) = (scale(data_type), HiddenType::of(data_type));
    if scale.is_none() && hidden_type.is_none() {
        return ChosenColumn::named(text);
    }
    ChosenColumn {
        name: name.trim().to_owned(),
        scale,
        hidden_type,
        mask: None,
    }
}

/// D of `DOUBLE(M,D)` or `FLOAT(M,D)`.
fn scale(data_type: &str) -> Option<u8> {
    let (kind, digits) = data_type.strip_suffix(')')?.split_once('(')?;
    let is_floating = ["double", "float"].contains(&kind.to_ascii_lowercase().as_str());
    let (_, scale) = digits.split_once(',').filter(|_| is_floating)?;
    scale.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_may_have_types_that_the_binlog_does_not_tell() {
        let columns = split(" ItemID, Price double(10,2),my column,ip INET6, f FLOAT(7,3)");
        let chosen: Vec<(String, Option<u8>, Option<HiddenType>)> = columns
            .iter()
            .map(|text| chosen(text))
            .map(|chosen| (chosen.name, chosen.scale, chosen.hidden_type))
            .collect();
        assert_eq!(
            chosen,
            [
                ("ItemID".to_owned(), None, None),
                ("Price".to_owned(), Some(2), None),
                ("my column".to_owned(), None, None),
                ("ip".to_owned(), None, Some(HiddenType::Inet6)),
                ("f".to_owned(), Some(3), None),
            ]
        );
        let columns = split("`a,b`, `c (d` , `e``,f` DOUBLE(9, 1), g");
        let columns = columns.iter().map(|text| super::chosen(text));
        let quoted: Vec<_> = columns.map(|chosen| (chosen.name, chosen.scale)).collect();
        assert_eq!(
            quoted,
            [
                ("a,b".to_owned(), None),
                ("c (d".to_owned(), None),
                ("e`,f".to_owned(), Some(1)),
                ("g".to_owned(), None),
            ]
        );
    }
}
