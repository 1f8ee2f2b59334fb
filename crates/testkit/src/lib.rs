//! What tests, the demo and the benches share.
//!
//! - [`servers`]: real MySQL and MariaDB servers, started for the caller and ended with it.
//! - [`emulator`]: AWS emulators that are not ours, started and ended likewise.
//! - [`python`]: the environments that they and AWS's Python client are in.
//! - [`files`]: what is below a folder.
//! - [`program`]: the program itself, without the variables of this crate.
//! - `cache`: where the databases' programs come from, and the data directories that instances are copied from.
//! - `watcher`: ends them when their test cannot.
//!
//! What does not live here: anything that knows `hydrant` (it has only std, `tempfile` and `anyhow`),
//! connections to a database and AWS clients (each user has its own way to connect), and the recipes for
//! fetching the servers (`servers/fetch`, `servers/venv`).
//!
//! A server that cannot be had is an error with a remedy in it. Nothing here skips.

pub mod cache;
pub mod emulator;
pub mod files;
pub mod program;
pub mod python;
pub mod servers;
mod watcher;
