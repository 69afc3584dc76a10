#![no_main]

use connected_cache_wire::invariants;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| invariants::request_target(text));
