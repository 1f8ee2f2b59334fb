//! What a QUERY event means for rows. Statements are not parsed, only told apart by their first
//! words: the table map, not the text of a DDL statement, says what a table looks like.

use super::Problem;
use super::bytes::Cursor;
use super::xid::Xid;

/// The kinds of statements that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Begin,
    Commit,
    Rollback,
    RollbackToSavepoint,
    XaStart,
    XaEnd,
    XaCommit,
    XaRollback,
    /// Rows were changed by a statement; they are not in the binlog.
    Dml,
    /// A change of a table of the server's own, which managed services log as a statement.
    InternalDml,
    /// DDL that may give a table other columns.
    Alter,
    /// Other DDL, account management, savepoints: nothing that carries rows.
    Other,
}

/// Reads the body of a QUERY event.
pub(super) fn parse(body: &[u8]) -> Result<Query, Problem> {
    statement(body).map(classify)
}

/// The statement of a QUERY event, which is what is compressed in a compressed one.
pub(super) fn statement(body: &[u8]) -> Result<&[u8], Problem> {
    let mut cursor = Cursor(body);
    cursor.take(8)?; // thread id, execution time
    let schema_len = usize::from(cursor.u8()?);
    cursor.take(2)?; // error code
    let status_len = usize::from(cursor.u16()?);
    cursor.take(status_len)?;
    cursor.take(schema_len + 1)?;
    Ok(cursor.0)
}

/// The XID in an XA statement, which servers write in one way.
pub(super) fn xid(body: &[u8]) -> Result<Xid, Problem> {
    let mut words = Words(statement(body)?);
    drop((words.next(), words.next()));
    let text = std::str::from_utf8(words.0.trim_ascii());
    text.map_err(|_| Problem::Malformed("the XID"))?.parse()
}

/// Whether the statement of a QUERY event has a name in it as a word, whatever the case, be it by
/// chance.
pub(super) fn mentions(body: &[u8], name: &str) -> bool {
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"_$".contains(byte)
        })
    };
    let Ok(statement) = statement(body) else {
        return true;
    };
    // Such names may be written in another character set, or with their quotes doubled.
    if name.is_empty() || !name.is_ascii() || name.contains('`') {
        return true;
    }
    let mut places = statement.windows(name.len()).enumerate();
    places.any(|(at, place)| {
        place.eq_ignore_ascii_case(name.as_bytes())
            && !is_part(statement.get(at.wrapping_sub(1)))
            && !is_part(statement.get(at + name.len()))
    })
}

fn classify(statement: &[u8]) -> Query {
    // As servers write it, before every transaction.
    if statement == b"BEGIN" {
        return Query::Begin;
    }
    let mut words = Words(statement);
    let first = words.next();
    match first.as_slice() {
        b"BEGIN" => Query::Begin,
        b"START" if words.next() == b"TRANSACTION" => Query::Begin,
        b"COMMIT" => Query::Commit,
        b"ROLLBACK" => match words.next().as_slice() {
            b"TO" => Query::RollbackToSavepoint,
            _ => Query::Rollback,
        },
        b"XA" => match words.next().as_slice() {
            b"START" | b"BEGIN" => Query::XaStart,
            b"END" => Query::XaEnd,
            b"COMMIT" => Query::XaCommit,
            b"ROLLBACK" => Query::XaRollback,
            _ => Query::Other,
        },
        b"ALTER" | b"CREATE" | b"RENAME" => Query::Alter,
        b"INSERT" | b"REPLACE" | b"UPDATE" | b"DELETE" => dml(words),
        b"LOAD" | b"WITH" | b"CALL" | b"DO" | b"SELECT" | b"TABLE" | b"VALUES" => Query::Dml,
        _ => Query::Other,
    }
}

/// RDS writes a heartbeat and settings into the `mysql` schema as statements.
fn dml(mut words: Words<'_>) -> Query {
    let mut target = words.next();
    if matches!(target.as_slice(), b"INTO" | b"FROM") {
        target = words.next();
    }
    if target == b"MYSQL" && words.at_qualifier() {
        Query::InternalDml
    } else {
        Query::Dml
    }
}

/// Words in upper case; white space, comments and quotes around names are passed over.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    /// The next word, or nothing at the end or at any other character.
    fn next(&mut self) -> Vec<u8> {
        loop {
            self.0 = self.0.trim_ascii_start();
            if let Some(rest) = self.0.strip_prefix(b"/*") {
                let end = rest.windows(2).position(|pair| pair == b"*/");
                self.0 = end.map_or(&[], |end| &rest[end + 2..]);
            } else if self.0.starts_with(b"--") || self.0.starts_with(b"#") {
                let end = self.0.iter().position(|byte| *byte == b'\n');
                self.0 = end.map_or(&[], |end| &self.0[end..]);
            } else {
                break;
            }
        }
        let rest = self.0.strip_prefix(b"`").unwrap_or(self.0);
        let in_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'_' | b'$');
        let len = rest.iter().take_while(in_word).count();
        self.0 = &rest[len..];
        rest[..len].to_ascii_uppercase()
    }

    /// Whether the word just read qualifies a name that follows.
    fn at_qualifier(&self) -> bool {
        self.0
            .strip_prefix(b"`")
            .unwrap_or(self.0)
            .starts_with(b".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        for (statement, expected) in [
            ("BEGIN", Query::Begin),
            ("begin", Query::Begin),
            ("START TRANSACTION", Query::Begin),
            ("COMMIT", Query::Commit),
            ("ROLLBACK", Query::Rollback),
            ("ROLLBACK TO `a`", Query::RollbackToSavepoint),
            ("SAVEPOINT `a`", Query::Other),
            ("XA START X'31',X'',1", Query::XaStart),
            ("XA ROLLBACK X'31',X'',1", Query::XaRollback),
            ("XA END X'31',X'',1", Query::XaEnd),
            ("XA COMMIT X'31',X'',1", Query::XaCommit),
            ("XA RECOVER", Query::Other),
            ("CREATE TABLE t (a int) START TRANSACTION", Query::Alter),
            ("ALTER TABLE t ADD a int", Query::Alter),
            ("RENAME TABLE t TO u", Query::Alter),
            ("TRUNCATE TABLE t", Query::Other),
            ("/* tool */ insert into t values (1)", Query::Dml),
            ("-- note\n# more\n update t set a = 1", Query::Dml),
            ("WITH x AS (SELECT 1) DELETE FROM t", Query::Dml),
            ("LOAD DATA INFILE 'x' INTO TABLE t", Query::Dml),
            (
                "INSERT INTO mysql.rds_heartbeat2(id, value) values (1,2)",
                Query::InternalDml,
            ),
            ("DELETE FROM `mysql`.`rds_sysinfo`", Query::InternalDml),
            ("INSERT INTO mysql2.t VALUES (1)", Query::Dml),
            ("INSERT INTO mysql VALUES (1)", Query::Dml),
            ("", Query::Other),
        ] {
            assert_eq!(classify(statement.as_bytes()), expected, "{statement}");
        }
    }

    #[test]
    fn a_name_is_found_as_a_word() {
        let found = |statement: &str, name: &str| {
            let mut body = vec![0; 13];
            body.push(0);
            body.extend_from_slice(statement.as_bytes());
            mentions(&body, name)
        };
        for statement in [
            "ALTER TABLE t ADD a int",
            "alter table `shop`.`T`",
            "RENAME TABLE x TO T",
        ] {
            assert!(found(statement, "t"), "{statement}");
        }
        for statement in [
            "ALTER TABLE tt ADD x int",
            "ALTER TABLE _t",
            "ALTER TABLE t$1",
            "",
        ] {
            assert!(!found(statement, "t"), "{statement}");
        }
        // What may look otherwise in the statement may be there.
        for name in ["größe", "a`b", ""] {
            assert!(found("ALTER TABLE x ADD y int", name), "{name}");
        }
    }
}
