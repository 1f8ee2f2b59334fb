//! Agents that read tables that were there before, and what has come of their rows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::agent::{Agent, Workplace, config, eventually, gunzip_all};
use testkit::servers::Server;

/// How long objects wait, unless it matters.
pub(crate) const SOON: &str = "50ms";

/// An agent's folder that reads and follows a table, the TOML of its section, into `data`. `settings` are of `[backfill]`.
pub(crate) fn workplace(
    server: &Server,
    table: &str,
    flush: &str,
    settings: &str,
) -> Result<Workplace> {
    let workplace = Workplace::new("")?;
    let sink = format!(
        "path = \"{}\"\nflush_interval = \"{flush}\"",
        workplace.path("data").display()
    );
    let text = config(server, table, &sink).replace("earliest", "latest");
    workplace.configure(&format!("{text}[backfill]\n{settings}\n"))?;
    Ok(workplace)
}

/// Waits until an agent's log has a text.
pub(crate) fn says(agent: &Agent, text: &str) -> Result<()> {
    eventually(text, || Ok(agent.log().contains(text).then_some(()))).with_context(|| agent.log())
}

/// The operations, which are in the last field, by which each row has come; its number is in the first.
pub(crate) fn delivered(workplace: &Workplace) -> Result<BTreeMap<u64, String>> {
    let mut delivered: BTreeMap<u64, String> = BTreeMap::new();
    for line in gunzip_all(&workplace.path("data"))?.lines() {
        let number = line.split(',').next().unwrap_or_default().parse()?;
        let operation = line.rsplit(',').next().unwrap_or_default();
        *delivered.entry(number).or_default() += operation;
    }
    Ok(delivered)
}

/// Each row of `shop.T` has come once, by the numbers in this column, and no other one twice. Gives how.
pub(crate) fn ensure_once(
    server: &Server,
    workplace: &Workplace,
    column: &str,
) -> Result<BTreeMap<u64, String>> {
    let delivered = delivered(workplace)?;
    let twice: Vec<_> = delivered
        .iter()
        .filter(|(_, it)| it.len() != 1)
        .take(5)
        .collect();
    ensure!(twice.is_empty(), "{twice:?}");
    let there = server.sql(&format!("SELECT {column} FROM shop.T"))?;
    ensure_none_missing(&there, |number| delivered.contains_key(&number))?;
    Ok(delivered)
}

/// Each number, a line of its own, has come.
pub(crate) fn ensure_none_missing(there: &str, has_come: impl Fn(u64) -> bool) -> Result<()> {
    let there: Vec<u64> = there.lines().map(str::parse).collect::<Result<_, _>>()?;
    let missing: Vec<_> = there.iter().filter(|it| !has_come(**it)).collect();
    ensure!(
        missing.is_empty(),
        "{} of {} rows are missing: {:?}",
        missing.len(),
        there.len(),
        &missing[..missing.len().min(6)]
    );
    Ok(())
}
