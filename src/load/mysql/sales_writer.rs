//! The table of `hydrant load mysql`, and who inserts into it when.
//!
//! What does not live here: what becomes of the rows behind their commit ([`super::follow`]).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::task::JoinSet;

use crate::cdc::Server;
use crate::config::Source;
use crate::encode::quoted_name;
use crate::{Exit, Failure};

use super::follow::marker;
use super::markers::RowTracker;
use crate::load::rows::{RowMaker, RowShape};

/// The columns that are filled and followed. The last one has the marker.
pub(super) const COLUMNS: [&str; 8] = [
    "ItemID",
    "Category",
    "Price",
    "Quantity",
    "OrderDate",
    "DestinationState",
    "ShippingType",
    "Referral",
];
/// How a table of an earlier run is known.
const COMMENT: &str = "made by hydrant load mysql";
/// Transactions for which no writer was free until then are left out, and counted.
const GRACE: Duration = Duration::from_secs(1);

/// Schema and table.
pub(super) fn table_name(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('.') {
        Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
            Ok((schema.to_owned(), table.to_owned()))
        }
        _ => Err(Failure::definite(
            Exit::Usage,
            "--table has no schema",
            "write it like hydrant_load.Sales",
        )),
    }
}

fn refused(error: &mysql_async::Error) -> Failure {
    // A server's message can show a value.
    let what = match error {
        mysql_async::Error::Server(error) => format!("error {} ({})", error.code, error.state),
        _ => "the connection failed".to_owned(),
    };
    Failure::definite(
        Exit::Unavailable,
        format!("the database refuses what load mysql does: {what}"),
        "let the user create and insert, see that the table has the columns of sql/sales.sql, and that the server is up",
    )
}

/// The table that rows go into.
#[derive(Debug)]
pub(super) struct SalesTable {
    /// As it is written in SQL.
    name: String,
}

impl SalesTable {
    /// Creates it if it is not there. One that is there is used if an earlier run has made it, or
    /// if `may_exist`.
    ///
    /// # Errors
    /// If another table has the name, or the database refuses.
    pub(super) async fn prepare(
        source: &Source,
        table: &str,
        may_exist: bool,
    ) -> Result<Self, Failure> {
        let (schema, name) = table_name(table)?;
        let mut conn = Server::connect(source).await?.into_connection();
        let comment: Option<String> = conn
            .exec_first(
                "SELECT TABLE_COMMENT FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
                (&schema, &name),
            )
            .await
            .map_err(|error| refused(&error))?;
        let whole_name = format!("{}.{}", quoted_name(&schema), quoted_name(&name));
        match comment {
            Some(comment) if comment == COMMENT || may_exist => {}
            Some(_) => {
                return Err(Failure::definite(
                    Exit::Usage,
                    format!("the table {table} is there, and no earlier run has made it"),
                    "name another --table, or add --existing-table to insert into this one",
                ));
            }
            None => {
                let create = [
                    format!("CREATE DATABASE IF NOT EXISTS {}", quoted_name(&schema)),
                    format!(
                        "CREATE TABLE {whole_name} (InvoiceID int NOT NULL AUTO_INCREMENT PRIMARY KEY, \
                         ItemID int NOT NULL, Category varchar(255), Price double, \
                         Quantity int NOT NULL, OrderDate timestamp, DestinationState varchar(2), \
                         ShippingType varchar(255), Referral varchar(255)) \
                         DEFAULT CHARACTER SET utf8mb4 COMMENT '{COMMENT}'"
                    ),
                ];
                for statement in create {
                    let done = conn.query_drop(statement).await;
                    done.map_err(|error| refused(&error))?;
                }
            }
        }
        Ok(Self { name: whole_name })
    }
}

/// When transactions are meant to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransactionPlan {
    /// Of the plan, on the tracker's clock.
    pub(super) start: Duration,
    /// Transactions a second.
    pub(super) rate: f64,
    /// How many.
    pub(super) transactions: u64,
    pub(super) length: Duration,
}

impl TransactionPlan {
    fn intended(&self, transaction: u64) -> Duration {
        self.start + Duration::from_secs_f64(transaction as f64 / self.rate)
    }

    /// How many transactions are meant for a second of the plan.
    pub(super) fn transactions_in(&self, second: u32) -> u64 {
        let before = |second: u32| {
            let due = (f64::from(second) * self.rate).ceil() as u64;
            due.min(self.transactions)
        };
        before(second + 1) - before(second)
    }

    /// Sets the writers to work. Each takes the next transaction when it is free and waits until
    /// the time that it is meant for; one that is late keeps its intended time.
    pub(super) fn start(
        self,
        writers: Vec<SalesWriter>,
        tracker: &Arc<RowTracker>,
    ) -> JoinSet<Result<(), Failure>> {
        let next = Arc::new(AtomicU64::new(0));
        let mut writing = JoinSet::new();
        for writer in writers {
            let (tracker, next) = (Arc::clone(tracker), Arc::clone(&next));
            writing.spawn(async move { writer.write(self, &tracker, &next).await });
        }
        writing
    }
}

/// A connection that inserts.
#[derive(Debug)]
pub(super) struct SalesWriter {
    conn: Conn,
    insert: String,
    rows: RowMaker,
}

impl SalesWriter {
    /// Connects.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub(super) async fn connect(source: &Source, table: &SalesTable) -> Result<Self, Failure> {
        let mut conn = Server::connect(source).await?.into_connection();
        // In other zones, an hour of the year does not exist.
        let utc = conn.query_drop("SET time_zone = '+00:00'").await;
        utc.map_err(|error| refused(&error))?;
        let insert = format!(
            "INSERT INTO {} ({}) VALUES ",
            table.name,
            COLUMNS.join(", ")
        );
        let rows = RowMaker::new(RowShape::Sales, rand::random());
        Ok(Self { conn, insert, rows })
    }

    async fn write(
        mut self,
        plan: TransactionPlan,
        tracker: &RowTracker,
        next: &AtomicU64,
    ) -> Result<(), Failure> {
        let over = plan.start + plan.length + GRACE;
        loop {
            let transaction = next.fetch_add(1, Ordering::Relaxed);
            let intended = plan.intended(transaction);
            if transaction >= plan.transactions || tracker.elapsed() > over {
                break;
            }
            tokio::time::sleep(intended.saturating_sub(tracker.elapsed())).await;
            let rows = {
                let mut follow = tracker.follow();
                follow.begin(transaction, intended, tracker.elapsed());
                follow.rows_of(transaction)
            };
            let statement = self.statement(tracker.run, rows);
            let inserted = self.conn.query_drop(statement).await;
            inserted.map_err(|error| refused(&error))?;
            tracker.follow().committed(transaction, tracker.elapsed());
        }
        // The rows are committed, whatever comes of a goodbye.
        let _ = self.conn.disconnect().await;
        Ok(())
    }

    /// One statement that is one transaction.
    fn statement(&mut self, run: u32, rows: std::ops::Range<u64>) -> String {
        let mut statement = self.insert.clone();
        let mut line = Vec::new();
        for row in rows.clone() {
            line.clear();
            self.rows.write(&mut line);
            // Made-up sales are of letters, digits and signs that neither CSV nor SQL quotes.
            let line = String::from_utf8_lossy(&line);
            let cells = line.trim_end().split(',').take(COLUMNS.len() - 1);
            let cells: Vec<String> = cells.map(|cell| format!("'{cell}'")).collect();
            let comma = if row == rows.start { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(
                statement,
                "{comma}({}, '{}')",
                cells.join(", "),
                marker(run, row)
            );
        }
        statement
    }
}
