//! What the fuzzers do with bytes from outside, within bounds of memory.

#[path = "../harness.rs"]
pub mod harness;

use hydrant_binlog as binlog;
use hydrant_binlog::encode;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes of the heap for each byte of input: sets and table maps are larger than what they are read
/// from.
const HEAP_GROWTH: usize = 256;
/// Bytes of the heap whatever the input is; zstd may look back on 128 MiB.
const HEAP_BYTES: usize = 1 << 20;
const ZSTD_BYTES: usize = 130 << 20;

/// Runs a harness and asserts that the heap has grown only with the bytes that it says it had to
/// deal with, if it says so.
pub fn bounded(input: &[u8], harness: fn(&[u8]) -> Option<usize>) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let bytes = harness(input);
    let grown = HEAP.peak_usage().saturating_sub(before);
    let Some(bytes) = bytes else {
        return;
    };
    let is_unpacked = bytes > input.len();
    let most = bytes * HEAP_GROWTH + if is_unpacked { ZSTD_BYTES } else { HEAP_BYTES };
    assert!(grown <= most, "{grown} bytes of heap for {bytes} of events");
}
