//! Kill -9 of the real program, again and again, in the moments around reading, staging, sealing, publishing and their answers.
//! Nothing may be lost, and in directories and buckets nothing may come twice or in another order.
//!
//! `make test` runs 60 kills, `make torture` as many as `TORTURE_KILLS` says. `TORTURE_SEED` repeats what is random:
//! statements, moments and faults, though not the time that each takes.

mod away;
mod checker;
mod ledger;
mod loader;
mod moments;
mod scene;
mod suspended;
mod workload;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::setup::agent::Workplace;
use testkit::servers::Kind;

use checker::Delivered;
use ledger::{Ledger, TABLES};
use loader::{Loader, wait_for_load};
use moments::{Awaited, Moment, moments};
use scene::{Scene, Sink, faults};
use workload::MOST_PAUSE;

/// Kills of all scenes together, unless `TORTURE_KILLS` is set.
const KILLS: usize = 60;
/// Scenes that share them.
const SCENES: usize = 12;
/// Kills of a scene of which at least half come in a moment that was waited for.
const MANY: usize = 20;

pub(super) fn variable<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Some(text) = env::var_os(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let value = text.parse().ok();
    value.map(Some).with_context(|| format!("{name}={text}"))
}

/// Kills of all scenes.
fn kills() -> Result<usize> {
    Ok(variable("TORTURE_KILLS")?.unwrap_or(KILLS))
}

/// Runs a scene with its own seed, and says which that was.
fn with_seed(scene: &str, run: impl FnOnce(u64) -> Result<()>) -> Result<()> {
    let seed: u32 = variable("TORTURE_SEED")?.unwrap_or_else(rand::random);
    println!("{scene}: TORTURE_SEED={seed}");
    let own = (u64::from(seed) << 32) | u64::from(crc32fast::hash(scene.as_bytes()));
    run(own).with_context(|| format!("{scene}: TORTURE_SEED={seed}"))
}

fn torture(number: usize, kind: Kind, sink: Sink) -> Result<()> {
    let kills = kills()?;
    let kills = kills / SCENES + usize::from(number < kills % SCENES);
    let name = format!("{sink:?} from {kind:?}, {kills} kills");
    with_seed(&name, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let scene = Scene::new(kind, sink, rng.random())?;
        let seed = rng.random();
        let kill = || kill_again_and_again(&scene, kills, &mut rng);
        let (ledger, tally) = among_writers(&scene, (seed, MOST_PAUSE), kill)?;
        println!("{:?}\n{tally:?}", ledger.counts);
        // Else it was killed in other moments than those that count. Of few kills a slow machine may miss most.
        let hits: usize = tally.values().map(|tally| tally.hits).sum();
        let wanted = if kills < MANY { 1 } else { kills / 2 };
        ensure!(hits >= wanted, "few moments came: {tally:?}");
        scene.shut_down()?;
        check(&scene, &ledger)
    })
}

/// How often a moment was waited for, and has come.
#[derive(Debug, Default)]
struct Tally {
    tries: usize,
    hits: usize,
}

/// Does something to agents while somebody writes and somebody loads, and has the scene's agent finish.
fn among_writers<T>(
    scene: &Scene,
    (seed, most_pause): (u64, Duration),
    disturb: impl FnOnce() -> Result<T>,
) -> Result<(Ledger, T)> {
    let (stop, is_drained) = (AtomicBool::new(false), AtomicBool::new(false));
    let taken = scene.workplace.path("taken");
    let loads = Arc::clone(&scene.loads);
    let loader = match scene.source() {
        Some(source) => Some(Loader::new(source, &taken, loads)?),
        None => None,
    };
    let server = &scene.server;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| workload::write(server, seed, most_pause, &stop));
        let loader = loader.as_ref();
        let loading = loader.map(|loader| scope.spawn(|| loader.run(&is_drained)));
        let disturbed = disturb();
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().ok().context("the writer panicked")?;
        let drained = match (&disturbed, &written) {
            (Ok(_), Ok(_)) => drain(&scene.workplace),
            _ => Ok(()),
        };
        is_drained.store(true, Ordering::Relaxed);
        if let Some(loading) = loading {
            loading.join().ok().context("the loader panicked")??;
        }
        // Without rows the others wait in vain.
        let written = written?;
        let disturbed = disturbed?;
        drained?;
        Ok((written, disturbed))
    })
}

fn kill_again_and_again(
    scene: &Scene,
    kills: usize,
    rng: &mut StdRng,
) -> Result<BTreeMap<String, Tally>> {
    let mut tally: BTreeMap<String, Tally> = BTreeMap::new();
    let first_round = rng.random_range(0..100);
    scene.simulate(first_round)?;
    let mut deck: Vec<Moment> = Vec::new();
    let rounds = faults()?.len().min(kills);
    for number in 0..kills {
        // Each file of faults has its share.
        if number > 0 && number * rounds / kills > (number - 1) * rounds / kills {
            scene.simulate(first_round + number * rounds / kills)?;
        }
        if deck.is_empty() {
            deck = moments(scene.sink);
            deck.shuffle(rng);
        }
        let Some(moment) = deck.pop() else {
            break;
        };
        let awaited = Awaited::new(scene, moment, rng)?;
        // Its log is that of its last run.
        fs::remove_file(scene.workplace.path("agent.log")).ok();
        let mut agent = scene.workplace.start()?;
        let mut ended = None;
        let has_come = awaited.wait(rng, || {
            ended = agent.status()?;
            Ok(ended.is_some())
        })?;
        if let Some(status) = ended {
            let log = agent.log();
            ensure!(
                is_overtaken(status.code(), &log),
                "{moment}: {status}: {log}"
            );
        }
        agent.kill9()?;
        scene.proxy.disarm();
        scene.proxy.cut_all();
        if let Ok(front) = scene.front() {
            front.disarm();
            // What was under way arrives late, or never.
            front.release(match rng.random_range(0..3) {
                0 => None,
                1 => Some(Duration::ZERO),
                _ => Some(Duration::from_millis(rng.random_range(0..600))),
            });
        }
        let tally = tally.entry(moment.to_string()).or_default();
        tally.tries += 1;
        tally.hits += usize::from(has_come);
        if scene.source().is_some() && rng.random_bool(0.5) {
            wait_for_load(&scene.loads)?;
        }
    }
    Ok(tally)
}

/// Whether a start has lost the checkpoint in the bucket to a write of its predecessor that came late.
fn is_overtaken(code: Option<i32>, log: &str) -> bool {
    code == Some(75) && log.contains("has taken over the checkpoint")
}

/// Has the agent finish, as whoever supervises it would.
fn drain(place: &Workplace) -> Result<()> {
    for _ in 0..3 {
        let output = place.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Ok(());
        }
        ensure!(
            is_overtaken(output.status.code(), &log),
            "{}: {log}",
            output.status
        );
    }
    bail!("overtaken again and again")
}

fn check(scene: &Scene, ledger: &Ledger) -> Result<()> {
    let taken = scene.workplace.path("taken");
    let is_exact = scene.sink != Sink::Firehose;
    let names = if is_exact {
        ["shop.a", "shop.b", "shop.c"]
    } else {
        TABLES
    };
    let delivered = Delivered::read(&taken, names, is_exact)?;
    println!(
        "{} lines committed, {} copies, {} objects",
        ledger.lines.len(),
        delivered.copies,
        delivered.objects
    );
    ensure!(ledger.lines.len() > 100, "the writer hardly wrote");
    delivered.is_all_of(ledger)?;
    delivered.is_the_tables(&scene.server, ledger)?;
    delivered.is_of_one_run(&scene.undisturbed()?)?;
    if is_exact {
        ensure!(delivered.copies == 0, "{} rows twice", delivered.copies);
        checker::duckdb_finds(&taken, &scene.server, ledger)?;
    }
    if scene.sink == Sink::S3Alone {
        ensure!(!scene.workplace.path("checkpoint.json").exists());
    }
    if scene.sink == Sink::Dir {
        let unfinished = scene.workplace.path("data/.unfinished");
        for left in fs::read_dir(unfinished)? {
            let left = left?;
            // An empty one is what a first start was killed over, before anybody knew whose it was.
            ensure!(left.metadata()?.len() == 0, "{left:?} is left");
        }
    }
    Ok(())
}

#[test]
fn kills_lose_and_double_nothing_in_dir_from_mysql() -> Result<()> {
    torture(0, Kind::Mysql, Sink::Dir)
}

#[test]
fn kills_lose_and_double_nothing_in_dir_from_mariadb() -> Result<()> {
    torture(1, Kind::Mariadb, Sink::Dir)
}

#[test]
fn kills_lose_and_double_nothing_in_dir_from_mariadb_11() -> Result<()> {
    torture(2, Kind::Mariadb11, Sink::Dir)
}

#[test]
fn kills_lose_and_double_nothing_in_s3_from_mysql() -> Result<()> {
    torture(3, Kind::Mysql, Sink::S3)
}

#[test]
fn kills_lose_and_double_nothing_in_s3_from_mariadb() -> Result<()> {
    torture(4, Kind::Mariadb, Sink::S3)
}

#[test]
fn kills_lose_and_double_nothing_in_s3_from_mariadb_11() -> Result<()> {
    torture(5, Kind::Mariadb11, Sink::S3)
}

#[test]
fn kills_lose_and_double_nothing_without_a_disk_from_mysql() -> Result<()> {
    torture(6, Kind::Mysql, Sink::S3Alone)
}

#[test]
fn kills_lose_and_double_nothing_without_a_disk_from_mariadb() -> Result<()> {
    torture(7, Kind::Mariadb, Sink::S3Alone)
}

#[test]
fn kills_lose_and_double_nothing_without_a_disk_from_mariadb_11() -> Result<()> {
    torture(8, Kind::Mariadb11, Sink::S3Alone)
}

#[test]
fn kills_lose_nothing_in_firehose_from_mysql() -> Result<()> {
    torture(9, Kind::Mysql, Sink::Firehose)
}

#[test]
fn kills_lose_nothing_in_firehose_from_mariadb() -> Result<()> {
    torture(10, Kind::Mariadb, Sink::Firehose)
}

#[test]
fn kills_lose_nothing_in_firehose_from_mariadb_11() -> Result<()> {
    torture(11, Kind::Mariadb11, Sink::Firehose)
}
