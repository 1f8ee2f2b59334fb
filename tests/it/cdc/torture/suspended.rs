//! An agent stands still at some step of a publication, another takes over its checkpoint in a bucket and goes on, and the first one
//! wakes up: it stops with 75, and nothing is lost or doubled.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::loader::wait_for_load;
use super::scene::{Scene, Sink};
use super::workload::MOST_PAUSE;
use super::{among_writers, check, is_overtaken, kills, with_seed};
use crate::setup::agent::{Agent, Workplace, eventually};
use crate::setup::front::{Call, Step, Trap};
use testkit::servers::Kind;

/// Kills for each round.
const KILLS_PER_ROUND: usize = 5;
/// How long to wait for a step.
const STEP_PATIENCE: Duration = Duration::from_secs(4);

/// When what was held goes on.
#[derive(Debug, Clone, Copy)]
enum Release {
    BeforeTheOtherStarts,
    BeforeItWakesUp,
    AfterIt,
}

/// Another agent completes an upload that the first one has sealed and was about to complete, and a loader takes the object. When the
/// first one asks, there is neither an upload nor an object; what it must not say is that rows were lost.
const COMPLETED_BY_ANOTHER: Plan = Plan {
    trap: Trap {
        call: Call::Complete,
        number: 1,
        step: Step::Asked,
    },
    release: Release::AfterIt,
};

/// Starts an agent, again if a late write of its predecessor has overtaken it.
fn follows(place: &Workplace) -> Result<Agent> {
    let start = || {
        fs::remove_file(place.path("agent.log")).ok();
        place.start()
    };
    let mut agent = start()?;
    eventually("it follows", || {
        if let Some(status) = agent.status()? {
            let log = agent.log();
            ensure!(is_overtaken(status.code(), &log), "{status}: {log}");
            agent = start()?;
        }
        Ok(agent.log().contains("following from").then_some(()))
    })?;
    Ok(agent)
}

/// Where an agent stands still, and when what is under way goes on.
#[derive(Debug)]
struct Plan {
    trap: Trap,
    release: Release,
}

impl Plan {
    fn of(rng: &mut StdRng) -> Self {
        use Call::{Complete, CreateUpload, UploadPart, WriteCheckpoint};
        let calls = [CreateUpload, UploadPart, Complete, WriteCheckpoint];
        let steps = [Step::Asked, Step::Done, Step::Answered];
        let releases = [
            Release::BeforeTheOtherStarts,
            Release::BeforeItWakesUp,
            Release::AfterIt,
        ];
        Self {
            trap: Trap {
                call: calls[rng.random_range(0..calls.len())],
                number: rng.random_range(1..4),
                step: steps[rng.random_range(0..steps.len())],
            },
            release: releases[rng.random_range(0..releases.len())],
        }
    }
}

/// The running agent stands still, one in another place takes over, and the first one wakes up and ends. Gives the other one.
fn takes_over(scene: &Scene, mut running: Agent, place: &Workplace, plan: &Plan) -> Result<Agent> {
    let front = scene.front()?;
    front.arm(plan.trap);
    let deadline = Instant::now() + STEP_PATIENCE;
    while !front.is_sprung() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(200));
    }
    running.signal("STOP")?;
    front.disarm();
    let go_on = || front.release(Some(Duration::ZERO));
    if let Release::BeforeTheOtherStarts = plan.release {
        go_on();
    }
    let next = follows(place)?;
    wait_for_load(&scene.loads)?;
    if let Release::BeforeItWakesUp = plan.release {
        go_on();
        wait_for_load(&scene.loads)?;
    }
    running.signal("CONT")?;
    go_on();
    let status = running.wait()?;
    let log = running.log();
    ensure!(
        is_overtaken(status.code(), &log),
        "{plan:?}: {status}: {log}"
    );
    Ok(next)
}

fn who_was_suspended_stops(kind: Kind) -> Result<()> {
    let rounds = (kills()? / KILLS_PER_ROUND / Kind::ALL.len()).max(1);
    with_seed(&format!("{rounds} agents of {kind:?} suspended"), |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let scene = Scene::new(kind, Sink::S3Alone, rng.random())?;
        let other = Workplace::new("")?;
        scene.configure(&other)?;
        let places = [&scene.workplace, &other];
        let seed = rng.random();
        let (ledger, ()) = among_writers(&scene, (seed, MOST_PAUSE), || {
            let mut running = follows(places[0])?;
            for round in 1..=rounds {
                let plan = match round {
                    1 => COMPLETED_BY_ANOTHER,
                    _ => Plan::of(&mut rng),
                };
                running = takes_over(&scene, running, places[round % 2], &plan)?;
            }
            let status = running.terminate()?;
            ensure!(status.success(), "{status}");
            Ok(())
        })?;
        check(&scene, &ledger)
    })
}

#[test]
fn who_was_suspended_stops_when_another_has_taken_over_on_mysql() -> Result<()> {
    who_was_suspended_stops(Kind::Mysql)
}

#[test]
fn who_was_suspended_stops_when_another_has_taken_over_on_mariadb() -> Result<()> {
    who_was_suspended_stops(Kind::Mariadb)
}

#[test]
fn who_was_suspended_stops_when_another_has_taken_over_on_mariadb_11() -> Result<()> {
    who_was_suspended_stops(Kind::Mariadb11)
}
