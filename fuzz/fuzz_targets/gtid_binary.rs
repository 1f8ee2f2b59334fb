#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    hydrant_fuzz::bounded(input, |input| {
        hydrant_fuzz::harness::gtid_binary(input);
        Some(input.len())
    });
});
