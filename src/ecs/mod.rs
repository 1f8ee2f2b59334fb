//! ECS clusters sampled on a grid of whole seconds, and published as CloudWatch metrics.
//!
//! What lives here: the cores, all PURE. [`schedule`] says when to poll and what became of every
//! tick, [`metric`] names what is published, [`series`] knows each metric's seconds, [`backlog`]
//! keeps datums until CloudWatch has them, [`backoff`] spaces requests, [`account`] counts,
//! [`price`] turns counts into dollars. What does not: clocks, requests, AWS's types. The command
//! that drives them is still to come.
//!
//! ```text
//! clocks ─ Schedule ─ poll ─ Backlog ─ PutMetricData
//!              └─ gaps ─ Account ◄─ dropped ┘
//! ```

pub mod account;
pub mod backlog;
pub mod backoff;
pub mod metric;
pub mod price;
pub mod schedule;
pub mod series;

#[cfg(test)]
mod simulation;
