//! `fcdd::fuzzing`, target "series", under libFuzzer.
#![no_main]

fcdd_fuzz::fuzz!("series");
