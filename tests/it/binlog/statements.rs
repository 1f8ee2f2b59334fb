//! What servers log as statements: changes of rows stop the agent until somebody decides, and nothing else does.

use std::process::Output;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, place_to_pass_over};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use crate::setup::shop::{config, shop};
use testkit::servers::{Kind, Server};

const STATEMENT: &str = "SET SESSION binlog_format = 'STATEMENT'; USE shop;";
const MIXED: &str = "SET SESSION binlog_format = 'MIXED'; USE shop;";
const ALL_EVENTS: &str = "name = \"shop.T\"\nevents = [\"insert\", \"update\", \"delete\"]";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Changes of rows in all disguises that were ever taken for something harmless.
fn changes(kind: Kind) -> Vec<String> {
    let mut changes = vec![
        format!("{STATEMENT} INSERT INTO T VALUES (100, 'x')"),
        format!("{STATEMENT} /*!50000 INSERT INTO shop.T VALUES (101, 'x') */"),
        format!("{STATEMENT} /*!50000 INSERT*/ INTO shop.T VALUES (102, 'x')"),
        format!("{STATEMENT} /*! UPDATE */ T /*!50000 SET note = 'y' */ WHERE id = 101"),
        format!("{STATEMENT} UPDATE T, Other SET T.note = 'z', Other.note = 'z'"),
        format!("{STATEMENT} DELETE T FROM T JOIN Other USING (id)"),
        format!("{STATEMENT} CREATE TABLE A1 AS SELECT 1 AS id"),
        format!("{STATEMENT} CREATE TABLE A2 (id int) SELECT 1 AS id"),
        format!("{MIXED} CREATE TABLE A3 (id int, KEY (id)) ENGINE = InnoDB AS (SELECT 2 AS id)"),
        format!("{STATEMENT} /*!50000 CREATE TABLE A4 */ /*!50000 AS SELECT 1 AS id */"),
        format!("{STATEMENT} CREATE TABLE A5 AS WITH x AS (SELECT 1 AS id) SELECT * FROM x"),
        format!("{MIXED} INSERT INTO Other VALUES (1, 'x')"),
        format!("{STATEMENT} CALL change_other()"),
        format!("{STATEMENT} SELECT write_other()"),
    ];
    if kind == Kind::Mysql {
        changes.extend([
            format!("{STATEMENT} CREATE TABLE A6 AS VALUES ROW(1), ROW(2)"),
            format!("{STATEMENT} CREATE TABLE A7 TABLE Other"),
            format!("{STATEMENT} WITH x AS (SELECT 1 AS id) UPDATE T SET note = 'w' WHERE id IN (SELECT id FROM x)"),
        ]);
    } else {
        changes.extend([
            format!("{STATEMENT} SET STATEMENT max_statement_time = 60 FOR INSERT INTO shop.T VALUES (103, 'x')"),
            format!("{STATEMENT} /*M!100100 INSERT INTO T VALUES (104, 'x') */"),
            format!("{STATEMENT} /*M! SET STATEMENT max_statement_time = 60 FOR */ REPLACE T VALUES (105, 'x')"),
            format!("{STATEMENT} CREATE OR REPLACE TABLE A1 AS SELECT 3 AS id"),
            format!("{STATEMENT} ANALYZE UPDATE T SET note = 'v'"),
            format!("{STATEMENT} EXECUTE IMMEDIATE 'DELETE FROM T WHERE id = 105'"),
            format!("{MIXED} CREATE TEMPORARY TABLE A8 AS SELECT 1 AS id"),
        ]);
    }
    changes
}

/// Each stops the agent with its position; `--pass-over` with that position goes on behind it, and no further.
fn changes_stop_and_can_be_passed_over(kind: Kind) -> Result<()> {
    let server = shop(kind, &["--log-bin-trust-function-creators=ON"])?;
    server.sql(
        "USE shop; CREATE TABLE Other (id int, note text); CREATE PROCEDURE change_other() INSERT INTO Other \
         VALUES (7, 'p'); CREATE FUNCTION write_other() RETURNS int DETERMINISTIC RETURN (SELECT 1)",
    )?;
    server.sql(
        "USE shop; DROP FUNCTION write_other;\nDELIMITER //\n\
         CREATE FUNCTION write_other() RETURNS int DETERMINISTIC BEGIN INSERT INTO Other VALUES (8, 'f'); \
         RETURN 1; END//\n",
    )?;
    let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
    assert_eq!(workplace.drain()?, "");
    for (number, change) in changes(kind).iter().enumerate() {
        server.sql(change).with_context(|| change.clone())?;
        server.sql(&format!("INSERT INTO shop.T VALUES ({number}, 'after')"))?;
        let output = workplace.run(&["--until", "now"])?;
        let log = stderr(&output);
        assert_eq!(output.status.code(), Some(65), "{change}: {log}");
        assert!(output.stdout.is_empty(), "{change}");
        assert!(
            log.contains("remedy: ") && log.contains("binlog_format=ROW"),
            "{change}: {log}"
        );
        let place = place_to_pass_over(&log)?;
        assert!(
            log.contains(&format!("binlog event at {place}")),
            "{change}: {log}"
        );
        // The wrong place helps nothing.
        let wrong = workplace.run(&["--until", "now", "--pass-over", "binlog.000001:4"])?;
        assert_eq!(wrong.status.code(), Some(65), "{change}");
        let passed = workplace.run(&["--until", "now", "--pass-over", &place])?;
        let log = stderr(&passed);
        ensure!(passed.status.success(), "{change}: {log}");
        ensure!(
            log.contains("WARN") && log.contains(&format!("passed over the event at {place}")),
            "{log}"
        );
        assert_eq!(
            String::from_utf8(passed.stdout)?,
            format!("{number},after\n"),
            "{change}"
        );
    }
    Ok(())
}

#[test]
fn changes_by_statements_stop_an_agent_of_mysql() -> Result<()> {
    changes_stop_and_can_be_passed_over(Kind::Mysql)
}

#[test]
fn changes_by_statements_stop_an_agent_of_mariadb() -> Result<()> {
    changes_stop_and_can_be_passed_over(Kind::Mariadb)
}

#[test]
fn changes_by_statements_stop_an_agent_of_mariadb_11() -> Result<()> {
    changes_stop_and_can_be_passed_over(Kind::Mariadb11)
}

/// What changes no row, as sessions of all formats log it.
#[test]
fn statements_that_change_no_row_stop_nobody() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &["--log-bin-trust-function-creators=ON"])?;
        let common = "CREATE DATABASE /*!32312 IF NOT EXISTS*/ extra /*!40100 DEFAULT CHARACTER SET utf8mb4 */; \
             ALTER DATABASE extra CHARACTER SET latin1; \
             CREATE TABLE `select` (`select` int, b int DEFAULT 1 COMMENT 'AS SELECT 1', KEY `table` (b)) \
               COMMENT = 'it''s \\' a SELECT'; \
             CREATE TABLE Parts (id int, day date) /*!50100 PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN \
               (10), PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN MAXVALUE) */; \
             ALTER TABLE Parts DROP PARTITION p0; ALTER TABLE Parts TRUNCATE PARTITION p1; \
             ALTER TABLE Parts REORGANIZE PARTITION p1, p2 INTO (PARTITION p3 VALUES LESS THAN MAXVALUE); \
             CREATE TABLE Alike LIKE Parts; CREATE TABLE Single LIKE Parts; ALTER TABLE Single REMOVE PARTITIONING; \
             ALTER TABLE Parts EXCHANGE PARTITION p3 WITH TABLE Single; \
             /*!40000 ALTER TABLE `T` DISABLE KEYS */; /*!40000 ALTER TABLE `T` ENABLE KEYS */; \
             CREATE TEMPORARY TABLE Tmp (id int); DROP TEMPORARY TABLE Tmp; \
             /*!50001 CREATE ALGORITHM=UNDEFINED */ /*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */ \
               /*!50001 VIEW `v` AS SELECT * FROM T */; \
             CREATE OR REPLACE VIEW v AS SELECT 1; ALTER VIEW v AS SELECT 2; DROP VIEW v; \
             CREATE INDEX i ON Parts (day); DROP INDEX i ON Parts; ANALYZE TABLE T; OPTIMIZE TABLE T; REPAIR TABLE T; \
             CREATE USER 'p'@'%' IDENTIFIED BY 'INSERT INTO'; GRANT SELECT ON shop.T TO 'p'@'%'; \
             ALTER USER 'p'@'%' ACCOUNT LOCK; SET PASSWORD FOR 'p'@'%' = 'xy'; RENAME USER 'p'@'%' TO 'q'@'%'; \
             CREATE ROLE r; GRANT r TO 'q'@'%'; REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'q'@'%'; DROP ROLE r; \
             DROP USER 'q'@'%'; FLUSH TABLES; \
             CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM T; ALTER EVENT e RENAME TO f; DROP EVENT f; \
             CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h'); ALTER SERVER s OPTIONS (USER 'u'); \
             DROP SERVER s; TRUNCATE Parts; RENAME TABLE Parts TO Away; DROP TABLE Away, Alike, Single, `select`; \
             DROP DATABASE extra;\nDELIMITER //\n\
             CREATE DEFINER=CURRENT_USER PROCEDURE p() BEGIN INSERT INTO T VALUES (1, 'never'); DELETE FROM T; END//\n\
             CREATE FUNCTION f() RETURNS int DETERMINISTIC BEGIN DELETE FROM T; RETURN 1; END//\n\
             /*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER g BEFORE INSERT ON T FOR EACH \
             ROW BEGIN SET NEW.note = NEW.note; END */ //\n\
             DELIMITER ;\n\
             ALTER PROCEDURE p COMMENT 'x'; DROP TRIGGER g; DROP FUNCTION f; DROP PROCEDURE p;";
        let own = if kind == Kind::Mysql {
            "CREATE TABLE Gen (a int, b int AS (a + 1), c int /*!80023 INVISIBLE */, CHECK (a > 0) /*!80016 NOT ENFORCED */); \
             ALTER TABLE Gen RENAME COLUMN c TO d; DROP TABLE Gen; \
             CREATE SPATIAL REFERENCE SYSTEM 999000005 NAME 'x' DEFINITION 'GEOGCS[\"Greek\",DATUM[\"Greek\",\
             SPHEROID[\"Bessel 1841\",6377397.155,299.1528128]],PRIMEM[\"Greenwich\",0],\
             UNIT[\"degree\",0.017453292519943278],AXIS[\"Lat\",NORTH],AXIS[\"Lon\",EAST]]'; DROP SPATIAL REFERENCE SYSTEM 999000005; \
             CREATE UNDO TABLESPACE u ADD DATAFILE 'u.ibu'; CREATE TABLESPACE ts ADD DATAFILE 'ts.ibd'; \
             DROP TABLESPACE ts; SET DEFAULT ROLE NONE TO root@localhost;"
                .to_owned()
        } else {
            "CREATE OR REPLACE TABLE V (a int) WITH SYSTEM VERSIONING; ALTER ONLINE TABLE V WAIT 5 ADD KEY (a); \
             DROP TABLE V; CREATE SEQUENCE q; ALTER SEQUENCE q INCREMENT 5; DROP SEQUENCE q; \
             SET STATEMENT lock_wait_timeout = 5 FOR CREATE TABLE W (a int); \
             SET STATEMENT lock_wait_timeout = 5 FOR DROP TABLE W;"
                .to_owned()
        };
        for format in ["ROW", "MIXED", "STATEMENT"] {
            let session =
                format!("SET SESSION binlog_format = '{format}'; USE shop; {common} {own}");
            let session = session.replace("u.ibu", &format!("u{}.ibu", format.to_lowercase()));
            let session = match kind {
                Kind::Mysql => session,
                Kind::Mariadb | Kind::Mariadb11 => session.replace("= 'xy'", "= PASSWORD('xy')"),
            };
            let session =
                session.replace("UNDO TABLESPACE u", &format!("UNDO TABLESPACE u{format}"));
            server
                .sql(&session)
                .with_context(|| format!("{kind:?} {format}"))?;
        }
        server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
        let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
        assert_eq!(workplace.drain()?, "1,a\n", "{kind:?}");
    }
    Ok(())
}

/// pt-heartbeat and an audit table, written in STATEMENT and MIXED sessions.
#[test]
fn listed_tables_are_changed_by_statements_and_nobody_stops() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &[])?;
        let file = tempfile::tempdir()?;
        let path = file.path().join("rows.csv");
        std::fs::write(&path, "9\n10\n")?;
        let heartbeat = "REPLACE INTO `percona`.`heartbeat` (ts, server_id) VALUES (NOW(), '1')";
        server.sql(&format!(
            "CREATE DATABASE percona; CREATE TABLE percona.heartbeat (ts varchar(26), server_id int PRIMARY KEY); \
             CREATE DATABASE audit; CREATE TABLE audit.log (what text); USE audit; \
             SET SESSION binlog_format = 'STATEMENT'; {heartbeat}; \
             /*!50000 UPDATE */ percona.heartbeat SET ts = 'x' WHERE server_id = 1; INSERT INTO log VALUES ('x'); \
             DELETE FROM log LIMIT 1; CREATE TABLE copy AS SELECT * FROM log; TRUNCATE log; \
             SET SESSION binlog_format = 'MIXED'; BEGIN; INSERT INTO log VALUES ('y'); \
             INSERT INTO shop.T VALUES (1, LEFT(UUID(), 0)); COMMIT; \
             SET SESSION binlog_format = 'STATEMENT'; LOAD DATA INFILE '{}' INTO TABLE log; \
             SET SESSION binlog_format = 'ROW'; INSERT INTO shop.T VALUES (2, 'b')",
            path.display()
        ))?;
        let text = config(&server, "type = \"stdout\"");
        let listed = text.replace(
            "[source]\n",
            "[source]\nignore_statements = [\"percona.heartbeat\", \"audit.*\"]\n",
        );
        let workplace = Workplace::new(&listed)?;
        assert_eq!(workplace.drain()?, "1,\"\"\n2,b\n", "{kind:?}");
        // Not so without the list, or with half of it, and what is not certain is not passed over.
        for (text, said) in [
            (text.clone(), "percona.heartbeat"),
            (listed.replace(", \"audit.*\"", ""), "audit.log"),
        ] {
            let output = Workplace::new(&text)?.run(&["--until", "now"])?;
            assert_eq!(output.status.code(), Some(65));
            let log = stderr(&output);
            ensure!(
                log.contains(said) && log.contains("source.ignore_statements"),
                "{log}"
            );
        }
        server.sql(
            "SET SESSION binlog_format = 'STATEMENT'; USE audit; INSERT INTO shop.T VALUES (3, 'c')",
        )?;
        let output = workplace.run(&["--until", "now"])?;
        assert_eq!(output.status.code(), Some(65));
        assert!(stderr(&output).contains("shop.T"));
        let refused = Workplace::new(&listed.replace("audit.*", "shop.T"))?.run(&[])?;
        assert_eq!(refused.status.code(), Some(78), "{}", stderr(&refused));
    }
    Ok(())
}

/// Rows that come into a followed table with a partition.
#[test]
fn rows_that_come_with_a_partition_stop_the_agent() -> Result<()> {
    for kind in Kind::ALL {
        let server = Server::start(kind, &[])?;
        server.sql(
            "CREATE DATABASE shop; USE shop; CREATE TABLE T (id int, note text) PARTITION BY RANGE (id) \
             (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20)); \
             CREATE TABLE X (id int, note text); INSERT INTO X VALUES (3, 'hidden')",
        )?;
        let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
        assert_eq!(workplace.drain()?, "");
        let mut moves = vec!["ALTER TABLE T EXCHANGE PARTITION p0 WITH TABLE X"];
        if kind != Kind::Mysql {
            moves.extend([
                "ALTER TABLE T CONVERT TABLE X TO PARTITION p2 VALUES LESS THAN (30)",
                "SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE T EXCHANGE PARTITION p0 WITH TABLE Y",
            ]);
        }
        for (number, statement) in moves.iter().enumerate() {
            server.sql(&format!(
                "USE shop; DELETE FROM X; CREATE TABLE IF NOT EXISTS Y (id int, note text); {statement}; \
                 CREATE TABLE IF NOT EXISTS X (id int, note text); INSERT INTO T VALUES ({number}, 'after')"
            ))
            .with_context(|| (*statement).to_owned())?;
            let output = workplace.run(&["--until", "now"])?;
            let log = stderr(&output);
            assert_eq!(output.status.code(), Some(65), "{statement}: {log}");
            ensure!(log.contains("brought rows into table shop.T"), "{log}");
            let place = place_to_pass_over(&log)?;
            let passed = workplace.run(&["--until", "now", "--pass-over", &place])?;
            ensure!(passed.status.success(), "{}", stderr(&passed));
            assert_eq!(
                String::from_utf8(passed.stdout)?,
                format!("{number},after\n")
            );
        }
    }
    Ok(())
}

/// Rows that go without an event: a warning for each, if deletes are followed.
#[test]
fn rows_that_go_with_their_table_are_told() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &[])?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); TRUNCATE TABLE T; INSERT INTO T VALUES (2, 'b'); DROP TABLE T; \
             CREATE TABLE T (id int PRIMARY KEY, note text); INSERT INTO T VALUES (3, 'c')",
        )?;
        let text = config(&server, "type = \"stdout\"");
        let all = text.replace("name = \"shop.T\"", ALL_EVENTS);
        for (text, lines, told) in [
            (text, "1,a\n2,b\n3,c\n", 0),
            (all, "1,a,I\n2,b,I\n3,c,I\n", 2),
        ] {
            let output = Workplace::new(&text)?.run(&["--until", "now"])?;
            let log = stderr(&output);
            ensure!(output.status.success(), "{log}");
            assert_eq!(String::from_utf8(output.stdout)?, lines);
            assert_eq!(log.matches("no D lines").count(), told, "{log}");
        }
    }
    Ok(())
}

/// A replay stops at the same statements, and passes over the same.
#[test]
fn a_replay_stops_and_passes_over_as_the_agent_does() -> Result<()> {
    let server = shop(Kind::Mariadb11, &[])?;
    server.sql(&format!(
        "{STATEMENT} CREATE TABLE audit (id int); INSERT INTO audit VALUES (1); /*!50000 INSERT INTO T VALUES \
         (1, 'x') */; SET SESSION binlog_format = 'ROW'; INSERT INTO T VALUES (2, 'b')"
    ))?;
    let files = binlogs(&server)?;
    let text = config(&server, "type = \"stdout\"");
    let text = text.replace(
        "[source]\n",
        "[source]\nignore_statements = [\"shop.audit\"]\n",
    );
    let workplace = Workplace::new(&text)?;
    let config = workplace.path("hydrant.toml").display().to_string();
    let options = ["--config", &config, "--out", "-"];
    let refused = replayed(&files, &options).unwrap_err().to_string();
    let place = place_to_pass_over(&refused)?;
    let options = [&options[..], &["--pass-over", &place]].concat();
    assert_eq!(replayed(&files, &options)?, "2,b\n");
    Ok(())
}
