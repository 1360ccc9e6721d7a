//! `fcdd::fuzzing`, target "association", under libFuzzer.
#![no_main]

fcdd_fuzz::fuzz!("association");
