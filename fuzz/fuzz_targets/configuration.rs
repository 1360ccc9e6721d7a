//! `fcdd::fuzzing`, target "configuration", under libFuzzer.
#![no_main]

fcdd_fuzz::fuzz!("configuration");
