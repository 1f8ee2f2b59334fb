//! The rooms that read bytes from outside, and what is done with them.
//!
//! They are taken in by their files and not as a dependency: they are PURE, so that a fuzzer is built
//! in half a minute, without AWS's SDK and the rest.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "only a part of the rooms is called"
)]

#[path = "../../src/binlog/mod.rs"]
pub mod binlog;
#[path = "../../src/encode/mod.rs"]
pub mod encode;
#[path = "../harness.rs"]
pub mod harness;

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes of the heap for each byte of input: sets and table maps are larger than what they are read
/// from.
const HEAP_GROWTH: usize = 256;
/// Bytes of the heap whatever the input is.
const HEAP_BYTES: usize = 1 << 20;

/// Runs a harness and asserts that the heap has grown with the input only.
pub fn bounded(input: &[u8], harness: fn(&[u8])) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    harness(input);
    let grown = HEAP.peak_usage().saturating_sub(before);
    let most = input.len() * HEAP_GROWTH + HEAP_BYTES;
    assert!(
        grown <= most,
        "{grown} bytes of heap for {} of input",
        input.len()
    );
}
