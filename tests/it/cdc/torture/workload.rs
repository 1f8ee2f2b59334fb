//! What is written while agents die: one task that drives several connections, so that it knows the order of all commits.
//!
//! It notes what each statement does to rows, which are named by their keys, and knows nothing of binlogs. No two open transactions touch
//! the same row.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::ledger::{B, C, Effect, Ledger, PASSING, TABLES, Transaction, note_literal};
use crate::setup::agent::PATIENCE;
use testkit::servers::{Kind, Server};

const CONNECTIONS: usize = 4;
/// The pause between two statements at most, unless as much is to be written as goes.
pub(super) const MOST_PAUSE: Duration = Duration::from_millis(2);

struct Connection {
    conn: Conn,
    open: Option<Transaction>,
}

struct Writer<'a> {
    server: &'a Server,
    rng: StdRng,
    connections: Vec<Connection>,
    /// Prepared, and their connections have gone.
    detached: Vec<Transaction>,
    ledger: Ledger,
    shapes: [[bool; 2]; 3],
    next_id: u64,
    next_n: u64,
}

/// Writes until it is told to stop, with pauses of up to `most_pause`, and ends what it has begun.
pub(super) fn write(
    server: &Server,
    seed: u64,
    most_pause: Duration,
    stop: &AtomicBool,
) -> Result<Ledger> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut writer = Writer {
            server,
            rng: StdRng::seed_from_u64(seed),
            connections: Vec::new(),
            detached: Vec::new(),
            ledger: Ledger::default(),
            shapes: [[false; 2]; 3],
            next_id: 1,
            next_n: 1,
        };
        for _ in 0..CONNECTIONS {
            let conn = connect(server).await?;
            writer.connections.push(Connection { conn, open: None });
        }
        while !stop.load(Ordering::Relaxed) {
            writer.step().await?;
            let pause = most_pause.mul_f32(writer.rng.random());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        writer.end_all(|_| true).await?;
        Ok(writer.ledger)
    })
}

async fn connect(server: &Server) -> Result<Conn> {
    let mut conn = Conn::from_url(server.url()).await?;
    // No gaps are locked; a mistake here ends in an error and not in a test that hangs.
    conn.query_drop(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION innodb_lock_wait_timeout = 20, lock_wait_timeout = 2; SET NAMES utf8mb4; USE shop",
    )
    .await?;
    Ok(conn)
}

impl Writer<'_> {
    async fn run(&mut self, at: usize, sql: &str) -> Result<()> {
        let start: String = sql.chars().take(200).collect();
        self.connections[at]
            .conn
            .query_drop(sql)
            .await
            .context(start)
    }

    fn count(&mut self, what: &'static str) {
        *self.ledger.counts.entry(what).or_default() += 1;
    }

    async fn step(&mut self) -> Result<()> {
        match self.rng.random_range(0..1000) {
            0..8 => {
                self.count("rotation");
                let at = self.idle().await?;
                self.run(at, "FLUSH BINARY LOGS").await
            }
            8..20 => self.change_columns().await,
            20..60 if !self.detached.is_empty() => {
                let chosen = self.rng.random_range(0..self.detached.len());
                self.end_detached(chosen).await
            }
            _ => {
                let at = self.rng.random_range(0..self.connections.len());
                match self.connections[at]
                    .open
                    .as_ref()
                    .map(|open| (open.xa.is_some(), open.is_prepared))
                {
                    None => self.begin(at).await,
                    Some((_, true)) => self.go_on_prepared(at).await,
                    Some((true, false)) => self.go_on_xa(at).await,
                    Some((false, false)) => self.go_on(at).await,
                }
            }
        }
    }

    async fn begin(&mut self, at: usize) -> Result<()> {
        match self.rng.random_range(0..10) {
            0..4 => {
                self.connections[at].open = Some(Transaction::default());
                self.change_rows(at, true).await?;
                self.count("statement");
                self.committed(at);
                Ok(())
            }
            4..7 => {
                self.connections[at].open = Some(Transaction::default());
                self.run(at, "BEGIN").await
            }
            _ => {
                self.next_n += 1;
                let name = format!("'x{}'", self.next_n);
                self.run(at, &format!("XA START {name}")).await?;
                self.connections[at].open = Some(Transaction {
                    xa: Some(name),
                    ..Transaction::default()
                });
                Ok(())
            }
        }
    }

    async fn go_on(&mut self, at: usize) -> Result<()> {
        match self.rng.random_range(0..20) {
            0..10 => self.change_rows(at, false).await,
            10 | 11 => {
                let open = self.open(at);
                open.savepoints.push(open.effects.len());
                let name = open.savepoints.len();
                self.run(at, &format!("SAVEPOINT s{name}")).await
            }
            12 | 13 => {
                let known = self.open(at).savepoints.len();
                if known == 0 {
                    return Ok(());
                }
                let name = self.rng.random_range(1..=known);
                self.count("rollback to savepoint");
                self.run(at, &format!("ROLLBACK TO SAVEPOINT s{name}"))
                    .await?;
                self.open(at).go_back(name);
                Ok(())
            }
            // With it the binlog of a MariaDB has rows that are rolled back.
            14 if self.server.kind() != Kind::Mysql => {
                self.next_n += 1;
                let name = format!("t{}", self.next_n);
                self.count("temporary table");
                let sql =
                    format!("CREATE TEMPORARY TABLE {name} (i int); DROP TEMPORARY TABLE {name}");
                self.run(at, &sql).await
            }
            15 => {
                self.count("rollback");
                self.run(at, "ROLLBACK").await?;
                self.connections[at].open = None;
                Ok(())
            }
            _ => {
                self.count("transaction");
                self.run(at, "COMMIT").await?;
                self.committed(at);
                Ok(())
            }
        }
    }

    async fn go_on_xa(&mut self, at: usize) -> Result<()> {
        let open = self.open(at);
        let (name, is_empty) = (open.xa.clone().unwrap_or_default(), open.effects.is_empty());
        match self.rng.random_range(0..10) {
            _ if is_empty => self.change_rows(at, false).await,
            0..5 => self.change_rows(at, false).await,
            5 => {
                self.count("XA in one phase");
                self.run(at, &format!("XA END {name}")).await?;
                self.run(at, &format!("XA COMMIT {name} ONE PHASE")).await?;
                self.committed(at);
                Ok(())
            }
            6 => {
                self.count("XA rollback");
                self.run(at, &format!("XA END {name}")).await?;
                self.run(at, &format!("XA ROLLBACK {name}")).await?;
                self.connections[at].open = None;
                Ok(())
            }
            _ => {
                self.run(at, &format!("XA END {name}")).await?;
                self.run(at, &format!("XA PREPARE {name}")).await?;
                self.open(at).is_prepared = true;
                Ok(())
            }
        }
    }

    async fn go_on_prepared(&mut self, at: usize) -> Result<()> {
        let name = self.open(at).xa.clone().unwrap_or_default();
        match self.rng.random_range(0..4) {
            0 => {
                self.count("prepared XA rollback");
                self.run(at, &format!("XA ROLLBACK {name}")).await?;
                self.connections[at].open = None;
            }
            1 => {
                self.count("prepared XA commit");
                self.run(at, &format!("XA COMMIT {name}")).await?;
                self.committed(at);
            }
            2 => {
                let conn = connect(self.server).await?;
                let connection = &mut self.connections[at];
                let id = connection.conn.id();
                self.detached.extend(connection.open.take());
                std::mem::replace(&mut connection.conn, conn)
                    .disconnect()
                    .await?;
                self.wait_until_left(at, id).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until InnoDB knows that a transaction's connection has gone. A MariaDB that is asked before that may write XA COMMIT to its
    /// binlog and commit nothing.
    async fn wait_until_left(&mut self, at: usize, id: u32) -> Result<()> {
        // What the server answers is up to 0.1 s old.
        const AGE: Duration = Duration::from_millis(110);
        let begun = Instant::now();
        let sql = format!(
            "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = {id}"
        );
        loop {
            tokio::time::sleep(AGE).await;
            let conn = &mut self.connections[at].conn;
            if conn.query_first::<u64, _>(&sql).await?.is_none() {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "connection {id} does not end");
        }
    }

    /// A connection without a transaction; one is ended if there is none.
    async fn idle(&mut self) -> Result<usize> {
        let idle = self.connections.iter().position(|it| it.open.is_none());
        match idle {
            Some(at) => Ok(at),
            None => self.end(0).await.map(|()| 0),
        }
    }

    /// Ends a prepared transaction whose connection has gone.
    async fn end_detached(&mut self, chosen: usize) -> Result<()> {
        let at = self.idle().await?;
        let transaction = self.detached.swap_remove(chosen);
        let name = transaction.xa.clone().unwrap_or_default();
        let is_commit = self.rng.random_bool(0.6);
        let end = if is_commit { "COMMIT" } else { "ROLLBACK" };
        let begun = Instant::now();
        loop {
            let ended = self.connections[at]
                .conn
                .query_drop(format!("XA {end} {name}"));
            match ended.await {
                Ok(()) => break,
                // XAER_NOTA: the server has not noticed yet that the connection has gone.
                Err(Error::Server(error)) if error.code == 1397 && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error).context(name),
            }
        }
        self.count("XA of a connection that has gone");
        if is_commit {
            self.connections[at].open = Some(transaction);
            self.committed(at);
        }
        Ok(())
    }

    /// Adds or drops a column of a table that no open transaction has touched.
    async fn change_columns(&mut self) -> Result<()> {
        let table = self.rng.random_range(0..TABLES.len());
        let passing = self.rng.random_range(0..PASSING.len());
        self.end_all(|open| open.has_touched(table)).await?;
        let at = self.idle().await?;
        let (name, definition, _) = PASSING[passing];
        let has = !self.shapes[table][passing];
        let change = if has {
            format!("ADD COLUMN {name} {definition}")
        } else {
            format!("DROP COLUMN {name}")
        };
        let sql = format!("ALTER TABLE {} {change}", TABLES[table]);
        match self.connections[at].conn.query_drop(&sql).await {
            Ok(()) => {
                self.count("column");
                self.shapes[table][passing] = has;
                Ok(())
            }
            // ER_LOCK_WAIT_TIMEOUT: a MariaDB may keep what an XA transaction has locked whose connection had gone.
            Err(Error::Server(error)) if error.code == 1205 => {
                self.count("column that waited in vain");
                Ok(())
            }
            Err(error) => Err(error).context(sql),
        }
    }

    /// Ends the transaction of a connection, one way or the other.
    async fn end(&mut self, at: usize) -> Result<()> {
        let is_commit = self.rng.random_bool(0.7);
        let end = if is_commit { "COMMIT" } else { "ROLLBACK" };
        let open = self.open(at);
        let sql = match (&open.xa, open.is_prepared) {
            (None, _) => end.to_owned(),
            (Some(name), true) => format!("XA {end} {name}"),
            (Some(name), false) if is_commit => {
                format!("XA END {name}; XA COMMIT {name} ONE PHASE")
            }
            (Some(name), false) => format!("XA END {name}; XA ROLLBACK {name}"),
        };
        self.run(at, &sql).await?;
        if is_commit {
            self.committed(at);
        } else {
            self.connections[at].open = None;
        }
        Ok(())
    }

    /// Ends those open transactions.
    async fn end_all(&mut self, which: impl Fn(&Transaction) -> bool) -> Result<()> {
        for at in 0..self.connections.len() {
            if self.connections[at].open.as_ref().is_some_and(&which) {
                self.end(at).await?;
            }
        }
        while let Some(chosen) = self.detached.iter().position(&which) {
            self.end_detached(chosen).await?;
        }
        Ok(())
    }

    fn open(&mut self, at: usize) -> &mut Transaction {
        self.connections[at].open.get_or_insert_default()
    }

    fn committed(&mut self, at: usize) {
        let Some(open) = self.connections[at].open.take() else {
            return;
        };
        for ((table, id), row) in open.rows {
            match row {
                Some(n) => self.ledger.tables[table].insert(id, n),
                None => self.ledger.tables[table].remove(&id),
            };
        }
        let lines = open.effects.iter().filter_map(Effect::line);
        self.ledger.lines.extend(lines);
    }

    /// Whether another transaction may have locked the row.
    fn is_locked(&self, at: usize, row: &(usize, u64)) -> bool {
        let others = self
            .connections
            .iter()
            .enumerate()
            .filter(|(it, _)| *it != at);
        let others = others.filter_map(|(_, it)| it.open.as_ref());
        others
            .chain(&self.detached)
            .any(|open| open.locked.contains(row))
    }

    /// Keys of rows that this transaction may change, in order.
    fn some_keys(&mut self, at: usize, table: usize, most: usize) -> Vec<u64> {
        let from = self.rng.random_range(0..self.next_id);
        let committed = self.ledger.tables[table]
            .range(from..)
            .take(most * 2)
            .map(|(id, _)| *id);
        let open = self.connections[at].open.as_ref();
        let own = open.into_iter().flat_map(|open| &open.rows);
        let own = own
            .filter(|((it, _), row)| *it == table && row.is_some())
            .map(|((_, id), _)| *id);
        let candidates: BTreeSet<u64> = committed.chain(own.take(most)).collect();
        let is_free =
            |id: &u64| self.row(at, table, *id).is_some() && !self.is_locked(at, &(table, *id));
        let free: Vec<u64> = candidates.into_iter().filter(is_free).collect();
        let count = self.rng.random_range(1..=most);
        let mut keys = free.into_iter().choose_multiple(&mut self.rng, count);
        keys.sort_unstable();
        keys
    }

    /// One statement, and what it does to rows.
    async fn change_rows(&mut self, at: usize, is_whole: bool) -> Result<()> {
        let table = self.rng.random_range(0..TABLES.len());
        // If the server chose to look at more rows than a statement names, it could wait for locked ones.
        let open = self.connections.iter().filter_map(|it| it.open.as_ref());
        let is_crowded = open.chain(&self.detached).any(|it| it.has_touched(table));
        let most = if is_crowded { 1 } else { 8 };
        let choice = self.rng.random_range(0..20);
        let keys = if choice < 10 {
            Vec::new()
        } else {
            self.some_keys(at, table, most)
        };
        self.next_n += 1;
        match (keys.as_slice(), choice) {
            ([], _) => self.insert(at, table, is_whole).await,
            (keys, ..15) => self.update(at, table, keys).await,
            (keys, ..18) => self.delete(at, table, keys).await,
            ([key, ..], _) => self.move_row(at, table, *key).await,
        }
    }

    async fn insert(&mut self, at: usize, table: usize, is_whole: bool) -> Result<()> {
        let count = match self.rng.random_range(0..100) {
            // Larger than what may be in memory.
            0 if is_whole || table == C => 3_000,
            1..8 => 100,
            _ => self.rng.random_range(1..8),
        };
        let mut ids: Vec<u64> = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        if self.rng.random_bool(0.3) {
            ids.extend(self.gone(at, table));
        }
        let (n, note) = (self.next_n, note_literal(self.next_n));
        let values = ids.iter().map(|id| format!("({id}, {n}, {note})"));
        let values = values.collect::<Vec<_>>().join(",");
        let name = TABLES[table];
        self.run(
            at,
            &format!("INSERT INTO {name} (id, n, note) VALUES {values}"),
        )
        .await?;
        for id in ids {
            self.changed(at, table, (id, None, Some(n)), false);
        }
        Ok(())
    }

    async fn update(&mut self, at: usize, table: usize, keys: &[u64]) -> Result<()> {
        let (name, n, note) = (TABLES[table], self.next_n, note_literal(self.next_n));
        let list = list(keys);
        let sql = format!("UPDATE {name} SET n = {n}, note = {note} WHERE id IN ({list})");
        self.run(at, &sql).await?;
        for id in keys {
            let before = self.row(at, table, *id);
            self.changed(at, table, (*id, before, Some(n)), false);
        }
        Ok(())
    }

    async fn delete(&mut self, at: usize, table: usize, keys: &[u64]) -> Result<()> {
        let (name, list) = (TABLES[table], list(keys));
        self.run(at, &format!("DELETE FROM {name} WHERE id IN ({list})"))
            .await?;
        for id in keys {
            let before = self.row(at, table, *id);
            self.changed(at, table, (*id, before, None), false);
        }
        Ok(())
    }

    /// Gives a row another key.
    async fn move_row(&mut self, at: usize, table: usize, old: u64) -> Result<()> {
        let (name, n, note) = (TABLES[table], self.next_n, note_literal(self.next_n));
        let new = self.next_id;
        self.next_id += 1;
        let sql = format!("UPDATE {name} SET id = {new}, n = {n}, note = {note} WHERE id = {old}");
        self.run(at, &sql).await?;
        let before = self.row(at, table, old);
        self.changed(at, table, (old, before, None), true);
        self.changed(at, table, (new, None, Some(n)), true);
        Ok(())
    }

    /// A key that was deleted and may be used again.
    fn gone(&self, at: usize, table: usize) -> Option<u64> {
        let last = self.ledger.lines.iter().rev().take(200);
        let deleted = last.filter(|line| line.table == table && line.operation == "D");
        let mut free = deleted.map(|line| line.id).filter(|id| {
            let is_own = self.connections[at]
                .open
                .as_ref()
                .is_some_and(|open| open.locked.contains(&(table, *id)));
            !is_own
                && !self.is_locked(at, &(table, *id))
                && !self.ledger.tables[table].contains_key(id)
        });
        free.next()
    }

    /// The statement that has written a row, as the transaction sees it.
    fn row(&self, at: usize, table: usize, id: u64) -> Option<u64> {
        let own = self.connections[at]
            .open
            .as_ref()
            .and_then(|open| open.rows.get(&(table, id)));
        own.copied()
            .unwrap_or_else(|| self.ledger.tables[table].get(&id).copied())
    }

    /// Notes what became of a row: key, the statements that wrote it before and after.
    fn changed(
        &mut self,
        at: usize,
        table: usize,
        row: (u64, Option<u64>, Option<u64>),
        is_of_moved_row: bool,
    ) {
        let (id, before, after) = row;
        let shape = if table == B {
            self.shapes[B]
        } else {
            [false; 2]
        };
        self.open(at).add(Effect {
            table,
            id,
            before,
            after,
            is_of_moved_row,
            shape,
        });
    }
}

fn list(keys: &[u64]) -> String {
    let keys: Vec<String> = keys.iter().map(u64::to_string).collect();
    keys.join(",")
}
