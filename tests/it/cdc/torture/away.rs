//! The bucket is away at full load: memory stays bounded, and what was held up is delivered afterwards, each row once.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::loader::wait_for_load;
use super::scene::{Scene, Sink};
use super::{among_writers, check, kills, with_seed};
use testkit::servers::Kind;

/// The outage for each kill: 30 s for 1,000.
const OUTAGE_PER_KILL: Duration = Duration::from_millis(30);
/// What the process may have in memory at most, in KiB.
const MOST_MEMORY_KIB: u64 = 96 << 10;

fn peak_memory_kib(process_id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(peak.context("no VmHWM")?.parse()?)
}

#[test]
fn an_outage_of_the_bucket_at_full_load_loses_and_doubles_nothing() -> Result<()> {
    let outage = OUTAGE_PER_KILL * u32::try_from(kills()?)?;
    with_seed(&format!("a bucket that is away for {outage:?}"), |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let scene = Scene::new(Kind::Mysql, Sink::S3, rng.random())?;
        let (ledger, peak) = among_writers(&scene, (rng.random(), Duration::ZERO), || {
            let mut agent = scene.workplace.start()?;
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(rng.random_range(500..1_000)));
                scene.front()?.go_away(true);
                std::thread::sleep(outage / 2);
                scene.front()?.go_away(false);
                wait_for_load(&scene.loads)?;
            }
            ensure!(agent.status()?.is_none(), "it has ended: {}", agent.log());
            let peak = peak_memory_kib(agent.process_id())?;
            let status = agent.terminate()?;
            ensure!(status.success(), "{status}");
            Ok(peak)
        })?;
        println!("{peak} KiB at most");
        ensure!(peak <= MOST_MEMORY_KIB, "{peak} KiB");
        check(&scene, &ledger)
    })
}
