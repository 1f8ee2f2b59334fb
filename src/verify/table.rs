//! One table from begin to end: what can be compared, both sides, the wait for the agent, and the judgement.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::cdc::{CheckedTable, Checkpoint, Onlooker, Server, TableScan};
use crate::config::{Config, KeyChange, Sink};
use crate::encode::MetadataColumn;
use crate::sink::TableFolder;
use crate::{Exit, Failure};

use super::judge::{Judge, Rules, Window};
use super::objects::{Place, version_in};
use super::options::Options;
use super::report::TableReport;
use super::second_look::{SecondLook, Sides};
use super::shape::{Columns, ShapeError, Shapes};
use super::source::{self, Part};
use super::spill::Spill;
use super::watch::Watch;
use super::{Job, TOLD_EVERY, Tally};

/// How often a table is begun anew that was altered while it was read.
const ATTEMPTS: u32 = 3;
/// Findings of each kind that are told.
const MOST_TOLD: usize = 100;

/// Compares tables.
pub(super) struct Verifier {
    config: Config,
    pub(super) options: Options,
    server: Server,
    watch: Arc<Watch>,
    onlooker: Onlooker,
    place: Arc<Place>,
}

impl Verifier {
    /// # Errors
    /// If the objects' place is not known, or needs what is not configured.
    pub(super) async fn new(
        config: Config,
        options: Options,
        server: Server,
        watch: Arc<Watch>,
    ) -> Result<Self, Failure> {
        let place = match &options.objects {
            Some(place) => Place::named(place).await?,
            None => Place::of_sink(&config.sink).await?,
        };
        Ok(Self {
            onlooker: Onlooker::open(&config.checkpoint).await?,
            place: Arc::new(place),
            config,
            options,
            server,
            watch,
        })
    }

    /// Compares a table.
    ///
    /// # Errors
    /// If it cannot be compared.
    pub(super) async fn compare(&mut self, table: &CheckedTable) -> Result<TableReport, Failure> {
        for _ in 0..ATTEMPTS {
            if let Some(report) = self.try_compare(table).await? {
                return Ok(report);
            }
            warn!("verify: {} was altered meanwhile", table.full_name());
        }
        Err(Failure::transient(
            Exit::Temporary,
            format!("table {} is altered again and again", table.full_name()),
            "start again when it stays as it is",
        ))
    }

    /// `None` if the table is altered meanwhile.
    async fn try_compare(&mut self, table: &CheckedTable) -> Result<Option<TableReport>, Failure> {
        let started = Instant::now();
        let name = table.full_name();
        let checkpoint = self.checkpoint().await?;
        let (job, rules) = self.job(table, &checkpoint).await?;
        let job = Arc::new(job);
        let folder = self.folder(table);
        let ticker = Ticker::begin(Arc::clone(&job), name.clone());
        let mut objects: Vec<String> = Vec::new();
        let first = self.place.list(&folder).await?;
        let reading = self.read_objects(&job, &mut objects, &first, false);
        let parts = source::read(&job, &self.config).await;
        if !self.is_same(table, &job.scan).await? {
            return Ok(None);
        }
        let Some(parts) = parts? else {
            return Ok(None);
        };
        let mut windows = self.windows(&parts).await?;
        if !job.is_numbered {
            // All that was visible before the table was read is before it; of the rest nobody knows.
            windows.fill(Window {
                low: 0,
                high: i64::MAX,
            });
        }
        let mut read = done(reading).await;
        if read.is_ok() {
            let second = self.visible(&folder).await?;
            let new: BTreeSet<String> = second.difference(&first).cloned().collect();
            let reading = self.read_objects(&job, &mut objects, &new, true);
            read = done(reading).await;
        }
        drop(ticker);
        let after = self.checkpoint().await?;
        let layouts = |of: &Checkpoint| of.layouts().remove(&name).unwrap_or_default();
        if layouts(&after).all() != layouts(&checkpoint).all() {
            return Ok(None);
        }
        read?;
        let mut judge = Judge::new(rules, &windows, job.shapes.whole, MOST_TOLD);
        tokio::task::block_in_place(|| job.spill.merge(|record| judge.take(record)))?;
        judge.conclude();
        let (counts, findings) = (judge.counts, judge.findings);
        let sides = Sides {
            job: &job,
            parts: &parts,
            objects: &objects,
            place: &self.place,
        };
        let look = SecondLook::of(&sides, &findings, &self.config).await?;
        let mut report = TableReport::new(name, counts, rules, look.told(&sides, &findings));
        report.objects = objects.len() as u64;
        report.seconds = started.elapsed().as_secs_f64();
        report.sample = self.options.sample;
        report.key = job.scan.identifying();
        report.compared = job
            .shapes
            .compared()
            .into_iter()
            .map(str::to_owned)
            .collect();
        report.not_compared = not_compared(table, &job, &report.compared);
        report.was_backfilled = checkpoint.backfilled().contains_key(&report.name);
        Ok(Some(report))
    }

    async fn checkpoint(&self) -> Result<Checkpoint, Failure> {
        self.onlooker.look().await?.ok_or_else(|| {
            Failure::definite(
                Exit::Data,
                "the checkpoint is gone",
                "restore it, or start the agent again",
            )
        })
    }

    /// What is compared, and how, if it can be.
    async fn job(
        &mut self,
        table: &CheckedTable,
        checkpoint: &Checkpoint,
    ) -> Result<(Job, Rules), Failure> {
        let name = table.full_name();
        let scan = TableScan::begin(&self.config, table, &mut self.server).await?;
        let progress = checkpoint.backfilled();
        let progress = progress.get(&name);
        if progress.is_some_and(|progress| !progress.is_done()) {
            let what =
                format!("table {name}: its rows from before are still being read (backfill)");
            return Err(Failure::transient(
                Exit::Temporary,
                what,
                "start again when the log says that its backfill is done",
            ));
        }
        let key = scan.identifying();
        let rules = Rules {
            knows_updates: table.operations.update || self.options.append_only,
            knows_deletes: table.operations.delete || self.options.append_only,
            is_exactly_once: !matches!(self.config.sink, Sink::Firehose(_) | Sink::Stdout),
            only_delivered: self.options.only_delivered,
            without_key: key.is_empty(),
            is_read_again: progress.is_some_and(crate::cdc::TableProgress::is_again),
            has_order: has(table, MetadataColumn::Sequence),
            knows_copies: has(table, MetadataColumn::Sequence)
                || has(table, MetadataColumn::Position) && has(table, MetadataColumn::Ordinal),
        };
        check_rules(table, &key, self.options.append_only)?;
        let layouts = checkpoint.layouts();
        let layouts: &[Columns] = layouts.get(&name).map_or(&[], |layouts| layouts.all());
        let seed = (table.dialect, rand::random());
        let (now, metadata) = (scan.plan()?.shape(), &table.metadata);
        let names = (table.schema.as_str(), table.name.as_str());
        let shapes = Shapes::new(seed, &now, layouts, (&key, metadata), names);
        let shapes = shapes.map_err(|error| not_comparable(&name, &error))?;
        Ok((
            Job {
                scan,
                shapes,
                spill: Arc::new(Spill::default()),
                watch: Arc::clone(&self.watch),
                tally: Tally::default(),
                is_numbered: has(table, MetadataColumn::Sequence),
                wait: self.options.wait,
                sampled_up_to: sampled_up_to(self.options.sample),
            },
            rules,
        ))
    }

    /// The folder of a table's objects in the place.
    fn folder(&self, table: &CheckedTable) -> String {
        if self.options.objects.is_some() {
            return String::new();
        }
        TableFolder::new(&table.schema, &table.name, table.dialect)
            .name()
            .to_owned()
    }

    /// Begins to read objects, which get the next numbers.
    fn read_objects(
        &self,
        job: &Arc<Job>,
        objects: &mut Vec<String>,
        names: &BTreeSet<String>,
        is_late: bool,
    ) -> JoinSet<Result<(), Failure>> {
        let first = objects.len();
        objects.extend(names.iter().cloned());
        let (job, place) = (Arc::clone(job), Arc::clone(&self.place));
        let names: Vec<String> = names.iter().cloned().collect();
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let mut records = job.spill.writer();
            let (mut scratch, dialect) = (Vec::new(), job.scan.table.dialect);
            for (index, name) in names.iter().enumerate() {
                let part = u32::try_from(first + index).unwrap_or(u32::MAX);
                let version = version_in(name);
                let mut take = |line: &[u8], fields: &super::fields::Fields, number: u32| {
                    let record =
                        job.shapes
                            .of_line((line, fields), version, (part, number), &mut scratch);
                    let record = record.map_err(|error| odd_line(name, number, &error))?;
                    job.tally.lines.fetch_add(1, Ordering::Relaxed);
                    let Some(mut record) = record.filter(|record| job.is_sampled(record)) else {
                        return Ok(());
                    };
                    if !job.is_numbered {
                        record.order = i64::from(is_late);
                    }
                    records.push(record)
                };
                place.read(name, dialect, &mut take).await?;
                job.tally.objects.fetch_add(1, Ordering::Relaxed);
                // Whoever has given up need not wait for all of them.
                yield_now().await;
            }
            records.flush()
        });
        reading
    }

    /// Whether the table's columns are those with which the reading began.
    async fn is_same(&mut self, table: &CheckedTable, scan: &TableScan) -> Result<bool, Failure> {
        let now = TableScan::begin(&self.config, table, &mut self.server).await?;
        Ok(now.columns == scan.columns)
    }

    /// What was visible when each part was read. Waits until the agent is behind all of them.
    async fn windows(&self, parts: &[Part]) -> Result<Vec<Window>, Failure> {
        let until = Instant::now() + self.options.wait;
        let mut windows = Vec::with_capacity(parts.len());
        for part in parts {
            windows.push(Window {
                low: part.low,
                high: self.watch.behind(&part.end, until).await?,
            });
        }
        Ok(windows)
    }

    /// The objects, when all that was committed is visible.
    async fn visible(&self, folder: &str) -> Result<BTreeSet<String>, Failure> {
        let is_own = self.options.objects.is_none();
        if matches!(self.config.sink, Sink::Firehose(_)) {
            info!(
                "verify: waiting for {:?}, in which a stream may buffer",
                self.options.buffer_interval
            );
            sleep(self.options.buffer_interval).await;
        }
        let until = Instant::now() + self.options.wait;
        loop {
            let sealed = self.checkpoint().await?.sealed;
            let names = self.place.list(folder).await?;
            let keys: BTreeSet<String> = names.iter().map(|name| self.place.key(name)).collect();
            let below = self.place.key(&format!("{folder}/"));
            let mut open = sealed
                .iter()
                .filter(|object| object.key.starts_with(&below));
            if !is_own || open.all(|object| keys.contains(&object.key)) {
                return Ok(names);
            }
            if Instant::now() > until {
                let what = "objects that are committed do not become visible";
                return Err(Failure::transient(
                    Exit::Temporary,
                    what,
                    "start the agent, which publishes them",
                ));
            }
            sleep(self.onlooker.interval()).await;
        }
    }
}

/// Columns of the table that are written now, and could not be compared in any line.
fn not_compared(table: &CheckedTable, job: &Job, compared: &[String]) -> Vec<String> {
    let names = table.written_columns(&job.scan.columns);
    let names = names.map(|column| column.name.clone());
    names.filter(|name| !compared.contains(name)).collect()
}

/// Waits for a task.
async fn done(mut reading: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    match reading.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        None => Ok(()),
    }
}

fn has(table: &CheckedTable, column: MetadataColumn) -> bool {
    table.metadata.contains(&column)
}

/// What lines must tell.
fn check_rules(table: &CheckedTable, key: &[String], append_only: bool) -> Result<(), Failure> {
    let name = table.full_name();
    let refused = |what: &str, remedy: &str| {
        let what = format!("table {name} cannot be compared: {what}");
        Err(Failure::definite(Exit::Config, what, remedy))
    };
    if !table.operations.insert {
        return refused(
            "its inserts are not followed",
            "add \"insert\" to its `events`",
        );
    }
    let follows_changes = table.operations.update || table.operations.delete;
    if (follows_changes || append_only) && !has(table, MetadataColumn::Sequence) {
        return refused(
            "its lines have no column `sequence`, which says which of them are the newest",
            "add \"sequence\" to its `metadata`; only lines with it can be compared",
        );
    }
    if table.operations.update && table.key_change == KeyChange::Update && !table.before_image {
        return refused(
            "with key_change = \"update\" lines do not tell which row a key was taken from",
            "set key_change = \"split\" or before_image = true",
        );
    }
    if key.is_empty() && table.operations.update && !table.before_image {
        return refused(
            "its lines have no key by which updates could be told apart",
            "write the columns of its key, or set before_image = true",
        );
    }
    Ok(())
}

fn sampled_up_to(percent: Option<f64>) -> u64 {
    let part = percent.unwrap_or(100.0) / 100.0;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of all hashes"
    )]
    let up_to = (u64::MAX as f64 * part) as u64;
    up_to
}

const LINES_REMEDY: &str = "lines from before `metadata` was changed, and lines of another dialect, cannot be compared with those since: \
     move their objects away, or choose another place for new ones and backfill. If layouts cannot be told apart, add \
     \"schema_version\" to `metadata`, or set on_schema_change = \"version\"";

fn not_comparable(table: &str, error: &ShapeError) -> Failure {
    Failure::definite(Exit::Data, format!("table {table}: {error}"), LINES_REMEDY)
}

fn odd_line(object: &str, number: u32, error: &ShapeError) -> Failure {
    let what = format!("{object}, line {}: {error}", u64::from(number) + 1);
    Failure::definite(Exit::Data, what, LINES_REMEDY)
}

/// Tells how it goes until it is dropped.
struct Ticker(JoinHandle<()>);

impl Ticker {
    fn begin(job: Arc<Job>, name: String) -> Self {
        Self(tokio::spawn(async move {
            loop {
                sleep(TOLD_EVERY).await;
                let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
                let tally = &job.tally;
                info!(
                    "verify: {name}: {} of about {} rows are read, and {} lines in {} objects",
                    count(&tally.rows),
                    job.scan.rows,
                    count(&tally.lines),
                    count(&tally.objects)
                );
            }
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}
