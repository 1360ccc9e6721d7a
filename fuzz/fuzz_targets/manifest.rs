//! `fcdd::fuzzing`, target "manifest", under libFuzzer.
#![no_main]

fcdd_fuzz::fuzz!("manifest");
