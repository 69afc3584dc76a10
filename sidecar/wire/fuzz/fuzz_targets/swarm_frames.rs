#![no_main]

use connected_cache_wire::invariants;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| invariants::swarm_frames(bytes));
