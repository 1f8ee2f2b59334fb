//! Tables that are followed by patterns of their names.
//!
//! What lives here: which tables a pattern means. What does not: what is written of them ([`super::table`]), and which
//! tables there are.

use std::fmt;

use crate::binlog::Operations;

use super::table_name::{TypedName, TypedPart, typed_name};
use super::wildcards::{Wildcards, has_wildcards};
use super::{ConfigError, Table};

/// Schemas that servers fill by themselves, or by statements without rows. No pattern means them.
const SYSTEM_SCHEMAS: &[&str] = &[
    "information_schema",
    "mysql",
    "ndbinfo",
    "performance_schema",
    "sys",
];

/// A pattern of `schema.table`: `*` is any number of characters, `?` is one, `[0-9]` one of these, `[!0-9]` one of all
/// others.
#[derive(Clone)]
pub struct NamePattern {
    text: String,
    schema: PartPattern,
    table: PartPattern,
}

/// A pattern of one of the two names, for servers whose names have case and for others.
#[derive(Clone)]
struct PartPattern {
    /// If it means one name only.
    name: Option<String>,
    exact: Wildcards,
    folded: Wildcards,
}

impl PartPattern {
    fn new(part: &TypedPart) -> Option<Self> {
        let read = |text: &str| {
            if part.is_quoted {
                Some(Wildcards::literal(text))
            } else {
                Wildcards::parse(text)
            }
        };
        let is_name = part.is_quoted || !has_wildcards(&part.text);
        Some(Self {
            name: is_name.then(|| part.text.clone()),
            exact: read(&part.text)?,
            folded: read(&part.text.to_lowercase())?,
        })
    }

    fn matches(&self, name: &str, folds: bool) -> bool {
        if folds {
            self.folded.matches(&name.to_lowercase())
        } else {
            self.exact.matches(name)
        }
    }
}

impl NamePattern {
    /// Reads a pattern; `None` if it is none.
    fn parse(text: &str) -> Option<Self> {
        let TypedName { schema, table } = typed_name(text)?;
        Some(Self {
            text: text.to_owned(),
            schema: PartPattern::new(&schema)?,
            table: PartPattern::new(&table)?,
        })
    }

    fn matches(&self, schema: &str, table: &str, folds: bool) -> bool {
        self.schema.matches(schema, folds) && self.table.matches(table, folds)
    }
}

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NamePattern {}

/// Whether a typed name is a pattern.
pub(super) fn is_pattern(name: &TypedName) -> bool {
    [&name.schema, &name.table]
        .iter()
        .any(|part| !part.is_quoted && has_wildcards(&part.text))
}

/// An entry of the configuration that follows tables by a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    /// The tables that it means.
    pub name: NamePattern,
    /// Those that it does not mean although the pattern does.
    pub exclude: Vec<NamePattern>,
    /// What is written of each; its names are the pattern, and its stream may be a template.
    pub table: Table,
}

impl TablePattern {
    pub(super) fn means(&self, schema: &str, table: &str, folds: bool) -> bool {
        let mut excluded = self.exclude.iter();
        self.name.matches(schema, table, folds)
            && !excluded.any(|it| it.matches(schema, table, folds))
    }
}

/// All of them, in the order of the configuration. The first that means a table decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablePatterns {
    patterns: Vec<TablePattern>,
    /// The server's names have no case.
    folds: bool,
}

impl TablePatterns {
    pub(super) fn new(patterns: Vec<TablePattern>) -> Self {
        Self {
            patterns,
            folds: false,
        }
    }

    /// The same on a server whose names have no case.
    #[must_use]
    pub fn folding(self, folds: bool) -> Self {
        Self { folds, ..self }
    }

    /// Whether the server's names have no case.
    #[must_use]
    pub fn folds(&self) -> bool {
        self.folds
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &TablePattern> {
        self.patterns.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TablePattern> {
        self.patterns.iter_mut()
    }

    /// Schemas that they name.
    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        let schemas = self.patterns.iter();
        schemas.filter_map(|pattern| pattern.name.schema.name.as_deref())
    }

    /// Whether one of them may mean tables of a schema.
    #[must_use]
    pub fn may_mean_schema(&self, schema: &str) -> bool {
        let mut patterns = self.patterns.iter();
        !is_system_schema(schema) && patterns.any(|it| it.name.schema.matches(schema, true))
    }

    /// The first one that means a table.
    #[must_use]
    pub fn of(&self, schema: &str, table: &str) -> Option<&TablePattern> {
        if is_system_schema(schema) {
            return None;
        }
        let mut patterns = self.patterns.iter();
        patterns.find(|pattern| pattern.means(schema, table, self.folds))
    }

    /// What is written of a table, if one of them means it.
    #[must_use]
    pub fn table(&self, schema: &str, table: &str) -> Option<Table> {
        let pattern = self.of(schema, table)?;
        let stream = pattern.table.stream.as_deref();
        Some(Table {
            schema: schema.to_owned(),
            name: table.to_owned(),
            stream: stream.map(|stream| stream_of(stream, schema, table)),
            ..pattern.table.clone()
        })
    }

    /// The changes of a table that are followed, if one of them means it.
    #[must_use]
    pub fn operations(&self, schema: &str, table: &str) -> Option<Operations> {
        Some(self.of(schema, table)?.table.operations)
    }

    /// As a checkpoint names them.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredPattern> {
        let texts = |patterns: &[NamePattern]| {
            patterns
                .iter()
                .map(|pattern| pattern.text.clone())
                .collect()
        };
        let stored = |pattern: &TablePattern| StoredPattern {
            name: pattern.name.text.clone(),
            exclude: texts(&pattern.exclude),
            events: pattern.table.operations,
        };
        self.patterns.iter().map(stored).collect()
    }
}

/// A pattern that was followed, as a checkpoint names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredPattern {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<String>,
    events: Operations,
}

impl StoredPattern {
    /// The changes of a table that were followed by these patterns; `None` if it was not followed.
    #[must_use]
    pub fn operations(
        stored: &[Self],
        schema: &str,
        table: &str,
        folds: bool,
    ) -> Option<Operations> {
        let matches = |text: &String| {
            let pattern = NamePattern::parse(text);
            pattern.is_some_and(|pattern| pattern.matches(schema, table, folds))
        };
        let means = |it: &&Self| matches(&it.name) && !it.exclude.iter().any(matches);
        let found = stored.iter().find(means)?;
        (!is_system_schema(schema)).then_some(found.events)
    }
}

/// Whether a server fills this schema by itself.
pub(crate) fn is_system_schema(schema: &str) -> bool {
    let mut system = SYSTEM_SCHEMAS.iter();
    system.any(|name| name.eq_ignore_ascii_case(schema))
}

/// The stream of a table: `{schema}` and `{table}` stand for its names.
pub(super) fn stream_of(template: &str, schema: &str, table: &str) -> String {
    let mut stream = String::with_capacity(template.len() + table.len());
    let mut rest = template;
    let names = [("{schema}", schema), ("{table}", table)];
    while let Some(at) = rest.find('{') {
        stream.push_str(&rest[..at]);
        rest = &rest[at..];
        match names
            .iter()
            .find(|(placeholder, _)| rest.starts_with(placeholder))
        {
            Some((placeholder, name)) => {
                stream.push_str(name);
                rest = &rest[placeholder.len()..];
            }
            None => {
                stream.push('{');
                rest = &rest[1..];
            }
        }
    }
    stream + rest
}

/// Reads the patterns of an entry's `exclude`.
pub(super) fn excluded(texts: &[String]) -> Result<Vec<NamePattern>, ConfigError> {
    let read = |text: &String| pattern("table.exclude", text);
    texts.iter().map(read).collect()
}

/// Reads a pattern.
pub(super) fn pattern(key: &str, text: &str) -> Result<NamePattern, ConfigError> {
    NamePattern::parse(text).ok_or_else(|| {
        ConfigError::at(
            key,
            "no pattern of schema.table",
            "write it like shop.order_[0-9]*: * is any characters, ? is one, [0-9] is one of these; a name that has such a \
             character or a point itself stands in backticks",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, schema: &str, table: &str) -> bool {
        let pattern = NamePattern::parse(pattern).unwrap();
        pattern.matches(schema, table, false)
    }

    #[test]
    fn patterns_mean_whole_names() {
        for (pattern, schema, table, expected) in [
            ("shop.*", "shop", "orders", true),
            ("shop.*", "shop", "a.b/c\\d", true),
            ("shop.*", "shops", "orders", false),
            ("shop.*", "Shop", "orders", false),
            ("sho?.orders", "shop", "orders", true),
            ("*.orders", "a", "orders", true),
            ("*.*", "a", "b", true),
            ("shop.order_[0-9]*", "shop", "order_1", true),
            ("shop.order_[0-9]*", "shop", "order_12x", true),
            ("shop.order_[0-9]*", "shop", "order_x1", false),
            ("shop.order_[0-9][0-9]", "shop", "order_1", false),
            ("shop.[!_]*", "shop", "_gho", false),
            ("shop.[!_]*", "shop", "gho", true),
            ("shop.größe_?", "shop", "größe_ß", true),
            ("shop.{a,b}", "shop", "a", false),
            ("shop.{a,b}", "shop", "{a,b}", true),
            ("shop.`a*`", "shop", "a*", true),
            ("shop.`a*`", "shop", "ab", false),
            ("`my.db`.*", "my.db", "x", true),
            ("shop.a\\*", "shop", "a\\b", true),
        ] {
            assert_eq!(
                matches(pattern, schema, table),
                expected,
                "{pattern} {schema}.{table}"
            );
        }
        for none in ["shop", "shop.[0-9", "shop.[]", "shop.[9-0]"] {
            assert!(NamePattern::parse(none).is_none(), "{none}");
        }
        let folded = NamePattern::parse("Shop.ORDERS_*").unwrap();
        assert!(folded.matches("shop", "orders_1", true));
    }

    #[test]
    fn a_template_has_the_names_of_its_table() {
        for (template, expected) in [
            ("cdc-{schema}-{table}", "cdc-shop-{schema}"),
            ("{table}", "{schema}"),
            ("all", "all"),
            ("{tables}{", "{tables}{"),
        ] {
            assert_eq!(stream_of(template, "shop", "{schema}"), expected);
        }
    }
}
