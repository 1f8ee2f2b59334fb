use proptest::prelude::*;

use super::*;

/// The body of a QUERY event, with the default settings of sessions.
pub(super) fn body(schema: &str, statement: &str) -> Vec<u8> {
    body_of(schema, 0, 45, statement.as_bytes())
}

pub(super) fn body_of(schema: &str, sql_mode: u64, collation: u16, statement: &[u8]) -> Vec<u8> {
    let mut status = vec![0, 0, 0, 0, 0, 1];
    status.extend_from_slice(&sql_mode.to_le_bytes());
    status.extend_from_slice(b"\x06\x03std\x04");
    for collation in [collation, 45, 45] {
        status.extend_from_slice(&collation.to_le_bytes());
    }
    let mut body = vec![0; 8];
    body.push(u8::try_from(schema.len()).unwrap());
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&u16::try_from(status.len()).unwrap().to_le_bytes());
    body.extend_from_slice(&status);
    body.extend_from_slice(schema.as_bytes());
    body.push(0);
    body.extend_from_slice(statement);
    body
}

fn kind_of(statement: &str) -> Kind {
    let body = body("shop", statement);
    LoggedStatement::parse(&body).unwrap().kind()
}

#[test]
fn statements_are_told_apart() {
    for (statement, expected) in [
        ("BEGIN", Kind::Begin),
        ("begin work", Kind::Begin),
        (
            "BEGIN NOT ATOMIC INSERT INTO t VALUES (1); END",
            Kind::Unknown,
        ),
        ("START TRANSACTION", Kind::Begin),
        ("COMMIT", Kind::Commit),
        ("ROLLBACK", Kind::Rollback),
        ("ROLLBACK TO `a`", Kind::RollbackToSavepoint),
        ("ROLLBACK WORK TO SAVEPOINT a", Kind::RollbackToSavepoint),
        ("SAVEPOINT `a`", Kind::Harmless),
        ("XA START X'31',X'',1", Kind::XaStart),
        ("XA ROLLBACK X'31',X'',1", Kind::XaRollback),
        ("XA END X'31',X'',1", Kind::XaEnd),
        ("XA COMMIT X'31',X'',1", Kind::XaCommit),
        ("XA RECOVER", Kind::Unknown),
        ("CREATE TABLE t (a int) START TRANSACTION", Kind::Ddl),
        ("ALTER TABLE t ADD a int", Kind::Ddl),
        ("RENAME TABLE t TO u", Kind::Ddl),
        ("RENAME TABLE t", Kind::Unknown),
        ("TRUNCATE TABLE t", Kind::Ddl),
        ("LOAD DATA INFILE 'x' INTO TABLE t", Kind::Dml),
        ("TABLE t", Kind::Dml),
        ("", Kind::Harmless),
        (" -- nothing", Kind::Harmless),
        ("/* nothing */ ;", Kind::Harmless),
        ("FROBNICATE t", Kind::Unknown),
        ("(SELECT 1)", Kind::Unknown),
        (
            "GRANT ALL ON *.* TO a; INSERT INTO t VALUES (1)",
            Kind::Unknown,
        ),
    ] {
        assert_eq!(kind_of(statement), expected, "{statement}");
    }
}

/// Each of these was, or could be, taken for something that changes no row.
#[test]
fn what_changes_rows_is_never_harmless() {
    for statement in [
        "/*!50000 INSERT INTO shop.t VALUES (1,'x') */",
        "/*!50000 INSERT*/ INTO shop.t VALUES (1)",
        "/*! INSERT */ INTO t VALUES (1)",
        "/*!99999 INSERT*/ /*!99999 INTO t VALUES (1)*/",
        "/*M! INSERT INTO t VALUES (1) */",
        "/*M!100100 INSERT INTO t VALUES (1) */",
        "/*!999999 SAVEPOINT a */ INSERT INTO t VALUES (1)",
        "/*!80000 SAVEPOINT a */ /*!100000 INSERT INTO t VALUES (1) */",
        "/*!999999 SAVEPOINT a -- */ INSERT INTO t VALUES (1)",
        "/*!999999 SAVEPOINT '*/ INSERT INTO t VALUES ('*/ '",
        "/*!50000 SAVEPOINT a /* */ */ INSERT INTO t VALUES (1)",
        "/* tool */ insert into t values (1)",
        "-- note\n# more\n update t set a = 1",
        "--\tnote\ninsert t values (1)",
        "SET STATEMENT max_statement_time=60 FOR INSERT INTO shop.t VALUES (1)",
        "SET STATEMENT a=1, b=(SELECT 1 FOR UPDATE) FOR\nDELETE FROM t",
        "SET STATEMENT a=1 FOR SET STATEMENT b=1 FOR UPDATE t SET a=1",
        "SET STATEMENT a=1",
        "/*!100200 SET STATEMENT a=1 FOR*/ REPLACE t VALUES (1)",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "ANALYZE UPDATE t SET a = 1",
        "ANALYZE FORMAT=JSON INSERT INTO t VALUES (1)",
        "CALL p()",
        "DO f()",
        "SET @a = f()",
        "EXECUTE IMMEDIATE 'DELETE FROM t'",
        "HANDLER t OPEN",
        "IMPORT TABLE FROM 'x'",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TABLE t SELECT 1",
        "CREATE TABLE t (SELECT 1)",
        "CREATE TABLE t (a int) SELECT 1 AS a",
        "CREATE TABLE t (a int, KEY (a)) ENGINE=InnoDB REPLACE AS (SELECT 1 AS a)",
        "CREATE TABLE IF NOT EXISTS t IGNORE SELECT * FROM u",
        "CREATE OR REPLACE TABLE t AS WITH x AS (SELECT 1) SELECT * FROM x",
        "CREATE TABLE t AS VALUES ROW(1), ROW(2)",
        "CREATE TABLE t TABLE u",
        "CREATE TABLE t (a int) /*!99999 AS SELECT 1 */",
        "CREATE TABLE t (a int DEFAULT 1.) SELECT 1 AS a",
        "CREATE TABLE t (a int)\u{a0}SELECT 1 AS a",
        "CREATE TEMPORARY TABLE t AS SELECT f()",
        "CREATE TABLE t LIKE u; INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a int COMMENT 'it''s') SELECT 1",
        "CREATE TABLE t (a int COMMENT 'it\\'s') SELECT 1",
        "CREATE TABLE t (`a``` int COMMENT \"it's\") SELECT 1",
        "INSERT INTO t VALUES ('unterminated)",
        "SAVEPOINT a /* unterminated",
        "SAVEPOINT a */ INSERT INTO t VALUES (1)",
    ] {
        let kind = kind_of(statement);
        assert!(
            [Kind::Dml, Kind::Unknown].contains(&kind),
            "{kind:?}: {statement}"
        );
    }
}

#[test]
fn what_changes_no_row_is_no_dml() {
    for statement in [
        "/*!40000 ALTER TABLE `t` DISABLE KEYS */",
        "/*!50003 DROP PROCEDURE IF EXISTS `p` */",
        "/*!50001 CREATE ALGORITHM=UNDEFINED */ /*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */ \
         /*!50001 VIEW `v` AS SELECT 1 AS `a` */",
        "/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER x BEFORE INSERT ON t FOR EACH \
         ROW BEGIN INSERT INTO u VALUES (1); DELETE FROM u; END */",
        "/*!50106 CREATE*/ /*!50117 DEFINER=CURRENT_USER()*/ /*!50106 EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t */",
        "CREATE DEFINER='a'@'%' PROCEDURE p() BEGIN UPDATE t SET a = 1; END",
        "CREATE DEFINER=`a`@`%` AGGREGATE FUNCTION f(x int) RETURNS int RETURN (SELECT 1)",
        "CREATE OR REPLACE SQL SECURITY INVOKER VIEW v AS SELECT * FROM t",
        "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */ \
         /*!80016 DEFAULT ENCRYPTION='N' */",
        "CREATE TABLE `select` (`select` int, b int CHECK (b > 0), KEY `table` (b)) COMMENT 'SELECT 1'",
        "CREATE TABLE shop.select (a int)",
        "CREATE TABLE t (a int /*!80023 INVISIBLE */, FULLTEXT KEY k (b) /*!50100 WITH PARSER `ngram` */) \
         /*!50100 PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE) */",
        "CREATE TABLE t (a int) WITH SYSTEM VERSIONING PARTITION BY LIST (a) (PARTITION p VALUES IN (1))",
        "CREATE TABLE x LIKE t",
        "CREATE TABLE x (a int REFERENCES t (id))",
        "CREATE TEMPORARY TABLE x (a int)",
        "CREATE TABLE t (a int);",
        "CREATE SPATIAL REFERENCE SYSTEM 1 NAME 'x'",
        "CREATE UNIQUE INDEX i ON t (a)",
        "CREATE USER 'p'@'%' IDENTIFIED BY 'INSERT'",
        "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `x`",
        "DROP TABLE `a`, b.`c` /* generated by server */",
        "DROP USER p",
        "ALTER USER p ACCOUNT LOCK",
        "ALTER DATABASE shop CHARACTER SET latin1",
        "ALTER INSTANCE ROTATE INNODB MASTER KEY",
        "ANALYZE TABLE t",
        "OPTIMIZE NO_WRITE_TO_BINLOG TABLES a, b",
        "REPAIR LOCAL TABLE t",
        "FLUSH TABLES",
        "GRANT SELECT ON shop.t TO p",
        "REVOKE ALL ON *.* FROM p",
        "SET PASSWORD FOR 'a'@'b' = PASSWORD('x')",
        "SET DEFAULT ROLE r FOR p",
        "SET STATEMENT max_statement_time=60 FOR ALTER TABLE t ADD a int",
        "SET STATEMENT sql_mode='' FOR CREATE USER x",
        "INSTALL PLUGIN x SONAME 'y'",
        "RENAME USER a TO b",
    ] {
        let kind = kind_of(statement);
        assert!(
            [Kind::Ddl, Kind::Harmless].contains(&kind),
            "{kind:?}: {statement}"
        );
    }
}

#[test]
fn the_settings_of_the_session_tell_what_is_a_string() {
    const ANSI_QUOTES: u64 = 4;
    const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
    let kind = |mode, collation, statement: &[u8]| {
        let body = body_of("shop", mode, collation, statement);
        LoggedStatement::parse(&body).unwrap().kind()
    };
    let backslash = b"CREATE TABLE t (a int COMMENT '\\') SELECT 1 AS b, '";
    assert_eq!(kind(0, 45, backslash), Kind::Ddl, "all of it is a comment");
    let closed = b"CREATE TABLE t (a int COMMENT '\\') SELECT 1 AS b";
    assert_eq!(kind(NO_BACKSLASH_ESCAPES, 45, closed), Kind::Dml);
    assert_eq!(kind(0, 45, closed), Kind::Unknown);
    let quotes = b"CREATE TABLE \"t\\\" (a int) SELECT 1 AS \"b\"";
    assert_eq!(kind(ANSI_QUOTES, 45, quotes), Kind::Dml);
    assert_eq!(kind(0, 45, quotes), Kind::Unknown);
    // 0x5c is the end of a character in gbk (28), sjis (13), cp932 (95), big5 (1) and gb18030 (248).
    let wide = b"CREATE TABLE t (a int COMMENT '\xb0\x5c') SELECT 1 AS b";
    for collation in [28, 13, 95, 1, 248] {
        let lead = if [13, 95].contains(&collation) {
            0x83
        } else {
            0xb0
        };
        let statement: Vec<u8> = wide
            .iter()
            .map(|byte| if *byte == 0xb0 { lead } else { *byte })
            .collect();
        assert_eq!(kind(0, collation, &statement), Kind::Dml, "{collation}");
    }
    assert_eq!(kind(0, 8, wide), Kind::Unknown, "latin1");
    // Without settings nobody knows.
    let mut bare = vec![0; 14];
    bare.extend_from_slice(backslash);
    assert_eq!(LoggedStatement::parse(&bare).unwrap().kind(), Kind::Unknown);
}

fn writes_only(statement: &str, listed: &str) -> bool {
    let body = body("shop", statement);
    let logged = LoggedStatement::parse(&body).unwrap();
    logged.writes_only(|schema, table| format!("{schema}.{table}") == listed)
}

#[test]
fn the_table_that_dml_writes_is_told_if_it_is_certain() {
    for statement in [
        "INSERT INTO percona.heartbeat VALUES (1)",
        "REPLACE INTO `percona`.`heartbeat` (ts) VALUES ('x')",
        "insert low_priority ignore percona . heartbeat (a) select * from x",
        "UPDATE percona.heartbeat SET a = 1 WHERE b IN (SELECT 1)",
        "UPDATE LOW_PRIORITY percona.heartbeat PARTITION (p) AS h SET h.a = 1",
        "DELETE FROM percona.heartbeat",
        "DELETE QUICK FROM percona.heartbeat h WHERE a = 1 LIMIT 5",
        "SET STATEMENT max_statement_time=1 FOR INSERT INTO percona.heartbeat VALUES (1)",
        "/*!50000 INSERT INTO percona.heartbeat VALUES (1) */",
        "CREATE TABLE percona.heartbeat AS SELECT 1",
        "LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE percona.heartbeat (a, b)",
    ] {
        assert!(writes_only(statement, "percona.heartbeat"), "{statement}");
    }
    assert!(writes_only("INSERT INTO log VALUES (1)", "shop.log"));
    for statement in [
        "UPDATE percona.heartbeat, shop.t SET a = 1",
        "UPDATE percona.heartbeat h JOIN shop.t SET t.a = 1",
        "UPDATE percona.heartbeat JOIN t SET t.a = 1",
        "UPDATE (percona.heartbeat) SET a = 1",
        "DELETE percona.heartbeat FROM percona.heartbeat",
        "DELETE FROM percona.heartbeat, t USING percona.heartbeat, t",
        "DELETE FROM percona.heartbeat USING percona.heartbeat, t",
        "DELETE FROM percona.heartbeat.*",
        "WITH x AS (SELECT 1) UPDATE percona.heartbeat SET a = 1",
        "CALL percona.heartbeat()",
        "INSERT INTO heartbeat VALUES (1)",
        "INSERT INTO percona.heartbeat2 VALUES (1)",
        "INSERT INTO /*!99999 percona.heartbeat -- */ shop.t VALUES (1)",
        "INSERT INTO /*!99999 percona.heartbeat */ /*!99998 shop.t */ VALUES (1)",
        "INSERT INTO /*!99999 percona. */ heartbeat VALUES (1)",
        "SAVEPOINT a",
        "FROBNICATE percona.heartbeat",
    ] {
        let is_change = !matches!(kind_of(statement), Kind::Ddl | Kind::Harmless);
        assert!(
            !is_change || !writes_only(statement, "percona.heartbeat"),
            "{statement}"
        );
    }
    let body = body("", "INSERT INTO heartbeat VALUES (1)");
    let logged = LoggedStatement::parse(&body).unwrap();
    assert!(
        !logged.writes_only(|_, _| true),
        "there is no default schema"
    );
    assert!(logged.may_write("percona", "heartbeat"));
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn rows_that_come_and_go_without_events_are_known() {
    let ask = |statement: &str, table: &str| {
        let body = body("shop", statement);
        let logged = LoggedStatement::parse(&body).unwrap();
        (
            logged.may_bring_rows("shop", table),
            logged.may_empty("shop", table),
        )
    };
    for (statement, expected) in [
        (
            "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE x",
            (true, false),
        ),
        (
            "ALTER TABLE x EXCHANGE PARTITION p WITH TABLE shop.T WITHOUT VALIDATION",
            (true, false),
        ),
        (
            "/*!50600 ALTER TABLE x EXCHANGE PARTITION p WITH TABLE t */",
            (true, false),
        ),
        (
            "ALTER TABLE a.x EXCHANGE PARTITION p WITH TABLE a.t",
            (false, false),
        ),
        (
            "ALTER TABLE x CONVERT PARTITION p TO TABLE t",
            (true, false),
        ),
        (
            "ALTER TABLE t CONVERT PARTITION p TO TABLE x",
            (false, true),
        ),
        (
            "ALTER TABLE t CONVERT TABLE x TO PARTITION p VALUES LESS THAN (5)",
            (true, false),
        ),
        (
            "ALTER TABLE x CONVERT TABLE t TO PARTITION p VALUES LESS THAN (5)",
            (true, false),
        ),
        ("ALTER TABLE t IMPORT TABLESPACE", (true, false)),
        (
            "ALTER TABLE t IMPORT PARTITION p, q TABLESPACE",
            (true, false),
        ),
        ("ALTER TABLE t DISCARD TABLESPACE", (false, true)),
        ("ALTER TABLE t FROBNICATE", (true, false)),
        ("ALTER TABLE x FROBNICATE", (false, false)),
        ("ALTER TABLE x FROBNICATE WITH t", (true, false)),
        (
            "ALTER TABLE t ADD COLUMN a int, EXCHANGE PARTITION p WITH TABLE x",
            (true, false),
        ),
        (
            "ALTER TABLE t ALGORITHM=INPLACE, DROP PARTITION p0, p1",
            (false, true),
        ),
        ("ALTER TABLE t TRUNCATE PARTITION ALL", (false, true)),
        ("ALTER TABLE t DROP COLUMN a", (false, false)),
        (
            "ALTER TABLE t REORGANIZE PARTITION a INTO (PARTITION b VALUES LESS THAN (1))",
            (false, false),
        ),
        ("TRUNCATE t", (false, true)),
        ("TRUNCATE TABLE other.t", (false, false)),
        ("DROP TABLE IF EXISTS x, `T`", (false, true)),
        ("DROP TEMPORARY TABLE t", (false, false)),
        ("DROP DATABASE shop", (false, true)),
        ("DROP DATABASE x", (false, false)),
        ("CREATE OR REPLACE TABLE t (a int)", (false, true)),
        ("CREATE TABLE t (a int)", (false, false)),
    ] {
        assert_eq!(ask(statement, "t"), expected, "{statement}");
    }
}

#[test]
fn a_huge_statement_takes_little_and_is_judged_by_its_begin() {
    let values = "(1),".repeat(200_000);
    let insert = format!("INSERT INTO audit.log VALUES {values}(1)");
    assert_eq!(kind_of(&insert), Kind::Dml);
    assert!(writes_only(&insert, "audit.log"));
    let create = format!("CREATE TABLE t (a int) UNION=({}t)", "t,".repeat(200_000));
    assert_eq!(kind_of(&create), Kind::Unknown);
}

/// White space, comments and cases with which servers read the same statement.
fn between() -> impl Strategy<Value = String> {
    let spaces = [
        "\t", "\n", "\r\n", " ", "/**/", "/* x */", "-- x\n", "--\n", "# x\n", "/*!*/", "/*! */",
        "\u{b}",
    ];
    prop::collection::vec(prop::sample::select(spaces.to_vec()), 1..4)
        .prop_map(|parts| parts.concat())
}

/// Words, disguised: each in some case, and perhaps in a comment that some server reads.
pub(super) fn disguised(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = |word: &'static str| {
        let openings = [
            "",
            "/*!",
            "/*!50000 ",
            "/*!50713 ",
            "/*!80000 ",
            "/*!99999 ",
            "/*!100108 ",
            "/*M! ",
            "/*M!100500 ",
        ];
        (
            prop::sample::select(openings.to_vec()),
            any::<u32>(),
            between(),
        )
            .prop_map(move |(opening, cases, between)| {
                let letter = |(at, letter): (usize, char)| {
                    if cases >> (at % 32) & 1 == 1 {
                        letter.to_ascii_lowercase()
                    } else {
                        letter
                    }
                };
                let word: String = word.chars().enumerate().map(letter).collect();
                let closing = if opening.is_empty() { "" } else { " */" };
                format!("{opening}{word}{closing}{between}")
            })
    };
    let words: Vec<_> = words.iter().map(|text| word(text)).collect();
    (between(), words).prop_map(|(before, words)| before + &words.concat())
}

proptest! {
    #[test]
    fn no_disguise_makes_a_change_harmless(
        statement in prop_oneof![
            disguised(&["INSERT", "INTO", "t", "VALUES", "(1)"]),
            disguised(&["REPLACE", "t", "SET", "a=1"]),
            disguised(&["UPDATE", "shop.t", "SET", "a=1"]),
            disguised(&["DELETE", "FROM", "t"]),
            disguised(&["SET", "STATEMENT", "a=1", "FOR", "INSERT", "INTO", "t", "VALUES", "(1)"]),
            disguised(&["CREATE", "TABLE", "t", "(a int)", "SELECT", "1"]),
            disguised(&["CREATE", "TABLE", "IF", "NOT", "EXISTS", "t", "AS", "TABLE", "u"]),
            disguised(&["WITH", "x", "AS", "(SELECT 1)", "UPDATE", "t", "SET", "a=1"]),
            disguised(&["LOAD", "DATA", "INFILE", "'x'", "INTO", "TABLE", "t"]),
            disguised(&["CALL", "p()"]),
        ],
    ) {
        let body = body("shop", &statement);
        let logged = LoggedStatement::parse(&body).unwrap();
        prop_assert!(matches!(logged.kind(), Kind::Dml | Kind::Unknown), "{:?} {}", logged.kind(), statement);
        prop_assert!(!logged.writes_only(|_, table| table == "other"));
    }

    #[test]
    fn no_bytes_make_it_panic(
        statement in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"/*!-'`\" ,().;#\n".to_vec())], 0..80),
        mode in any::<u64>(),
        collation in 0_u16..320,
    ) {
        let body = body_of("s", mode, collation, &statement);
        let logged = LoggedStatement::parse(&body).unwrap();
        drop(logged.change("s", "t"));
        logged.may_bring_rows("s", "t");
        drop(LoggedStatement::parse(&statement));
    }
}
