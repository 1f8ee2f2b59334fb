//! Tables that change while they are followed: what carries on, what stops, and what begins a new version.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};

use crate::setup::agent::{Workplace, accept_option, config, gunzip_all};
use crate::setup::snapshot::Reports;
use testkit::servers::{Kind, Server};

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
    Workplace::into_directory(server, &[format!("name = \"shop.T\"\n{keys}")], "")
}

fn delivered(server: &Server, keys: &str) -> Result<String> {
    let table = format!("name = \"shop.T\"\n{keys}");
    Workplace::new(&config(server, &table, "type = \"stdout\""))?.drain()
}

fn lines_in(workplace: &Workplace, folder: &str) -> Result<String> {
    let folder = workplace.path("data/shop.T").join(folder);
    gunzip_all(Path::new(&folder))
}

fn stops(reports: &mut Reports, output: &Output, said: &[&str]) -> Result<()> {
    reports.add(&said.join(", "), output);
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
    let mut reports = Reports::default();
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = into_directory(&server, "")?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T MODIFY COLUMN id bigint; \
             INSERT INTO T VALUES (2, 'b')",
        )?;
        for _ in 0..2 {
            let output = workplace.run(&["--until", "now"])?;
            let said = [
                "id was INT and is BIGINT",
                "on_schema_change",
                "--accept-change shop.T=",
            ];
            stops(&mut reports, &output, &said)?;
            assert_eq!(lines_in(&workplace, "")?, "1,a\n");
        }
        // Versions are one way to go on, from where it stopped.
        let sink = format!("path = \"{}\"", workplace.path("data").display());
        let table = format!("name = \"shop.T\"\n{VERSION}");
        workplace.configure(&config(&server, &table, &sink))?;
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=2")?, "2,b\n");
    }
    reports.assert("schema-a-change-stops-the-agent-until-somebody-decides");
    Ok(())
}

/// A row of before the change, that nobody has delivered, keeps all its columns; the change itself stops the
/// agent at each start, until somebody accepts it.
#[test]
fn a_column_that_goes_away_stops_the_agent_and_takes_nothing_with_it() -> Result<()> {
    let mut reports = Reports::default();
    for kind in Kind::ALL {
        for (change, said, after) in [
            ("DROP COLUMN b", "b is gone", "3,33\n4,44\n"),
            ("RENAME COLUMN b TO c", "b is gone", "3,33,\n4,44,\n"),
            (
                "MODIFY COLUMN b bigint",
                "b was INT and is BIGINT",
                "3,33,\n4,44,\n",
            ),
        ] {
            let server = Server::start(kind, &[])?;
            server.sql(
                "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, a int, b int)",
            )?;
            let workplace = into_directory(&server, "")?;
            server.sql("INSERT INTO shop.T VALUES (1, 1, 1)")?;
            workplace.drain()?;
            server.sql(&format!(
                "USE shop; INSERT INTO T VALUES (2, 22, 222); ALTER TABLE T {change}; \
                 INSERT INTO T (id, a) VALUES (3, 33)"
            ))?;
            let mut option = String::new();
            for _ in 0..2 {
                let output = workplace.run(&["--until", "now"])?;
                stops(
                    &mut reports,
                    &output,
                    &[said, "a written column has changed"],
                )?;
                assert_eq!(lines_in(&workplace, "")?, "1,1,1\n2,22,222\n");
                option = accept_option(&output.stderr)?;
            }
            let output = workplace.run(&["--until", "now", "--accept-change", &option])?;
            ensure!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            // It need not be said again.
            server.sql("INSERT INTO shop.T (id, a) VALUES (4, 44)")?;
            workplace.drain()?;
            assert_eq!(
                lines_in(&workplace, "")?,
                format!("1,1,1\n2,22,222\n{after}")
            );
        }
    }
    reports.assert("schema-a-column-that-goes-away-stops-the-agent-and-takes-nothing-with-it");
    Ok(())
}

#[test]
fn a_running_agent_stops_where_a_chosen_column_is_renamed() -> Result<()> {
    let server = shop(Kind::Mysql)?;
    let workplace = into_directory(&server, "columns = [\"id\", \"note\"]")?;
    workplace.drain()?;
    let mut agent = workplace.start()?;
    server.sql(
        "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T RENAME COLUMN note TO remark; \
         INSERT INTO T VALUES (2, 'b')",
    )?;
    let status = agent.wait()?;
    let log = agent.log();
    ensure!(status.code() == Some(65), "{log}");
    ensure!(
        log.contains("note is gone") && log.contains("remedy: "),
        "{log}"
    );
    assert_eq!(lines_in(&workplace, "")?, "1,a\n");
    // Other columns are a decision, too.
    let sink = format!("path = \"{}\"", workplace.path("data").display());
    let table = "name = \"shop.T\"\ncolumns = [\"id\", \"remark\"]";
    workplace.configure(&config(&server, table, &sink))?;
    workplace.drain()?;
    assert_eq!(lines_in(&workplace, "")?, "1,a\n2,b\n");
    Ok(())
}

/// The lines are those that began, whenever the agent is started.
#[test]
fn a_new_column_is_left_out_with_a_word_until_somebody_accepts_it() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = into_directory(&server, "")?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
        workplace.drain()?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (2, 'b'); ALTER TABLE T ADD COLUMN c int FIRST; \
             INSERT INTO T VALUES (7, 3, 'c')",
        )?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{log}");
        ensure!(
            log.matches("the column c is not written").count() == 1,
            "{log}"
        );
        assert_eq!(lines_in(&workplace, "")?, "1,a\n2,b\n3,c\n");
        let option = accept_option(&output.stderr)?;
        server.sql("INSERT INTO shop.T VALUES (8, 4, 'd')")?;
        let output = workplace.run(&["--until", "now", "--accept-change", &option])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        server.sql("INSERT INTO shop.T VALUES (9, 5, 'e')")?;
        workplace.drain()?;
        let lines = lines_in(&workplace, "")?;
        assert_eq!(lines, "1,a\n2,b\n3,c\n8,4,d\n9,5,e\n");
    }
    Ok(())
}

#[test]
fn a_new_column_is_a_new_key_of_jsonl_from_its_first_row_on() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = into_directory(&server, "dialect = \"jsonl\"")?;
        let chosen = into_directory(&server, "dialect = \"jsonl\"\ncolumns = [\"id\"]")?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD COLUMN c int; \
             INSERT INTO T VALUES (2, 'b', 7)",
        )?;
        workplace.drain()?;
        let wanted = "{\"id\":1,\"note\":\"a\"}\n{\"id\":2,\"note\":\"b\",\"c\":7}\n";
        assert_eq!(lines_in(&workplace, "")?, wanted);
        chosen.drain()?;
        assert_eq!(lines_in(&chosen, "")?, "{\"id\":1}\n{\"id\":2}\n");
    }
    Ok(())
}

/// What is in the binlog is delivered, though the server does not know it any more.
#[test]
fn a_chosen_column_or_a_table_that_is_gone_keeps_nobody_from_starting() -> Result<()> {
    for kind in Kind::ALL {
        for keys in [VERSION, "", "columns = [\"id\", \"note\"]"] {
            let server = shop(kind)?;
            let workplace = into_directory(&server, keys)?;
            workplace.drain()?;
            server.sql("USE shop; INSERT INTO T VALUES (1, 'a'); DROP TABLE T")?;
            workplace.drain()?;
            assert_eq!(gunzip_all(&workplace.path("data"))?, "1,a\n", "{keys}");
        }
        let server = shop(kind)?;
        let keys = format!("{VERSION}\ncolumns = [\"id\", \"note\"]");
        let workplace = into_directory(&server, &keys)?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
        workplace.drain()?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (2, 'b'); ALTER TABLE T DROP COLUMN note; INSERT INTO T VALUES (3)",
        )?;
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=1")?, "1,a\n2,b\n");
        assert_eq!(lines_in(&workplace, "v=2")?, "3\n");
    }
    Ok(())
}

/// D of a DOUBLE(M,D), and which BINARY is an INET6, are in no table map, not even in a full one.
#[test]
fn what_only_the_server_knows_is_asked_for_again_after_a_change() -> Result<()> {
    for kind in Kind::ALL {
        let is_mariadb = kind != Kind::Mysql;
        let server = Server::start(kind, &["--sql-mode="])?;
        let (address, binary) = if is_mariadb {
            ("inet6", "'::1'")
        } else {
            ("binary(16)", "x'00000000000000000000000000000001'")
        };
        server.sql(&format!(
            "CREATE DATABASE shop; USE shop; \
             CREATE TABLE T (id int PRIMARY KEY, d double(10,2), f float(7,2), ip {address}); \
             INSERT INTO T VALUES (1, 1.5, 1.5, {binary})"
        ))?;
        let version = format!("{VERSION}\ncolumns = [\"id\", \"d\", \"f\", \"ip\"]");
        let workplace = into_directory(&server, &version)?;
        workplace.drain()?;
        // Rows of before and after the change, and nobody reads meanwhile.
        server.sql(&format!(
            "USE shop; INSERT INTO T VALUES (2, 2.5, 2.5, {binary}); \
             ALTER TABLE T MODIFY COLUMN d double, MODIFY COLUMN f float(7,4), MODIFY COLUMN ip binary(16); \
             INSERT INTO T VALUES (3, 1.23456789, 1.2345, 'hello')"
        ))?;
        workplace.drain()?;
        let ip = if is_mariadb {
            "::1"
        } else {
            "00000000000000000000000000000001"
        };
        let before = format!("1,1.50,1.50,{ip}\n2,2.50,2.50,{ip}\n");
        assert_eq!(lines_in(&workplace, "v=1")?, before);
        let hello = "68656C6C6F0000000000000000000000";
        assert_eq!(
            lines_in(&workplace, "v=2")?,
            format!("3,1.23456789,1.2345,{hello}\n")
        );
        // The same for an agent that runs; by default such a change stops it.
        let workplace = into_directory(&server, "columns = [\"id\", \"d\"]")?;
        let text = std::fs::read_to_string(workplace.path("hydrant.toml"))?;
        let text = text.replace("start = \"earliest\"", "start = \"latest\"");
        let text = format!("{text}flush_interval = \"20ms\"\n");
        std::fs::write(workplace.path("hydrant.toml"), text)?;
        workplace.drain()?;
        let mut agent = workplace.start()?;
        server.sql("INSERT INTO shop.T (id, d) VALUES (4, 4.125)")?;
        crate::setup::agent::eventually("the row is delivered", || {
            let path = workplace.path("data");
            let lines = path.exists().then(|| gunzip_all(&path)).transpose()?;
            Ok(lines.filter(|lines| lines == "4,4.125\n"))
        })?;
        server.sql("USE shop; ALTER TABLE T MODIFY COLUMN d double(10,1); INSERT INTO T (id, d) VALUES (5, 5.5)")?;
        let status = agent.wait()?;
        let log = agent.log();
        ensure!(status.code() == Some(65), "{log}");
        ensure!(
            log.contains("d was DOUBLE and is DOUBLE with 1 digits"),
            "{log}"
        );
        assert_eq!(gunzip_all(&workplace.path("data"))?, "4,4.125\n");
    }
    Ok(())
}

/// The hash of a unique TEXT is in MariaDB's table maps and in no SELECT.
#[test]
fn columns_that_nobody_has_declared_are_not_written() -> Result<()> {
    for (kind, metadata) in [
        (Kind::Mariadb, "FULL"),
        (Kind::Mariadb, "NO_LOG"),
        (Kind::Mariadb11, "FULL"),
        (Kind::Mariadb11, "MINIMAL"),
    ] {
        let metadata = format!("--binlog-row-metadata={metadata}");
        let server = Server::start(kind, &[&metadata])?;
        server.sql(
            "CREATE DATABASE shop; USE shop; CREATE TABLE T (id int PRIMARY KEY, t text, b blob NOT NULL, \
             UNIQUE (t), UNIQUE (id, b)); INSERT INTO T VALUES (1, 'x', 'y')",
        )?;
        for (dialect, wanted) in [
            ("csv", "1,x,79\n"),
            ("jsonl", "{\"id\":1,\"t\":\"x\",\"b\":\"79\"}\n"),
        ] {
            let keys = format!("dialect = \"{dialect}\"");
            assert_eq!(delivered(&server, &keys)?, wanted);
        }
    }
    Ok(())
}

/// What was told of a column before it became one that the server must be asked about is of before.
#[test]
fn a_column_that_becomes_a_double_is_asked_about() -> Result<()> {
    for kind in Kind::ALL {
        let server = Server::start(kind, &["--sql-mode="])?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, n int, d double(10,2))",
        )?;
        let workplace = into_directory(&server, VERSION)?;
        server.sql("INSERT INTO shop.T VALUES (1, 1, 1)")?;
        workplace.drain()?;
        server.sql(
            "USE shop; ALTER TABLE T MODIFY COLUMN n double(10,1); INSERT INTO T VALUES (2, 2, 2)",
        )?;
        workplace.drain()?;
        assert_eq!(lines_in(&workplace, "v=1")?, "1,1,1.00\n");
        assert_eq!(lines_in(&workplace, "v=2")?, "2,2.0,2.00\n");
    }
    Ok(())
}

fn replay(server: &Server, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hydrant"));
    command
        .args(["replay", "--table", "shop.T"])
        .args(arguments);
    command
        .arg("--binlog")
        .arg(server.binlog_dir().join("binlog.000001"));
    Ok(command.output()?)
}

#[test]
fn a_replay_says_what_it_leaves_out_and_how_to_have_it() -> Result<()> {
    let mut reports = Reports::default();
    for kind in Kind::ALL {
        let server = shop(kind)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD COLUMN c int; \
             INSERT INTO T VALUES (2, 'b', 7); FLUSH BINARY LOGS",
        )?;
        let output = replay(&server, &["--out", "-"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && log.contains("the column c is not written"),
            "{log}"
        );
        assert_eq!(output.stdout, b"1,a\n2,b\n");
        let option = accept_option(&output.stderr)?;
        let output = replay(&server, &["--out", "-", "--accept-change", &option])?;
        assert_eq!(output.stdout, b"1,a\n2,b,7\n");
        // A column of later is no reason to leave out the rows of before.
        let columns = [
            "--columns",
            "id, c",
            "--on-schema-change",
            "version",
            "--out",
            "-",
        ];
        let output = replay(&server, &columns)?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2,7\n");
        let output = replay(&server, &["--columns", "id, c", "--out", "-"])?;
        stops(
            &mut reports,
            &output,
            &["has no column c", "--on-schema-change version"],
        )?;
    }
    reports.assert("schema-a-replay-says-what-it-leaves-out-and-how-to-have-it");
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

/// Servers take names of columns for the same in capital and small letters; readers of JSON do not.
#[test]
fn a_key_keeps_the_letters_that_it_began_with() -> Result<()> {
    for kind in Kind::ALL {
        for (columns, drains_between) in [
            ("", false),
            ("", true),
            ("columns = [\"id\", \"MIXED\"]", true),
        ] {
            let server = Server::start(kind, &[])?;
            server
                .sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, MiXed int)")?;
            let workplace = into_directory(&server, &format!("dialect = \"jsonl\"\n{columns}"))?;
            server.sql("INSERT INTO shop.T VALUES (1, 1)")?;
            if drains_between {
                workplace.drain()?;
            }
            server.sql(
                "USE shop; ALTER TABLE T CHANGE COLUMN MiXed mixed int; INSERT INTO T VALUES (2, 2); \
                 ALTER TABLE T DROP COLUMN mixed, ADD COLUMN MIXED int; INSERT INTO T VALUES (3, 3)",
            )?;
            workplace.drain()?;
            let lines: Vec<String> = (1..=3)
                .map(|n| format!("{{\"id\":{n},\"MiXed\":{n}}}\n"))
                .collect();
            assert_eq!(
                lines_in(&workplace, "")?,
                lines.concat(),
                "{kind:?} {columns}"
            );
        }
    }
    Ok(())
}
