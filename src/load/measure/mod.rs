//! What a load test measures: what happened, by the second, and what it means. PURE.
//!
//! What lives here: the record of a run (`record`), what held it up (`verdict`), where a stream's limit
//! is (`knee`) and what the rows would cost (`price`). What does not: what is sent, and how the results are
//! written ([`super::report`]).

pub mod knee;
pub mod price;
pub mod record;
#[cfg(test)]
pub(crate) mod us_east_1;
pub mod verdict;
