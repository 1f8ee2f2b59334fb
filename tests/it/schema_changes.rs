//! Tables that change while they are followed: what carries on, what stops, and what begins a new version.

use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};

use crate::agent::{Workplace, gunzip_all};
use crate::sales::config;
use crate::support::servers::{Kind, Server};

const ALL_EVENTS: &str = "events = [\"insert\", \"update\", \"delete\"]";
const VERSION: &str = "on_schema_change = \"version\"";

fn shop(kind: Kind) -> Result<Server> {
    let server = Server::start(kind, &["--innodb-autoinc-lock-mode=2"])?;
    server
        .sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note varchar(20))")?;
    Ok(server)
}

/// Follows `shop.T` into the directory `data`.
fn into_directory(server: &Server, keys: &str) -> Result<Workplace> {
    let workplace = Workplace::new("")?;
    let sink = format!("path = \"{}\"", workplace.path("data").display());
    workplace.configure(&config(
        server,
        &format!("name = \"shop.T\"\n{keys}"),
        &sink,
    ))?;
    Ok(workplace)
}

fn delivered(server: &Server, keys: &str) -> Result<String> {
    let table = format!("name = \"shop.T\"\n{keys}");
    Workplace::new(&config(server, &table, "type = \"stdout\""))?.drain()
}

fn lines_in(workplace: &Workplace, folder: &str) -> Result<String> {
    let folder = workplace.path("data/shop.T").join(folder);
    gunzip_all(Path::new(&folder))
}

fn stops(output: &Output, said: &[&str]) -> Result<()> {
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(65),
        "{:?}: {log}",
        output.status
    );
    for word in said.iter().chain(&["shop.T", "binlog.0", "remedy: "]) {
        ensure!(log.contains(word), "{word}: {log}");
    }
    Ok(())
}

#[test]
fn each_version_has_objects_of_its_own() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let keys = format!("{VERSION}\nmetadata = [\"schema_version\"]");
        let workplace = into_directory(&server, &keys)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD COLUMN added int; \
             INSERT INTO T VALUES (2, 'b', 7); ALTER TABLE T MODIFY COLUMN id bigint; \
             INSERT INTO T VALUES (3, 'c', 8); ALTER TABLE T DROP COLUMN note, ADD COLUMN other int FIRST; \
             INSERT INTO T VALUES (9, 4, 9)",
        )?;
        // The database only knows id, added and other by now; what was before is in the binlog.
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=1")?, "1,a,1\n");
        assert_eq!(lines_in(&workplace, "v=2")?, "2,b,7,2\n");
        assert_eq!(lines_in(&workplace, "v=3")?, "3,c,8,3\n");
        assert_eq!(lines_in(&workplace, "v=4")?, "9,4,9,4\n");
        // A later run knows the versions, and gives no number twice.
        server.sql("INSERT INTO shop.T VALUES (9, 5, NULL)")?;
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=4")?, "9,4,9,4\n9,5,,4\n");
        server.sql(
            "ALTER TABLE shop.T MODIFY COLUMN other text; INSERT INTO shop.T VALUES ('x', 6, 1)",
        )?;
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=5")?, "x,6,1,5\n");
    }
    Ok(())
}

#[test]
fn a_running_agent_begins_a_version_where_the_lines_change() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = into_directory(
            &server,
            &format!("{VERSION}\ncolumns = [\"note\", \"id\"]\n{ALL_EVENTS}"),
        )?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'), (2, 'b'); ALTER TABLE T ADD COLUMN x int FIRST; \
             UPDATE T SET note = 'c' WHERE id = 1; ALTER TABLE T MODIFY COLUMN id bigint; \
             DELETE FROM T WHERE id = 1; ALTER TABLE T MODIFY COLUMN id int; \
             INSERT INTO T VALUES (0, 3, 'd')",
        )?;
        workplace.drain()?;
        // Once the type is what it was, so is the version.
        assert_eq!(lines_in(&workplace, "v=1")?, "a,1,I\nb,2,I\nc,1,U\nd,3,I\n");
        assert_eq!(lines_in(&workplace, "v=2")?, "c,1,D\n");
    }
    Ok(())
}

#[test]
fn a_change_stops_the_agent_until_somebody_decides() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = into_directory(&server, "")?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T MODIFY COLUMN id bigint; \
             INSERT INTO T VALUES (2, 'b')",
        )?;
        for _ in 0..2 {
            let output = workplace.run(&["--until", "now"])?;
            stops(&output, &["id was INT and is BIGINT", "on_schema_change"])?;
            assert_eq!(lines_in(&workplace, "")?, "1,a\n");
        }
        // Versions are one way to go on, from where it stopped.
        let sink = format!("path = \"{}\"", workplace.path("data").display());
        let table = format!("name = \"shop.T\"\n{VERSION}");
        workplace.configure(&config(&server, &table, &sink))?;
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=2")?, "2,b\n");
    }
    Ok(())
}

#[test]
fn a_column_that_goes_away_stops_the_agent() -> Result<()> {
    let server = shop(Kind::Mysql)?;
    let workplace = into_directory(&server, "columns = [\"id\", \"note\"]")?;
    let agent = workplace.start()?;
    server.sql(
        "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T RENAME COLUMN note TO remark; \
         INSERT INTO T VALUES (2, 'b')",
    )?;
    let mut agent = agent;
    let status = agent.wait()?;
    let log = agent.log();
    // Had it started after the change, the database would have told it.
    ensure!([Some(65), Some(78)].contains(&status.code()), "{log}");
    ensure!(
        log.contains("no column note") && log.contains("remedy: "),
        "{log}"
    );
    Ok(())
}

#[test]
fn old_events_are_read_with_the_columns_of_their_time() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); \
             ALTER TABLE T ADD COLUMN first varchar(300) FIRST, ADD COLUMN n decimal(20,3) AFTER id; \
             INSERT INTO T VALUES (REPEAT('x', 300), 2, 1.5, 'b'); \
             ALTER TABLE T DROP COLUMN first, DROP COLUMN n, MODIFY COLUMN note varchar(20) FIRST; \
             INSERT INTO T VALUES ('c', 3)",
        )?;
        let chosen = "columns = [\"id\", \"note\"]";
        assert_eq!(delivered(&server, chosen)?, "1,a\n2,b\n3,c\n");
    }
    Ok(())
}

/// gh-ost fills a table of its own, from the table and from its binlog, and swaps the two at once.
#[test]
fn a_cut_over_of_gh_ost_loses_and_doubles_nothing() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'), (2, 'b'); \
             CREATE TABLE _T_ghc (id bigint, hint varchar(64)); CREATE TABLE _T_gho LIKE T; \
             ALTER TABLE _T_gho ADD COLUMN added int DEFAULT 7, ADD KEY (note); \
             INSERT IGNORE INTO _T_gho (id, note) SELECT id, note FROM T; \
             INSERT INTO T VALUES (3, 'c'); REPLACE INTO _T_gho (id, note) VALUES (3, 'c'); \
             UPDATE T SET note = 'x' WHERE id = 1; UPDATE _T_gho SET note = 'x' WHERE id = 1; \
             DELETE FROM T WHERE id = 2; DELETE FROM _T_gho WHERE id = 2; \
             RENAME TABLE T TO _T_del, _T_gho TO T; \
             INSERT INTO T (id, note) VALUES (4, 'd'); UPDATE T SET note = 'y' WHERE id = 3; \
             DROP TABLE _T_ghc, _T_del; DELETE FROM T WHERE id = 1",
        )?;
        let chosen = format!("columns = [\"id\", \"note\"]\n{ALL_EVENTS}");
        assert_eq!(
            delivered(&server, &chosen)?,
            "1,a,I\n2,b,I\n3,c,I\n1,x,U\n2,b,D\n4,d,I\n3,y,U\n1,x,D\n"
        );
    }
    Ok(())
}

/// pt-online-schema-change lets triggers follow the table.
#[test]
fn a_cut_over_of_pt_online_schema_change_loses_and_doubles_nothing() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'), (2, 'b'); CREATE TABLE _T_new LIKE T; \
             ALTER TABLE _T_new ADD COLUMN added int; \
             CREATE TRIGGER pt_osc_del AFTER DELETE ON T FOR EACH ROW DELETE IGNORE FROM _T_new WHERE id <=> OLD.id; \
             CREATE TRIGGER pt_osc_upd AFTER UPDATE ON T FOR EACH ROW REPLACE INTO _T_new (id, note) VALUES (NEW.id, NEW.note); \
             CREATE TRIGGER pt_osc_ins AFTER INSERT ON T FOR EACH ROW REPLACE INTO _T_new (id, note) VALUES (NEW.id, NEW.note); \
             INSERT LOW_PRIORITY IGNORE INTO _T_new (id, note) SELECT id, note FROM T LOCK IN SHARE MODE; \
             INSERT INTO T VALUES (3, 'c'); UPDATE T SET note = 'x' WHERE id = 1; DELETE FROM T WHERE id = 2; \
             RENAME TABLE T TO _T_old, _T_new TO T; DROP TABLE IF EXISTS _T_old; \
             INSERT INTO T (id, note) VALUES (4, 'd'); UPDATE T SET added = 1 WHERE id = 4",
        )?;
        let chosen = format!("columns = [\"id\", \"note\"]\n{ALL_EVENTS}");
        assert_eq!(
            delivered(&server, &chosen)?,
            "1,a,I\n2,b,I\n3,c,I\n1,x,U\n2,b,D\n4,d,I\n4,d,U\n"
        );
    }
    Ok(())
}

/// Rows are those of the table that has the name at the time. TRUNCATE and DROP are no deletes.
#[test]
fn a_name_is_followed_and_not_a_table() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); RENAME TABLE T TO Away; INSERT INTO Away VALUES (2, 'b'); \
             CREATE TABLE T (note text, id int PRIMARY KEY); INSERT INTO T VALUES ('c', 3); TRUNCATE TABLE T; \
             INSERT INTO T VALUES ('d', 3); DROP TABLE T; RENAME TABLE Away TO T; INSERT INTO T VALUES (4, 'e')",
        )?;
        let chosen = format!("columns = [\"id\", \"note\"]\n{ALL_EVENTS}");
        assert_eq!(delivered(&server, &chosen)?, "1,a,I\n3,c,I\n3,d,I\n4,e,I\n");
    }
    Ok(())
}
