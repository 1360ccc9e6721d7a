//! What the libFuzzer binaries share: the target is looked up once, its seeds are written before libFuzzer reads the
//! corpus, and files under way go where `fuzz/run.sh` says.

use std::path::PathBuf;
use std::sync::OnceLock;

use fcdd::fuzzing::{self, Target};

pub use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

/// Called before libFuzzer reads its corpus.
pub fn begin(name: &str) {
    let target = fuzzing::target(name).unwrap_or_else(|| panic!("fcdd has no fuzz target {name}"));
    TARGET.set(target).unwrap_or_else(|_| panic!("begun twice"));
    if let Some(folder) = std::env::var_os("FCDD_FUZZ_SCRATCH") {
        fuzzing::use_scratch(&PathBuf::from(folder));
    }
    if let Some(folder) = std::env::var_os("FCDD_FUZZ_SEEDS") {
        fuzzing::write_seeds(target, &PathBuf::from(folder)).expect("the seeds can be written");
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    if let Some(target) = TARGET.get() {
        (target.run)(bytes);
    }
}

/// The whole of a libFuzzer binary.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        $crate::fuzz_target!(
            init: $crate::begin($name),
            |bytes: &[u8]| $crate::run(bytes)
        );
    };
}
