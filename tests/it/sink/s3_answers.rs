//! What S3 may answer to each call, and what the agent makes of it: rows are there once, or it stops with a remedy and the next
//! start has them.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config, eventually};
use crate::setup::bucket::Bucket;
use crate::setup::front::{Answered, Call, Front, Step, Trap};
use testkit::servers::Server;

const TABLE: &str = "name = \"shop.t\"";

struct Scene {
    server: Server,
    bucket: Bucket,
    front: Front,
    workplace: Workplace,
    rows: u32,
}

impl Scene {
    fn new(sink: &str) -> Result<Self> {
        Self::in_bucket(Bucket::start()?, sink)
    }

    fn in_bucket(bucket: Bucket, sink: &str) -> Result<Self> {
        let server = Server::mysql(&[])?;
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, s LONGTEXT)")?;
        let front = Front::of(&bucket.endpoint_url(), 1, Arc::default())?;
        let workplace = Workplace::new("")?;
        let text = format!(
            "[checkpoint]\npath = \"s3://lake/state/checkpoint.json\"\nendpoint = \"{}\"\n{}",
            front.url(),
            config(
                &server,
                TABLE,
                &format!("{}{sink}\n", bucket.sink(""))
                    .replace(&bucket.endpoint_url(), front.url())
            ),
        );
        fs::write(workplace.path("hydrant.toml"), text)?;
        Ok(Self {
            server,
            bucket,
            front,
            workplace,
            rows: 0,
        })
    }

    fn insert(&mut self) -> Result<()> {
        self.rows += 1;
        let insert = format!("INSERT INTO shop.t VALUES ({}, 'a')", self.rows);
        self.server.sql(&insert).map(drop)
    }

    /// Runs the agent to the end of the binlog; its exit code and log.
    fn drain(&self) -> Result<(Option<i32>, String)> {
        let output = self.workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.code(), log))
    }

    fn ensure_delivered(&self) -> Result<()> {
        let mut lines = String::new();
        for key in self
            .bucket
            .keys()?
            .iter()
            .filter(|it| it.starts_with("raw/"))
        {
            lines.push_str(&self.bucket.object(key)?.text);
        }
        let id = |line: &str| line.split(',').next().unwrap_or_default().parse();
        let mut ids: Vec<u32> = lines.lines().map(id).collect::<Result<_, _>>()?;
        ids.sort_unstable();
        ensure!(ids == (1..=self.rows).collect::<Vec<_>>(), "{ids:?}");
        Ok(())
    }
}

const fn answered(call: Call, times: u32, status: u16, body: &'static str) -> Answered {
    Answered {
        call,
        after: 0,
        times,
        status,
        body,
    }
}

/// S3 sends 200 before it knows, and says in the body what has become of it.
#[test]
fn what_passes_is_asked_again() -> Result<()> {
    const FAILED: &str = "<?xml version=\"1.0\"?>\n\n<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>";
    const CONFLICT: &str = "<Error><Code>ConditionalRequestConflict</Code></Error>";
    const TIMEOUT: &str = "<Error><Code>RequestTimeout</Code></Error>";
    const DENIED: &str = "<Error><Code>AccessDenied</Code></Error>";
    const UNKNOWN: &str = "<Error><Code>NewKindOfError</Code></Error>";
    const NO_UPLOAD: &str = "<Error><Code>NoSuchUpload</Code></Error>";
    const BROKEN: &str = "<?xml version=\"1.0\"?>\n    ";
    const HALF: &str = "<Error><Code>Internal";
    let mut scene = Scene::new("patience = \"20s\"")?;
    for answers in [
        answered(Call::Complete, 2, 200, FAILED),
        answered(Call::Complete, 2, 200, HALF),
        answered(Call::Complete, 2, 200, BROKEN),
        answered(Call::Complete, 2, 200, ""),
        answered(Call::Complete, 2, 409, CONFLICT),
        answered(Call::Complete, 2, 400, TIMEOUT),
        answered(Call::Complete, 2, 400, UNKNOWN),
        // The permission comes back within sink.patience.
        answered(Call::Complete, 2, 403, DENIED),
        answered(Call::CreateUpload, 2, 200, FAILED),
        answered(Call::CreateUpload, 2, 400, TIMEOUT),
        answered(Call::UploadPart, 2, 400, TIMEOUT),
        // Somebody has aborted it. What it had is in memory.
        answered(Call::UploadPart, 1, 404, NO_UPLOAD),
        answered(Call::WriteCheckpoint, 2, 409, CONFLICT),
        answered(Call::WriteCheckpoint, 2, 200, FAILED),
        // Without an ETag, which tells nothing.
        answered(Call::WriteCheckpoint, 1, 200, ""),
    ] {
        scene.insert()?;
        scene.front.answer(answers);
        let (code, log) = scene.drain()?;
        ensure!(code == Some(0), "{answers:?}: {code:?}: {log}");
        ensure!(scene.front.unanswered() == 0, "{answers:?}: {log}");
        scene
            .ensure_delivered()
            .with_context(|| format!("{answers:?}: {log}"))?;
    }
    Ok(())
}

/// Parts that are gone with their upload are not in memory any more.
#[test]
fn an_upload_that_is_aborted_before_it_is_whole_is_begun_again_by_the_next_start() -> Result<()> {
    let mut scene = Scene::new("patience = \"0s\"")?;
    // Random text hardly shrinks.
    scene.server.sql(
        "SET SESSION cte_max_recursion_depth = 100000; INSERT INTO shop.t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL \
         SELECT i + 1 FROM n WHERE i < 10000) SELECT i, HEX(RANDOM_BYTES(1000)) FROM n",
    )?;
    scene.rows = 10_000;
    scene.insert()?;
    scene.front.answer(Answered {
        after: 1,
        ..answered(
            Call::UploadPart,
            1,
            404,
            "<Error><Code>NoSuchUpload</Code></Error>",
        )
    });
    let (code, log) = scene.drain()?;
    ensure!(code == Some(75), "{code:?}: {log}");
    ensure!(
        log.contains("start again: its rows are read again"),
        "{log}"
    );
    ensure!(scene.drain()?.0 == Some(0));
    scene.ensure_delivered()
}

/// What is committed needs no database to appear.
#[test]
fn what_was_committed_appears_though_the_database_is_gone() -> Result<()> {
    for bucket in [Bucket::start()?, Bucket::start_in_moto()?] {
        appears_without_a_database(bucket)?;
    }
    Ok(())
}

fn appears_without_a_database(bucket: Bucket) -> Result<()> {
    let mut scene = Scene::in_bucket(bucket, "flush_interval = \"20ms\"")?;
    scene.front.arm(Trap {
        call: Call::Complete,
        number: 1,
        step: Step::Asked,
    });
    scene.insert()?;
    let agent = scene.workplace.start()?;
    eventually("it is about to publish", || {
        Ok(scene.front.is_sprung().then_some(()))
    })
    .with_context(|| agent.log())?;
    agent.kill9()?;
    scene.front.release(None);
    scene.server.stop()?;
    let (code, log) = scene.drain()?;
    ensure!(code == Some(69), "{code:?}: {log}");
    scene.ensure_delivered().with_context(|| log)
}
