//! What people read before anything runs: errors with their remedies, logs, help.

mod errors;
mod help;
mod messages;
mod printing;
mod usage;
