//! The simulator, driven by clients of AWS that are not ours.

mod bench;
mod boto3;
mod faults;
mod firehose;
mod metrics;
mod ministack;
