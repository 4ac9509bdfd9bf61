#![no_main]

#[path = "../../tests/support/fuzzing.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzzing::nano_request(input));
