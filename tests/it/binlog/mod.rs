//! What servers write into a binlog: forms of events, statements, transactions that are undone or in two phases, and bytes
//! that are damaged or hostile.

mod damage;
mod events;
mod fuzz;
mod invalid_text;
mod names;
mod old_binlogs;
mod statements;
mod undone;
mod versioned;
mod xa;
