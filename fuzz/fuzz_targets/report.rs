//! `fcdd::fuzzing`, target "report", under libFuzzer.
#![no_main]

fcdd_fuzz::fuzz!("report");
