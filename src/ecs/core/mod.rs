//! What of the poller is PURE: it is told the time, and neither asks nor sends.
//!
//! [`schedule`] says when to poll and what became of every tick, [`cadence`] lays many polls out over time, [`metric`]
//! names what is published, [`series`] knows each metric's seconds, [`backlog`] keeps datums until CloudWatch has them, [`batch`] is one request,
//! [`backoff`] spaces requests, [`sample`] enters what was sampled, [`stop`] ends a run, `suspects` finds bad datums in
//! what was rejected, [`account`] counts, [`price`] turns counts into dollars.

pub mod account;
pub mod backlog;
pub mod backoff;
pub mod batch;
pub mod cadence;
pub mod metric;
pub mod price;
pub mod sample;
pub mod schedule;
pub mod series;
pub mod stop;
mod suspects;

#[cfg(test)]
mod simulation;
