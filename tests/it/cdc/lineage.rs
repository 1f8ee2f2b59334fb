//! One history of a server, and others of the same name: reset, restored, renamed, purged, cut short.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, eventually};
use crate::setup::servers::{end_of_binlog, reset_binlog};
use testkit::servers::{Kind, Server};

/// A server whose rows 1 to 3 are delivered.
struct Scene {
    server: Server,
    workplace: Workplace,
}

fn config(server: &Server) -> String {
    format!(
        "[source]\nurl = \"{}\"\nstart = \"earliest\"\n[[table]]\nname = \"shop.T\"\n\
         [sink]\ntype = \"stdout\"\n",
        server.url()
    )
}

impl Scene {
    fn new(kind: Kind, options: &[&str]) -> Result<Self> {
        let server = Server::start(kind, options)?;
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
        let workplace = Workplace::new(&config(&server))?;
        let scene = Self { server, workplace };
        scene.insert(1..=3)?;
        assert_eq!(scene.workplace.drain()?, "1\n2\n3\n");
        Ok(scene)
    }

    fn insert(&self, ids: std::ops::RangeInclusive<u32>) -> Result<()> {
        for id in ids {
            let insert = format!("INSERT INTO shop.T VALUES ({id})");
            self.server.sql(&insert)?;
        }
        Ok(())
    }

    /// The agent stops with 65 at every start, and says this.
    fn is_refused(&self, said: &str) -> Result<()> {
        for _ in 0..2 {
            let output = self.workplace.run(&["--until", "now"])?;
            let log = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(65), "{}: {log}", output.status);
            ensure!(log.contains(said), "{log}");
            ensure!(
                output.stdout.is_empty(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        Ok(())
    }

    /// Changes a field of the checkpoint.
    fn edit(&self, edit: impl FnOnce(&mut serde_json::Value)) -> Result<()> {
        let mut checkpoint = self.workplace.checkpoint()?;
        edit(&mut checkpoint);
        let text = serde_json::to_string_pretty(&checkpoint)?;
        Ok(fs::write(self.workplace.path("checkpoint.json"), text)?)
    }
}

/// The ways in which servers keep their binlogs.
fn each(test: impl Fn(Kind, &[&str]) -> Result<()>) -> Result<()> {
    const NO_GTIDS: &[&str] = &[
        "--gtid-mode=OFF",
        "--enforce-gtid-consistency=OFF",
        "--binlog-checksum=NONE",
    ];
    for (kind, options) in [
        (Kind::Mysql, &[][..]),
        (Kind::Mysql, NO_GTIDS),
        (Kind::Mariadb, &["--binlog-checksum=NONE"]),
        (Kind::Mariadb11, &["--binlog-checksum=CRC32"]),
    ] {
        test(kind, options).with_context(|| format!("{kind:?} {options:?}"))?;
    }
    Ok(())
}

#[test]
fn a_reset_binlog_is_refused_before_and_after_it_has_grown() -> Result<()> {
    each(|kind, options| {
        let scene = Scene::new(kind, options)?;
        reset_binlog(&scene.server)?;
        scene.is_refused("restored or reset")?;
        // Offsets, file and GTIDs are past those of before.
        scene.insert(11..=30)?;
        scene.is_refused("restored or reset")
    })
}

/// A first start that has read nothing knows the file that it stands in.
#[test]
fn a_reset_after_a_start_that_has_read_nothing_is_refused() -> Result<()> {
    each(|kind, options| {
        let server = Server::start(kind, options)?;
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
        let text = config(&server).replace("\"earliest\"", "\"latest\"");
        let workplace = Workplace::new(&text)?;
        let scene = Scene { server, workplace };
        reset_binlog(&scene.server)?;
        let output = scene.workplace.run(&["--until", "now"])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        scene.insert(1..=1)?;
        // Files are told apart by the second in which they were begun.
        scene.server.sql("SELECT SLEEP(1.5)")?;
        reset_binlog(&scene.server)?;
        scene.is_refused("restored or reset")?;
        scene.insert(2..=2)?;
        scene.is_refused("restored or reset")
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

struct Backup(tempfile::TempDir);

impl Backup {
    fn of(server: &mut Server) -> Result<Self> {
        server.stop()?;
        let folder = tempfile::tempdir()?;
        copy(&server.data_dir(), &folder.path().join("data"))?;
        copy(&server.binlog_dir(), &folder.path().join("binlog"))?;
        server.restart(&[])?;
        Ok(Self(folder))
    }

    fn restore(&self, server: &mut Server) -> Result<()> {
        server.stop()?;
        copy(&self.0.path().join("data"), &server.data_dir())?;
        copy(&self.0.path().join("binlog"), &server.binlog_dir())?;
        server.restart(&[])
    }
}

#[test]
fn a_restored_server_is_refused_before_and_after_it_has_grown() -> Result<()> {
    each(|kind, options| {
        let mut scene = Scene::new(kind, options)?;
        let backup = Backup::of(&mut scene.server)?;
        scene.insert(4..=6)?;
        assert_eq!(scene.workplace.drain()?, "4\n5\n6\n");
        backup.restore(&mut scene.server)?;
        scene.is_refused("restored or reset")?;
        scene.insert(14..=36)?;
        scene.is_refused("restored or reset")?;
        // Another file name hides the place, but not what the GTIDs stand for.
        let has_gtids = !options.iter().any(|it| it.contains("gtid-mode=OFF"));
        if has_gtids && kind == Kind::Mysql {
            let renamed = format!(
                "--log-bin={}",
                scene.server.binlog_dir().join("other").display()
            );
            scene.server.restart(&[&renamed])?;
            scene.insert(37..=37)?;
            let output = scene.workplace.run(&["--until", "now"])?;
            ensure!(output.status.code() == Some(65), "{output:?}");
        }
        Ok(())
    })
}

#[test]
fn a_running_agent_ends_when_its_server_is_restored() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let mut scene = Scene::new(kind, &[])?;
        let backup = Backup::of(&mut scene.server)?;
        let mut agent = scene.workplace.start()?;
        scene.insert(4..=6)?;
        let end = end_of_binlog(&scene.server)?;
        eventually("all is delivered", || {
            Ok(at(&scene.workplace, &end)?.then_some(()))
        })?;
        backup.restore(&mut scene.server)?;
        ensure!(
            agent.wait()?.code() == Some(65),
            "{kind:?}: {}",
            agent.log()
        );
        ensure!(agent.log().contains("restored or reset"), "{}", agent.log());
    }
    Ok(())
}

fn at(workplace: &Workplace, end: &str) -> Result<bool> {
    let position = &workplace.checkpoint()?["position"];
    let at = format!(
        "{}:{}",
        position["file"].as_str().unwrap_or_default(),
        position["offset"]
    );
    Ok(at == end)
}

/// What a server does to its binlog from day to day, between the runs of an agent.
#[test]
fn the_same_history_is_gone_on_with_wherever_it_was_left() -> Result<()> {
    each(|kind, options| {
        let mut scene = Scene::new(kind, options)?;
        let mut id = 3;
        for step in [
            "FLUSH BINARY LOGS",
            "CREATE TABLE shop.Other (id int)",
            "restart",
            "DROP TABLE shop.Other; FLUSH BINARY LOGS; FLUSH BINARY LOGS",
        ] {
            match step {
                "restart" => scene.server.restart(&[])?,
                sql => scene.server.sql(sql).map(drop)?,
            }
            assert_eq!(scene.workplace.drain()?, "", "{step}");
            id += 1;
            scene.insert(id..=id)?;
            assert_eq!(scene.workplace.drain()?, format!("{id}\n"), "{step}");
        }
        ensure!(scene.workplace.checkpoint()?["version"] == 6);
        Ok(())
    })
}

#[test]
fn compressed_and_two_phase_transactions_are_known_again() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let scene = Scene::new(kind, &[])?;
        if kind == Kind::Mysql {
            scene
                .server
                .sql("SET GLOBAL binlog_transaction_compression = ON")?;
            scene.insert(4..=4)?;
            assert_eq!(scene.workplace.drain()?, "4\n");
        }
        scene
            .server
            .sql("XA START 'a'; INSERT INTO shop.T VALUES (5); XA END 'a'; XA PREPARE 'a'")?;
        assert_eq!(scene.workplace.drain()?, "");
        scene.server.sql("XA COMMIT 'a'")?;
        assert_eq!(scene.workplace.drain()?, "5\n", "{kind:?}");
        scene.insert(6..=6)?;
        assert_eq!(scene.workplace.drain()?, "6\n", "{kind:?}");
    }
    Ok(())
}

#[test]
fn gtids_prove_that_nothing_is_missing_when_the_file_is_gone() -> Result<()> {
    // Idle binlogs that were purged.
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let scene = Scene::new(kind, &[])?;
        scene.server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")?;
        let end = end_of_binlog(&scene.server)?;
        let (file, _) = end.split_once(':').context("no position")?;
        scene
            .server
            .sql(&format!("PURGE BINARY LOGS TO '{file}'"))?;
        assert_eq!(scene.workplace.drain()?, "", "{kind:?}");
        scene.insert(4..=4)?;
        assert_eq!(scene.workplace.drain()?, "4\n", "{kind:?}");
    }
    Ok(())
}

/// MariaDB keeps its GTIDs in a file that is named as the binlog is. Without it, it begins to count anew, and nothing
/// tells it from a server that was reset.
#[test]
fn a_binlog_of_another_name_is_gone_on_with_if_the_server_knows_its_gtids() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        for keeps_state in [true, false] {
            let mut scene = Scene::new(kind, &[])?;
            let folder = scene.server.binlog_dir();
            let renamed = format!("--log-bin={}", folder.join("other").display());
            scene.server.stop()?;
            if keeps_state && kind != Kind::Mysql {
                fs::copy(folder.join("binlog.state"), folder.join("other.state"))?;
            }
            scene.server.restart(&[&renamed])?;
            if keeps_state || kind == Kind::Mysql {
                scene.insert(4..=4)?;
                assert_eq!(scene.workplace.drain()?, "4\n", "{kind:?}");
            } else {
                scene.is_refused("restored or reset")?;
                scene.is_refused(".state")?;
                // A transaction of the same number in the same second would look like the one that was read.
                scene.server.sql("SELECT SLEEP(1)")?;
                scene.insert(4..=34)?;
                scene.is_refused("restored or reset")?;
            }
        }
    }
    Ok(())
}

/// A power loss takes the newest file, and the end of the one before.
#[test]
fn a_tail_without_transactions_that_was_lost_is_no_gap() -> Result<()> {
    each(|kind, options| {
        let mut scene = Scene::new(kind, options)?;
        let end = end_of_binlog(&scene.server)?;
        let (file, offset) = end.split_once(':').context("no position")?;
        scene.server.sql("FLUSH BINARY LOGS")?;
        assert_eq!(scene.workplace.drain()?, "");
        scene.server.stop()?;
        let folder = scene.server.binlog_dir();
        fs::remove_file(folder.join("binlog.000002"))?;
        let index = fs::read_to_string(folder.join("binlog.index"))?;
        let index = index.lines().next().context("an empty index")?.to_owned();
        fs::write(folder.join("binlog.index"), index + "\n")?;
        let cut = fs::File::options().write(true).open(folder.join(file))?;
        cut.set_len(offset.parse()?)?;
        scene.server.restart(&[])?;
        scene.insert(4..=6)?;
        assert_eq!(scene.workplace.drain()?, "4\n5\n6\n");
        Ok(())
    })
}

#[test]
fn two_mariadb_servers_with_one_number_do_not_pass_for_one() -> Result<()> {
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        let scene = Scene::new(kind, &[])?;
        let other = Server::start(kind, &[])?;
        other.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
        for id in 11..=20 {
            other.sql(&format!("INSERT INTO shop.T VALUES ({id})"))?;
        }
        scene.workplace.configure(&config(&other))?;
        scene.is_refused("another one of the same name")?;
    }
    Ok(())
}

#[test]
fn missing_transactions_are_named() -> Result<()> {
    let scene = Scene::new(Kind::Mysql, &[])?;
    let uuid = scene.server.sql("SELECT @@server_uuid")?;
    reset_binlog(&scene.server)?;
    scene.is_refused(&format!("{}:1-5", uuid.trim()))?;
    let other = Server::mysql(&[])?;
    other.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
    scene.workplace.configure(&config(&other))?;
    scene.is_refused(&format!("{}:1-5", uuid.trim()))?;
    let scene = Scene::new(Kind::Mariadb, &[])?;
    reset_binlog(&scene.server)?;
    scene.is_refused("0-1-5")
}

#[test]
fn ends_and_checkpoints_past_the_end_are_refused() -> Result<()> {
    each(|kind, options| {
        let scene = Scene::new(kind, options)?;
        let gtids = match kind {
            Kind::Mysql => "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
            Kind::Mariadb | Kind::Mariadb11 => "7-7-7",
        };
        for until in [
            "binlog.000001:999999",
            "binlog.000009:4",
            "other.000001:4",
            gtids,
        ] {
            let output = scene.workplace.run(&["--until", until])?;
            let log = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.code() == Some(65),
                "{until}: {}: {log}",
                output.status
            );
        }
        // Without GTIDs nothing else tells that there is a gap.
        scene.edit(|checkpoint| {
            checkpoint["position"]["offset"] = 999_999.into();
            checkpoint["gtids"] = serde_json::Value::Null;
            checkpoint["lineage"]["last"] = serde_json::Value::Null;
        })?;
        scene.is_refused("restored or reset")
    })
}

#[test]
fn a_checkpoint_whose_gtids_cannot_be_read_is_refused() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb] {
        let scene = Scene::new(kind, &[])?;
        scene.insert(4..=4)?;
        let before = scene.workplace.checkpoint()?;
        for gtids in ["nonsense", "0-1", "3e11fa47-71ca-11e1-9e33-c80aa9429562"] {
            scene.edit(|checkpoint| checkpoint["gtids"] = gtids.into())?;
            scene.is_refused("GTID")?;
        }
        scene.edit(|checkpoint| {
            *checkpoint = before.clone();
            checkpoint["position"] = serde_json::Value::Null;
            checkpoint["gtids"] = serde_json::Value::Null;
        })?;
        scene.is_refused("neither")?;
        // The position is enough on the same server.
        scene.edit(|checkpoint| {
            *checkpoint = before;
            checkpoint["gtids"] = serde_json::Value::Null;
        })?;
        assert_eq!(scene.workplace.drain()?, "4\n");
    }
    Ok(())
}

/// Older versions knew no history; from now on it is remembered.
#[test]
fn an_older_checkpoint_is_believed_once() -> Result<()> {
    let scene = Scene::new(Kind::Mysql, &[])?;
    scene.edit(|checkpoint| {
        checkpoint["version"] = 1.into();
        if let Some(fields) = checkpoint.as_object_mut() {
            fields.retain(|name, _| {
                ["version", "server", "position", "gtids"].contains(&name.as_str())
            });
        }
    })?;
    scene.insert(4..=4)?;
    assert_eq!(scene.workplace.drain()?, "4\n");
    ensure!(scene.workplace.checkpoint()?["version"] == 6);
    reset_binlog(&scene.server)?;
    scene.insert(11..=30)?;
    scene.is_refused("restored or reset")
}
