//! `hydrant cdc` from its start to its end: where it begins, what it goes on from, and what happens on its way.

mod backfill;
mod backfill_gentle;
mod backfill_locks;
mod backfill_whole;
mod connections;
mod firehose;
mod histories;
mod latest_rows;
mod lineage;
mod order;
mod path;
mod patterns;
mod positions;
mod protected;
mod scenes;
mod schema_changes;
mod standby;
mod starts;
mod tls;
mod torture;
mod verify;
