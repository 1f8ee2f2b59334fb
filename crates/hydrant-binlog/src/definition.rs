//! What a server tells of its tables where the binlog does not: names, signs, character sets and
//! labels, for table maps of `binlog_row_metadata` MINIMAL and NO_LOG.
//!
//! What lives here: `information_schema.COLUMNS` turned into what a table map would say, and whether
//! a table map fits it. What does not: asking the server.

use super::{Charset, Column, ColumnType, Misfit, Misnamed, ServerColumn, TableMap};

impl ServerColumn {
    /// The character set that a table map would name.
    fn charset(&self, kind: ColumnType) -> Option<Charset> {
        match (&self.charset, kind) {
            // Labels come from the server in UTF-8, whatever the column's own set is.
            (_, ColumnType::Enum(_) | ColumnType::Set(_)) => Some(Charset::Utf8),
            (Some(name), _) => Some(Charset::named(name)),
            (None, ColumnType::String { .. } | ColumnType::Blob(_) | ColumnType::Compressed(_)) => {
                Some(Charset::Binary)
            }
            (None, _) => None,
        }
    }

    /// The type that a table map of MariaDB has for a VECTOR: VARBINARY.
    fn vector_of_mariadb(&self) -> ColumnType {
        ColumnType::String {
            prefix: if self.octets > Some(255) { 2 } else { 1 },
            padded_len: 0,
        }
    }

    /// The column as a table map with full metadata tells it, if this one can be of it.
    fn complete(&self, in_map: &Column, has_signs: bool) -> Option<Column> {
        let kind = match ColumnType::declared(self)? {
            ColumnType::Vector(_) if in_map.kind == self.vector_of_mariadb() => in_map.kind,
            kind => kind,
        };
        let is_temporal = matches!(
            kind,
            ColumnType::Time(0) | ColumnType::DateTime(0) | ColumnType::Timestamp(0)
        );
        let is_old = is_temporal && matches!(in_map.kind, ColumnType::OldTemporal(_));
        let column = self.named(kind, in_map.kind, in_map.nullable);
        let is_text = matches!(
            kind,
            ColumnType::String { .. } | ColumnType::Blob(_) | ColumnType::Compressed(_)
        );
        // A YEAR is unsigned, which nobody declares.
        let is_declared = has_signs && kind != ColumnType::Year;
        let fits = (kind == in_map.kind || is_old)
            && (self.nullable == in_map.nullable || self.is_hash)
            && (!is_declared || self.unsigned() == in_map.unsigned)
            && (in_map.charset.is_none() || !is_text || in_map.charset == column.charset);
        fits.then_some(column)
    }

    /// A column that is declared as one type and logged as another.
    fn named(&self, declared: ColumnType, logged: ColumnType, nullable: bool) -> Column {
        let has_labels = matches!(declared, ColumnType::Enum(_) | ColumnType::Set(_));
        Column {
            name: self.name.clone(),
            kind: logged,
            nullable,
            unsigned: self.unsigned(),
            charset: self.charset(declared),
            labels: if has_labels {
                self.labels()
            } else {
                Vec::new()
            },
        }
    }
}

impl TableMap {
    /// Whether it names its columns.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.columns.iter().all(|column| !column.name.is_empty())
    }

    /// The same table map with given names for its columns, in their order.
    ///
    /// # Errors
    /// If there are more or fewer of them, or if more than the name is missing.
    pub fn with_names<'n>(
        &self,
        names: impl ExactSizeIterator<Item = &'n str>,
    ) -> Result<Self, Misnamed> {
        let (in_map, given) = (self.columns.len(), names.len());
        if in_map != given {
            return Err(Misnamed::Count { in_map, given });
        }
        let columns = self.columns.iter().zip(names).enumerate();
        let give = |(index, (column, name)): (usize, (&Column, &str))| {
            let missing = match column.kind {
                ColumnType::Int(_) if !self.has_signs => Some("an integer with or without a sign"),
                ColumnType::Enum(_) | ColumnType::Set(_) if column.labels.is_empty() => {
                    Some("an ENUM or SET with labels")
                }
                ColumnType::String { .. } | ColumnType::Blob(_) | ColumnType::Compressed(_)
                    if column.charset.is_none() =>
                {
                    Some("text of a character set, or bytes")
                }
                _ => None,
            };
            match missing {
                Some(what) => Err(Misnamed::NotEnough {
                    number: index + 1,
                    name: name.to_owned(),
                    what,
                }),
                None => Ok(Column {
                    name: name.to_owned(),
                    ..column.clone()
                }),
            }
        };
        Ok(Self {
            columns: columns.map(give).collect::<Result<_, _>>()?,
            ..self.clone()
        })
    }

    /// What a table map with full metadata says of a table that the server describes so; `Err` is the name of a column
    /// whose type is not known.
    ///
    /// # Errors
    /// If there is such a column.
    pub fn declared(schema: &str, table: &str, server: &[ServerColumn]) -> Result<Self, String> {
        let column = |column: &ServerColumn| {
            let kind = ColumnType::declared(column).ok_or_else(|| column.name.clone())?;
            Ok(column.named(kind, kind, column.nullable))
        };
        let key = server.iter().enumerate();
        let key = key.filter(|(_, column)| column.is_key);
        Ok(Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns: server.iter().map(column).collect::<Result<_, String>>()?,
            has_signs: true,
            key: key.map(|(index, _)| index).collect(),
        })
    }

    /// The columns of the key, by their index: as the map names them or, if it names none, as the server does.
    /// None if the key is not known.
    #[must_use]
    pub fn key(&self, server: &[ServerColumn]) -> Vec<usize> {
        if !self.key.is_empty() {
            return self.key.clone();
        }
        let index = |wanted: &ServerColumn| {
            let mut columns = self.columns.iter();
            columns.position(|column| column.name.eq_ignore_ascii_case(&wanted.name))
        };
        let key = server.iter().filter(|column| column.is_key).map(index);
        key.collect::<Option<Vec<usize>>>().unwrap_or_default()
    }

    /// The same table map with what the server says about the table's columns, in their order.
    ///
    /// # Errors
    /// If it cannot be a table map of such a table.
    pub fn complete(&self, server: &[ServerColumn]) -> Result<Self, Misfit> {
        if self.columns.len() != server.len() {
            return Err(Misfit::Count {
                in_map: self.columns.len(),
                on_server: server.len(),
            });
        }
        let columns = self.columns.iter().zip(server).enumerate();
        let complete = |(index, (in_map, on_server)): (usize, (&Column, &ServerColumn))| {
            let complete = on_server.complete(in_map, self.has_signs);
            complete.ok_or_else(|| Misfit::Column {
                number: index + 1,
                name: on_server.name.clone(),
                in_map: described(in_map),
                on_server: format!(
                    "{}{}",
                    on_server.column_type,
                    if on_server.nullable { "" } else { " NOT NULL" }
                ),
            })
        };
        Ok(Self {
            columns: columns.map(complete).collect::<Result<_, _>>()?,
            ..self.clone()
        })
    }
}

fn described(column: &Column) -> String {
    let unsigned = if column.unsigned { " UNSIGNED" } else { "" };
    let not_null = if column.nullable { "" } else { " NOT NULL" };
    let charset = column.charset.as_ref();
    let charset = charset.map_or_else(String::new, |charset| format!(" in {charset}"));
    format!("{}{unsigned}{charset}{not_null}", column.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data_type: &str, column_type: &str) -> ServerColumn {
        ServerColumn {
            name: "c".into(),
            data_type: data_type.into(),
            column_type: column_type.into(),
            nullable: true,
            ..ServerColumn::default()
        }
    }

    #[test]
    fn labels_are_taken_out_of_their_quotes() {
        let labels = |text: &str| {
            let labels = column("enum", text).labels();
            let text = |label| String::from_utf8(label).unwrap();
            labels.into_iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(labels("enum('a','b')"), ["a", "b"]);
        assert_eq!(labels("set('')"), [""]);
        assert_eq!(
            labels(r"enum('it''s','a,b','back\\slash','two\nlines','''','Größe')"),
            ["it's", "a,b", "back\\slash", "two\nlines", "'", "Größe"]
        );
    }

    #[test]
    fn widths_follow_from_labels_and_octets() {
        let many = |count: usize| {
            let labels: Vec<String> = (0..count).map(|n| format!("'{n}'")).collect();
            labels.join(",")
        };
        for (count, width) in [(1, 1), (255, 1), (256, 2)] {
            let kind = ColumnType::declared(&column("enum", &format!("enum({})", many(count))));
            assert_eq!(kind, Some(ColumnType::Enum(width)), "{count}");
        }
        for (count, width) in [(1, 1), (8, 1), (9, 2), (24, 3), (25, 4), (33, 8), (64, 8)] {
            let kind = ColumnType::declared(&column("set", &format!("set({})", many(count))));
            assert_eq!(kind, Some(ColumnType::Set(width)), "{count}");
        }
        for (octets, prefix) in [(255, 1), (256, 2)] {
            let mut text = column("varchar", "varchar(64)");
            text.octets = Some(octets);
            let padded_len = 0;
            let kind = ColumnType::String { prefix, padded_len };
            assert_eq!(ColumnType::declared(&text), Some(kind), "{octets}");
        }
        assert_eq!(ColumnType::declared(&column("hstore", "hstore")), None);
    }

    #[test]
    fn a_vector_fits_what_either_family_makes_of_it() {
        let fits = |octets, kind| {
            let mut vector = column("vector", "vector");
            vector.octets = Some(octets);
            let in_map = Column {
                name: String::new(),
                kind,
                nullable: true,
                unsigned: false,
                charset: None,
                labels: Vec::new(),
            };
            vector
                .complete(&in_map, false)
                .map(|complete| (complete.kind, complete.charset))
        };
        let string = |prefix, padded_len| ColumnType::String { prefix, padded_len };
        let of_mysql = ColumnType::Vector(4);
        assert_eq!(fits(12, of_mysql), Some((of_mysql, None)));
        for (octets, prefix) in [(252, 1), (256, 2)] {
            let of_mariadb = string(prefix, 0);
            let binary = Some(Charset::Binary);
            assert_eq!(fits(octets, of_mariadb), Some((of_mariadb, binary)));
            assert_eq!(fits(octets, string(3 - prefix, 0)), None, "{octets}");
            assert_eq!(fits(octets, string(prefix, 12)), None, "{octets}");
        }
    }

    #[test]
    fn a_map_is_completed_if_it_fits() {
        let in_map = |kind, nullable| Column {
            name: String::new(),
            kind,
            nullable,
            unsigned: false,
            charset: None,
            labels: Vec::new(),
        };
        let map = |columns| TableMap {
            schema: "shop".into(),
            table: "T".into(),
            columns,
            has_signs: false,
            key: Vec::new(),
        };
        let server = [
            column("int", "int(10) unsigned"),
            column("enum", "enum('x')"),
        ];
        let both = || {
            vec![
                in_map(ColumnType::Int(4), true),
                in_map(ColumnType::Enum(1), true),
            ]
        };
        let complete = map(both()).complete(&server).unwrap();
        assert!(complete.is_named() && !map(both()).is_named());
        assert!(complete.columns[0].unsigned);
        assert_eq!(complete.columns[1].labels, [b"x"]);
        assert_eq!(complete.columns[1].charset, Some(Charset::Utf8));
        let signed = TableMap {
            has_signs: true,
            key: Vec::new(),
            ..map(both())
        };
        let one = map(vec![in_map(ColumnType::Int(4), true)]);
        let narrow = map(vec![in_map(ColumnType::Int(2), true), both().remove(1)]);
        let not_null = map(vec![in_map(ColumnType::Int(4), false), both().remove(1)]);
        for other in [signed, one, narrow, not_null] {
            assert!(other.complete(&server).is_err(), "{other:?}");
        }
    }
}
