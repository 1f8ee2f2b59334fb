//! What a start logs about rows that it will not deliver, before anything is stored: those from before a first
//! start, from before a table was followed, and between a checkpoint and a `source.start` that is not used.

use tracing::{info, warn};

use crate::binlog::FilePosition;
use crate::config::{self, Config, Start};

use super::checkpoint::Checkpoint;
use super::kept_binlog::has_gtids;
use super::listed::some_of;
use super::preflight::Preflight;
use super::server::Mark;

/// Says it, for a start at `mark`; without a checkpoint the sink has rows of the tables `with_rows`.
pub(super) fn missing_rows(
    config: &Config,
    loaded: Option<&Checkpoint>,
    mark: &Mark,
    checked: &Preflight,
    with_rows: &[String],
) {
    match loaded {
        None => {
            first_start(config, with_rows);
            if checked.tables.iter().any(|it| it.backfill.is_wanted()) {
                info!("the rows that tables with `backfill` have are delivered, too");
            }
            if has_gtids(&checked.server) {
                unknown_gtids(mark);
            }
        }
        Some(checkpoint) => {
            unused_start(config, mark);
            new_tables(checkpoint, checked);
        }
    }
}

/// Says what is followed, and from where.
pub(super) fn followed(checked: &Preflight, mark: &Mark, has_checkpoint: bool) {
    for table in &checked.tables {
        info!("{table}");
    }
    let (listed, patterns) = (&checked.listed, &checked.new_tables.patterns);
    for pattern in patterns.iter() {
        let is_meant = |table: &&config::Table| {
            let meant = patterns.of(&table.schema, &table.name);
            meant.is_some_and(|meant| meant.name == pattern.name)
        };
        let count = listed.tables.iter().filter(is_meant).count();
        info!(
            "following what {:?} means: {count} tables now, and those that are created later",
            pattern.name
        );
    }
    let from = if has_checkpoint {
        "the checkpoint"
    } else {
        "source.start"
    };
    match (&mark.position, &mark.gtids) {
        (Some(position), _) => info!("following from {position} ({from})"),
        (None, Some(gtids)) => info!("following after {gtids} ({from})"),
        (None, None) => {}
    }
    if let Some(from) = &mark.xa.from {
        info!("reading from {from} to collect the rows of prepared XA transactions");
    }
}

/// A binlog tells which GTIDs were before it only where a file begins.
fn unknown_gtids(mark: &Mark) {
    if let (Some(position), None) = (&mark.position, &mark.gtids)
        && position.offset > FilePosition::FIRST_OFFSET
    {
        warn!(
            "the GTIDs before {position} are unknown until the server begins its next binlog file; until then, \
             no other server can be followed from the checkpoint (exit 65 after a failover). FLUSH BINARY LOGS \
             begins a file"
        );
    }
}

fn first_start(config: &Config, with_rows: &[String]) {
    let checkpoint = &config.checkpoint;
    if !with_rows.is_empty() {
        warn!(
            "there is no checkpoint in {checkpoint}, but {} has rows of {} already: if the checkpoint \
             was lost, rows committed since the newest of these are not delivered, or rows come twice, \
             depending on source.start; see \"A lost checkpoint\" in docs/delivery.md",
            config.sink,
            with_rows.join(", ")
        );
    }
    match &config.source.start {
        Start::Latest if config.source.start_is_default => warn!(
            "there is no checkpoint in {checkpoint}: rows committed before now are not delivered; for those \
             that the binlog still has, stop, delete the checkpoint and set source.start = \"earliest\"; for \
             those that tables have, give them `backfill = true`; source.start = \"latest\" disables this warning"
        ),
        Start::Latest => info!("rows committed before now are not delivered (source.start)"),
        Start::Earliest | Start::Position(_) | Start::Gtids(_) => {
            info!("rows committed before source.start are not delivered");
        }
    }
}

/// `source.start` is for a start without a checkpoint.
fn unused_start(config: &Config, mark: &Mark) {
    let is_there = match &config.source.start {
        _ if config.source.start_is_default => true,
        Start::Position(position) => mark.position.as_ref() == Some(position),
        Start::Gtids(text) => {
            let sets = [
                Some(text.as_str().to_owned()),
                mark.gtids.as_ref().map(ToString::to_string),
            ];
            sets[0] == sets[1]
        }
        Start::Latest | Start::Earliest => {
            info!("source.start is not used, because there is a checkpoint");
            true
        }
    };
    if !is_there {
        warn!(
            "source.start is not used, because there is a checkpoint in {}, which is at {}; to \
             start at source.start, stop and delete the checkpoint: rows in between are then delivered again or \
             not at all",
            config.checkpoint,
            place(mark)
        );
    }
}

fn place(mark: &Mark) -> String {
    match (&mark.position, &mark.gtids) {
        (Some(position), _) => position.to_string(),
        (None, Some(gtids)) => gtids.to_string(),
        (None, None) => "an unknown position".to_owned(),
    }
}

/// A checkpoint is of the tables that were followed up to it.
fn new_tables(checkpoint: &Checkpoint, checked: &Preflight) {
    if checkpoint.tables.is_empty() && checkpoint.patterns.is_empty() {
        // It is of a hydrant that did not note them.
        return;
    }
    let folds = checked.new_tables.patterns.folds();
    let by_name = checked.tables.iter();
    let by_name = by_name.map(|table| (&table.schema, &table.name, table.operations));
    let meant = checked.listed.tables.iter();
    let meant = meant.map(|table| (&table.schema, &table.name, table.operations));
    let is_read = |name: &String| {
        let mut read = checked.tables.iter().filter(|it| it.backfill.is_wanted());
        read.any(|table| table.full_name() == *name)
    };
    let mut starting = Vec::new();
    for (schema, table, now) in by_name.chain(meant) {
        let name = format!("{schema}.{table}");
        let Some(before) = checkpoint.followed(schema, table, folds) else {
            if !is_read(&name) {
                starting.push(name);
            }
            continue;
        };
        for (event, is_new) in [
            ("inserts", now.insert && !before.insert),
            ("updates", now.update && !before.update),
            ("deletes", now.delete && !before.delete),
        ] {
            if is_new {
                warn!(
                    "{event} of {name} were not followed before: those from before the checkpoint are not \
                     delivered; compare the table with what was delivered"
                );
            }
        }
    }
    match starting.as_slice() {
        [] => {}
        [name] => warn!(
            "{name} was not followed before: its rows from before the checkpoint are not delivered; those that it \
             has can be read from it (docs/backfill.md)"
        ),
        names => warn!(
            "{} were not followed before: their rows from before the checkpoint are not delivered; those that \
             they have can be read from them (docs/backfill.md)",
            some_of(names)
        ),
    }
}
