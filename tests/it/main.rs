//! The integration tests: one binary, so that the library is linked once.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod path;
mod sim;
