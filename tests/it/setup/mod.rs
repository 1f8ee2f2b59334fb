//! What tests of several rooms share: an agent at work, servers' own words, tables. No test lives here.

pub(crate) mod agent;
pub(crate) mod aws_clients;
pub(crate) mod backfill;
pub(crate) mod bucket;
pub(crate) mod canned;
pub(crate) mod certificates;
pub(crate) mod database;
pub(crate) mod duckdb;
pub(crate) mod file_watch;
pub(crate) mod front;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod replay;
pub(crate) mod sales;
pub(crate) mod servers;
pub(crate) mod shop;
pub(crate) mod simulator;
pub(crate) mod snapshot;
pub(crate) mod tls_front;
