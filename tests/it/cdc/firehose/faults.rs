//! The whole agent under the storm of faults that the sink is tested with.

use std::path::Path;

use anyhow::{Result, ensure};

use super::{Endpoint, T, config, insert, nothing_is_lost, shop};
use crate::setup::agent::Workplace;

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
