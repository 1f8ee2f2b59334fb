//! The integration tests: one binary, so that the library is linked once. Each folder is a room of the program's.

mod binlog;
mod cdc;
mod cli;
mod load;
mod metrics;
mod project;
mod replay;
mod setup;
mod sim;
mod sink;
mod types;
