//! What a fuzzer may throw at fcdd, and what must hold whatever it throws. Not for programs that use the library.
//!
//! A target is a function of bytes that panics when an invariant is broken; what is merely refused is fine. The same
//! functions run under libFuzzer (`fuzz/`, `make fuzz`) and, with a seeded mutator, in a test on stable Rust
//! (`tests/fuzz_corpus_is_survived.rs`): a finding of the one is a case of the other. They live in the library because
//! they look behind its doors: at the message loop without sockets, at assembly without files.
//!
//! Seeds are made here, by our own writers; no file of anybody is needed.

mod association;
mod choices;
mod configuration;
mod manifest;
mod readback;
mod report;
mod scratch;
mod series;
mod slices;

use std::io;
use std::path::Path;

pub use association::NoSync;
pub use scratch::use_scratch;

/// Something to fuzz.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also that of its libFuzzer binary and its corpus.
    pub name: &'static str,
    /// Runs one input. Panics when an invariant is broken, else says how far the input came: so that a corpus that
    /// only knocks at the door is noticed.
    pub run: fn(&[u8]) -> &'static str,
    /// Inputs to start from, named.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// What its seeds, together, must reach.
    pub must_reach: &'static [&'static str],
}

/// Every target.
pub const TARGETS: [Target; 5] =
    [association::TARGET, series::TARGET, report::TARGET, manifest::TARGET, configuration::TARGET];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Writes a target's seeds into a folder, which is made if it is missing.
pub fn write_seeds(target: &Target, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, bytes) in (target.seeds)() {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
