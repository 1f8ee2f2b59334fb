//! What the benches measure with: tables and their made-up rows, binlogs of them, the yardstick, and the machine's name.
//!
//! - [`sales`]: workload A.
//! - [`tables`]: the tables that `decode` reads.
//! - [`capture`]: rows into a server, and its binlog into a file.
//! - [`baseline`], [`baseline_cells`]: the same lines by mysql_common and the csv crate.
//! - [`bucket`]: a bucket of an emulator.
//! - [`debezium`]: a rival that several benches start.
//! - [`watched`]: a process and the memory it takes.
//! - [`machine`]: what figures belong to.
//!
//! What does not live here: anything that is timed, and hydrant's side of it (`bench/*.rs`).

pub mod baseline;
pub mod baseline_cells;
pub mod bucket;
pub mod capture;
pub mod debezium;
pub mod machine;
pub mod sales;
pub mod tables;
pub mod watched;
