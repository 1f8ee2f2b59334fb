//! What of the poller is PURE: it is told the time, and neither asks nor sends.
//!
//! [`schedule`] says when to poll and what became of every tick, [`cadence`] lays many polls out over time, [`metric`]
//! names what is published, [`series`] knows each metric's seconds, [`backlog`] keeps datums until CloudWatch has them,
//! [`backoff`] spaces requests, [`account`] counts, [`price`] turns counts into dollars.

pub mod account;
pub mod backlog;
pub mod backoff;
pub mod cadence;
pub mod metric;
pub mod price;
pub mod schedule;
pub mod series;

#[cfg(test)]
mod simulation;
