//! Tables whose changes by statements may be passed over.

use std::collections::BTreeSet;

use crate::binlog::Exemptions;

use super::{ConfigError, Table, TablePatterns};

/// Reads `source.ignore_statements`. A followed table cannot be in it.
pub(super) fn exemptions(
    names: &[String],
    tables: &[Table],
    patterns: &TablePatterns,
) -> Result<Exemptions, ConfigError> {
    const KEY: &str = "source.ignore_statements";
    let mut statements = Vec::with_capacity(names.len());
    for name in names {
        let Some((schema, table)) = name
            .split_once('.')
            .filter(|(schema, table)| !schema.is_empty() && !table.is_empty())
        else {
            return Err(ConfigError::at(
                KEY,
                format!("{name} is no schema.table"),
                "write it like percona.heartbeat, or audit.* for all tables of a schema",
            ));
        };
        let is_it = |followed: &&Table| {
            followed.schema.eq_ignore_ascii_case(schema)
                && (table == "*" || followed.name.eq_ignore_ascii_case(table))
        };
        if let Some(followed) = tables.iter().find(is_it) {
            return Err(ConfigError::at(
                KEY,
                format!(
                    "{name} is among the tables to follow ({}.{}), whose changes would be lost",
                    followed.schema, followed.name
                ),
                "list only tables that are not followed, and set binlog_format=ROW for whoever writes followed ones",
            ));
        }
        let is_meant = if table == "*" {
            patterns.may_mean_schema(schema)
        } else {
            let patterns = patterns.clone().folding(true);
            patterns.of(schema, table).is_some()
        };
        if is_meant {
            return Err(ConfigError::at(
                KEY,
                format!(
                    "{name} is among the tables that a pattern follows, whose changes would be lost"
                ),
                "list single tables, and add them to the pattern's `exclude`",
            ));
        }
        statements.push((schema.to_owned(), table.to_owned()));
    }
    Ok(Exemptions {
        statements,
        events: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;

    #[test]
    fn what_a_pattern_follows_is_refused_unless_it_is_excluded() {
        let read = |names: &str| {
            let text = format!(
                "source.url = \"mysql://u@127.0.0.1\"\nsource.ignore_statements = {names}\n\
                 table = [{{ name = \"shop.*\", exclude = [\"shop.heartbeat\"] }}]"
            );
            parse(&text, "x").map(|config| config.exemptions.statements.len())
        };
        assert_eq!(
            read("[\"shop.heartbeat\", \"audit.*\", \"audit.x\"]"),
            Ok(3)
        );
        for names in ["[\"shop.orders\"]", "[\"SHOP.orders\"]", "[\"shop.*\"]"] {
            let error = read(names).unwrap_err();
            assert!(
                error.to_string().contains("that a pattern follows"),
                "{error}"
            );
        }
    }

    #[test]
    fn tables_are_listed_by_name_and_followed_ones_are_refused() {
        let read = |names: &str| {
            let text = format!(
                "source.url = \"mysql://u@127.0.0.1\"\nsource.ignore_statements = {names}\n\
                 table = [{{ name = \"shop.Sales\" }}]"
            );
            let config = parse(&text, "x");
            config
                .map(|config| config.exemptions.statements)
                .map_err(|error| error.to_string())
        };
        let pair = |schema: &str, table: &str| (schema.to_owned(), table.to_owned());
        assert_eq!(
            read("[\"percona.heartbeat\", \"audit.*\"]"),
            Ok(vec![pair("percona", "heartbeat"), pair("audit", "*")])
        );
        assert_eq!(read("[]"), Ok(vec![]));
        for (names, said) in [
            (
                "[\"shop.Sales\"]",
                "shop.Sales is among the tables to follow",
            ),
            (
                "[\"SHOP.sales\"]",
                "among the tables to follow (shop.Sales)",
            ),
            ("[\"shop.*\"]", "shop.* is among the tables to follow"),
            ("[\"heartbeat\"]", "heartbeat is no schema.table"),
            ("[\".x\"]", "no schema.table"),
        ] {
            let error = read(names).unwrap_err();
            assert!(
                error.contains(said) && error.contains("source.ignore_statements"),
                "{error}"
            );
        }
    }
}
