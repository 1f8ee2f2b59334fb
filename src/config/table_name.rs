//! Names of tables as they are typed: `schema.table`, either of which may be in backticks as in SQL.

/// A name as typed.
pub(super) struct TypedName {
    pub(super) schema: TypedPart,
    pub(super) table: TypedPart,
}

/// One part of it.
pub(super) struct TypedPart {
    pub(super) text: String,
    /// It was in backticks, so that nothing in it is a wildcard.
    pub(super) is_quoted: bool,
}

/// The parts of `schema.table`, either of which may be in backticks as in SQL. Without, the first point
/// ends the schema.
pub(super) fn typed_name(text: &str) -> Option<TypedName> {
    let of = |text: String, typed: &str| TypedPart {
        text,
        is_quoted: typed.starts_with('`'),
    };
    let (schema, rest) = part(text)?;
    let rest = rest.strip_prefix('.')?;
    let name = match part(rest) {
        Some((name, "")) => name,
        // A name with points and without backticks.
        Some(_) if !rest.contains('`') => rest.to_owned(),
        Some(_) | None => return None,
    };
    Some(TypedName {
        schema: of(schema, text),
        table: of(name, rest),
    })
}

/// The name that a text begins with, and what is behind it.
fn part(text: &str) -> Option<(String, &str)> {
    if text.starts_with('`') {
        return quoted_part(text);
    }
    let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

/// The name in backticks that a text begins with, and what is behind it.
pub(crate) fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (before, behind) = rest.split_once('`')?;
        name.push_str(before);
        match behind.strip_prefix('`') {
            Some(behind) => {
                name.push('`');
                rest = behind;
            }
            None => return (!name.is_empty()).then_some((name, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_quoted_as_in_sql() {
        let of = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        for (text, parts) in [
            ("shop.Sales", of("shop", "Sales")),
            ("`my.db`.Sales", of("my.db", "Sales")),
            ("`my.db`.`Sales.2026`", of("my.db", "Sales.2026")),
            ("shop.`a``b`", of("shop", "a`b")),
            ("shop.Sales.2026", of("shop", "Sales.2026")),
            ("shop.größe", of("shop", "größe")),
            ("shop", None),
            ("shop.", None),
            (".Sales", None),
            ("", None),
            ("`shop.Sales", None),
            ("`shop`Sales", None),
            ("``.Sales", None),
            ("shop.`Sales`x", None),
        ] {
            let name = typed_name(text);
            let name = name.map(|name| (name.schema.text, name.table.text));
            assert_eq!(name, parts, "{text}");
        }
    }
}
