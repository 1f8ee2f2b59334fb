//! The whole agent under the storm of faults that the sink is tested with.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hydrant::sim::Options;

use super::{Endpoint, T, config, insert, nothing_is_lost, shop};
use crate::setup::agent::{Workplace, eventually};

#[test]
fn the_agent_loses_nothing_in_a_storm_and_doubles_only_what_a_lost_answer_explains() -> Result<()> {
    const ROWS: u32 = 6_000;
    let server = shop()?;
    insert(&server, 0..ROWS, 1_000)?;
    let faults =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults/firehose/storm.toml");
    let mut endpoint = Endpoint::start(&["T"], |options| options.faults = Some(faults))?;
    // Many small requests, so that many faults find one.
    let sink = "bytes_per_second = \"2 MiB\"\nrequests_per_second = 100";
    let workplace = Workplace::new(&config(&server, T, &endpoint, sink))?;
    workplace.drain()?;
    let accounts = endpoint.stop()?;
    let account = &accounts.streams["T"];
    let (lost, twice) = (account.unconfirmed.rows, account.duplicated.rows);
    let copies = nothing_is_lost(&server, &endpoint)? as u64;
    let told = format!("{copies} copies: {:?}, {account:?}", accounts.faults);
    println!("{told}");
    ensure!(
        account.total.refused_records > 0 && lost > 0,
        "a breeze: {told}"
    );
    ensure!(
        account.total.admitted_rows == u64::from(ROWS) + lost,
        "{told}"
    );
    ensure!(copies == lost + twice, "{told}");
    Ok(())
}

#[test]
fn a_stop_before_all_rows_up_to_until_are_delivered_is_no_success() -> Result<()> {
    const TEMPORARY: i32 = 75;
    let server = shop()?;
    insert(&server, 0..10, 10)?;
    for (delay_s, stops, expected) in [(3, 1, 0), (600, 2, TEMPORARY)] {
        let faults = tempfile::NamedTempFile::new()?;
        let delay = format!("[[fault]]\ncall = \"firehose:PutRecordBatch\"\ndelay = {delay_s}\n");
        fs::write(faults.path(), delay)?;
        let slow = |options: &mut Options| options.faults = Some(faults.path().to_owned());
        let mut endpoint = Endpoint::start(&["T"], slow)?;
        let workplace = Workplace::new(&config(&server, T, &endpoint, ""))?;
        let mut agent = workplace.start_with(&["--until", "now"])?;
        eventually("it has started", || {
            Ok(agent.log().contains("following from").then_some(()))
        })?;
        eventually("rows are on their way", || {
            agent.signal("USR1")?;
            Ok(agent.log().contains("rows_waiting=10").then_some(()))
        })?;
        for stop in 0..stops {
            agent.signal("TERM")?;
            let told = [
                "SIGTERM: delivering what was read",
                "SIGTERM: stopping at once",
            ][stop];
            eventually(told, || Ok(agent.log().contains(told).then_some(())))?;
        }
        let code = agent.wait()?.code();
        ensure!(code == Some(expected), "{code:?}: {}", agent.log());
        if expected == TEMPORARY {
            ensure!(
                agent.log().contains("run the command again"),
                "{}",
                agent.log()
            );
            endpoint.options.faults = None;
            endpoint.stop()?;
            endpoint.start_again()?;
            workplace.drain()?;
        }
        endpoint.stop()?;
        nothing_is_lost(&server, &endpoint)?;
    }
    Ok(())
}
