//! The integration tests: one binary, so that the library is linked once.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod aws_clients;
mod boto3;
mod crash;
mod damage;
mod database;
mod dir_histories;
mod errors;
mod events;
mod fetching;
mod firehose;
mod fuzz;
mod invalid_text;
mod load;
mod load_metrics;
mod load_mysql;
mod messages;
mod metrics;
mod metrics_listed;
mod ministack;
mod names;
mod old_binlogs;
mod order;
mod pages;
mod path;
mod positions;
mod replay;
mod rooms;
mod sales;
mod scenes;
mod schema_changes;
mod sim;
mod sim_metrics;
mod sinks;
mod starts;
mod statements;
mod tls;
mod types;
mod undone;
mod versioned;
mod xa;
