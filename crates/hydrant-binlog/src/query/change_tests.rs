//! Which statements may change the columns of a table.

use proptest::prelude::*;

use super::super::tests::{body, body_of, disguised};
use super::super::*;

fn change(statement: &str) -> Change {
    let body = body("shop", statement);
    LoggedStatement::parse(&body).unwrap().change("shop", "p")
}

#[test]
fn statements_that_leave_the_columns_alone_are_known() {
    for statement in [
        "ALTER TABLE x ADD COLUMN p int",
        "ALTER TABLE other.p ADD COLUMN a int",
        "CREATE TABLE x (a int, FOREIGN KEY (a) REFERENCES p (a))",
        "CREATE TABLE x LIKE p",
        "CREATE TEMPORARY TABLE p (a int)",
        "CREATE VIEW x AS SELECT * FROM p",
        "CREATE OR REPLACE DEFINER=`p`@`p` VIEW p AS SELECT * FROM p",
        "CREATE TRIGGER x BEFORE INSERT ON p FOR EACH ROW SET NEW.a = 1",
        "CREATE PROCEDURE p() ALTER TABLE p ADD COLUMN a int",
        "CREATE EVENT p ON SCHEDULE EVERY 1 DAY DO ALTER TABLE p ADD COLUMN a int",
        "CREATE USER 'p'@'%' IDENTIFIED BY 'p'",
        "CREATE ROLE p",
        "CREATE INDEX i ON p (a)",
        "CREATE FULLTEXT INDEX i ON p (a)",
        "CREATE OR REPLACE SEQUENCE p",
        "DROP INDEX p ON p",
        "DROP TRIGGER p",
        "DROP TEMPORARY TABLE p",
        "TRUNCATE TABLE p",
        "GRANT SELECT ON shop.p TO p",
        "ANALYZE TABLE p",
        "OPTIMIZE TABLE p",
        "INSERT INTO p VALUES (1)",
        "ALTER DATABASE shop CHARACTER SET latin1",
        "CREATE DATABASE shop",
        "RENAME USER p TO q",
        "/*!40000 ALTER TABLE `p` DISABLE KEYS */",
        "/*!40000 ALTER TABLE `p` ENABLE KEYS */",
        "ALTER TABLE p DROP PARTITION a, b",
        "ALTER TABLE p ALGORITHM=INPLACE, LOCK=NONE, TRUNCATE PARTITION a, b",
        "ALTER TABLE p ADD PARTITION (PARTITION a VALUES LESS THAN (10), PARTITION b VALUES LESS THAN (20))",
        "ALTER TABLE p ADD PARTITION PARTITIONS 4",
        "ALTER TABLE p REORGANIZE PARTITION a, b INTO (PARTITION c VALUES LESS THAN (20))",
        "ALTER TABLE p COALESCE PARTITION 4",
        "ALTER TABLE p ANALYZE PARTITION ALL",
        "ALTER TABLE p REBUILD PARTITION a, b",
        "ALTER TABLE p EXCHANGE PARTITION a WITH TABLE x WITHOUT VALIDATION",
        "ALTER TABLE p PARTITION BY RANGE (a) (PARTITION a VALUES LESS THAN (1), PARTITION b VALUES LESS THAN (2))",
        "ALTER TABLE p COMMENT='x' PARTITION BY HASH (a) PARTITIONS 4",
        "ALTER TABLE p REMOVE PARTITIONING",
        "ALTER TABLE p CONVERT PARTITION a TO TABLE x",
        "ALTER TABLE p DISCARD TABLESPACE",
        "ALTER TABLE p ADD INDEX i (a), ADD UNIQUE KEY (b), DROP KEY j, RENAME INDEX k TO l, ALTER INDEX m INVISIBLE",
        "ALTER TABLE p ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES x (a) ON DELETE SET NULL, DROP FOREIGN KEY d",
        "ALTER TABLE p ADD CONSTRAINT UNIQUE (a), DROP CHECK c, ADD CHECK (a > 0), ALTER CHECK c NOT ENFORCED",
        "ALTER TABLE p COMMENT = _utf8mb4'ADD COLUMN a int', ENGINE = InnoDB AUTO_INCREMENT 5, ROW_FORMAT=DYNAMIC",
        "ALTER TABLE p ORDER BY a, b DESC",
        "ALTER TABLE p FORCE, STATS_PERSISTENT=0, STATS_SAMPLE_PAGES=DEFAULT",
        "ALTER TABLE p ALTER COLUMN a SET DEFAULT 5, ALTER b DROP DEFAULT, ALTER c SET DEFAULT (1 + 2)",
        "ALTER ONLINE IGNORE TABLE IF EXISTS p WAIT 5 FORCE",
        "SET STATEMENT lock_wait_timeout=1 FOR ALTER TABLE p COMMENT 'x'",
        "ALTER TABLE `p` UNION=(`a`,`b`), DATA DIRECTORY='x'",
        "",
    ] {
        assert_eq!(change(statement), Change::None, "{statement}");
    }
}

#[test]
fn statements_that_may_change_the_columns_are_known() {
    for statement in [
        "CREATE TABLE p (a int)",
        "CREATE TABLE IF NOT EXISTS shop.P (a int)",
        "CREATE OR REPLACE TABLE p SELECT 1",
        "DROP TABLE x, p",
        "DROP DATABASE shop",
        "RENAME TABLE x TO y, p TO z",
        "RENAME TABLE x TO `shop`.`p`",
        "ALTER TABLE x RENAME TO p",
        "ALTER TABLE x RENAME p",
        "ALTER TABLE x RENAME = p, ADD INDEX (a)",
        "ALTER TABLE p RENAME TO x",
        "ALTER TABLE p CONVERT TO CHARACTER SET utf8mb4",
        "ALTER TABLE x CONVERT PARTITION a TO TABLE p",
        "ALTER TABLE p ADD SYSTEM VERSIONING",
        "ALTER TABLE p DROP SYSTEM VERSIONING",
        "ALTER TABLE p ADD PERIOD FOR x (a, b)",
        "ALTER TABLE p FROBNICATE",
        "ALTER TABLE x FROBNICATE p",
        "ALTER TABLE p DROP PARTITION a, ADD COLUMN b int",
        "ALTER DATABASE `#mysql50#a` UPGRADE DATA DIRECTORY NAME",
        "FROBNICATE p",
        "CALL p()",
        "ALTER TABLE p COMMENT 'unterminated",
        "CREATE TABLE /*!99999 x (a int) -- */ p (a int)",
    ] {
        assert_eq!(change(statement), Change::Any, "{statement}");
    }
    for statement in [
        "ALTER TABLE p ADD COLUMN b int",
        "ALTER TABLE p ADD b int, ADD INDEX (b)",
        "ALTER TABLE p MODIFY b double(10,3) AFTER c",
        "ALTER TABLE p CHANGE a `B` int",
        "ALTER TABLE p DROP `b`",
        "ALTER TABLE p DROP COLUMN b, ALGORITHM=INSTANT",
        "ALTER TABLE p RENAME COLUMN a TO b",
        "ALTER TABLE p ALTER COLUMN b SET INVISIBLE",
        "ALTER TABLE p ADD PRIMARY KEY (b)",
        "ALTER TABLE p ADD CONSTRAINT PRIMARY KEY (b)",
        "ALTER TABLE p DEFAULT CHARSET=utf8mb4, ADD COLUMN b text",
        "/*!40000 ALTER TABLE p MODIFY b int */",
        "SET STATEMENT lock_wait_timeout=1 FOR ALTER TABLE p MODIFY b int",
        "ALTER TABLE p ADD COLUMN vector int, DROP b",
        "ALTER TABLE p COMMENT 'x' /*!99999 , MODIFY b int */",
    ] {
        let change = change(statement);
        assert!(
            matches!(change, Change::Mentioned(_)),
            "{change:?} {statement}"
        );
        assert!(
            change.may_concern("B") && !change.may_concern("Price"),
            "{statement}"
        );
        assert!(change.may_concern("größe"), "{statement}");
    }
}

#[test]
fn names_are_compared_as_servers_may_compare_them() {
    let asked = |collation, statement: &[u8], table: &str| {
        let body = body_of("shop", 0, collation, statement);
        let logged = LoggedStatement::parse(&body).unwrap();
        logged.change("shop", table).is_possible()
    };
    let statement = "DROP TABLE `GRÖSSE`".as_bytes();
    assert!(asked(45, statement, "grösse"));
    assert!(!asked(45, statement, "größe"));
    assert!(asked(8, b"DROP TABLE `gr\xf6\xdfe`", "größe"), "latin1");
    assert!(asked(8, b"DROP TABLE gr\xf6\xdfe", "x"), "latin1");
    assert!(asked(45, b"DROP TABLE `a``b`", "A`b"));
    assert!(!asked(45, b"DROP TABLE `a``b`", "ab"));
    assert!(!asked(45, b"DROP TABLE x.p", "p"));
    let body = body("", "DROP TABLE p");
    let logged = LoggedStatement::parse(&body).unwrap();
    assert!(logged.change("shop", "p").is_possible(), "in which schema?");
}

proptest! {
    #[test]
    fn no_disguise_hides_a_change_of_columns(
        statement in prop_oneof![
            disguised(&["ALTER", "TABLE", "p", "ADD", "COLUMN", "b", "int"]),
            disguised(&["ALTER", "TABLE", "p", "COMMENT", "'x'", ",", "DROP", "b"]),
            disguised(&["RENAME", "TABLE", "x", "TO", "p"]),
            disguised(&["CREATE", "TABLE", "p", "(a int)"]),
            disguised(&["DROP", "TABLE", "IF", "EXISTS", "p"]),
        ],
    ) {
        prop_assert!(change(&statement).is_possible(), "{}", statement);
    }
}
