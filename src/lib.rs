//! hydrant ships row changes from a MySQL-family binlog to Amazon Data Firehose, and publishes
//! one-second metrics of ECS clusters.
//!
//! The modules are the rooms of ARCHITECTURE.md, in the order in which data meets them:
//! configuration is read, a connection brings bytes, bytes become events, events become lines in a batch, batches go to a
//! sink, acknowledgements come back through the ledger to the checkpoint. `sim` stands apart:
//! it judges the rest, so it shares no code with it.
//!
//! Rooms marked PURE do no I/O, read no clock and name no AWS or tokio type; the test
//! `pure_rooms_stay_pure` enforces it.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod error;
pub mod log_format;
pub mod logs;
mod nofollow;
mod partitions;
pub mod printing;
mod signals;
mod spare;
mod waits;

mod aws;
pub mod config;

mod wire;

pub use hydrant_binlog as binlog;
pub use hydrant_binlog::encode;

pub mod batch;
pub mod ledger;
pub mod publication;

pub mod cdc;
pub mod ecs;
pub mod pace;
pub mod replay;
pub mod sink;

pub mod verify;

mod status;

#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "sim")]
pub use hydrant_sim as sim;

pub use error::{Error, Exit, Failure};
