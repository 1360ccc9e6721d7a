//! Tells the linker where `fcdd-trainer`, and no other binary, finds libtorch at run time.
//!
//! First beside an installed binary, then where it was built against. Without the feature `train` nothing is done.

use std::path::Path;

/// Relative to the binary: where `make install-trainer` puts libtorch.
const INSTALLED: &str = "$ORIGIN/../lib/fcdd/libtorch/torch/lib";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if std::env::var_os("CARGO_FEATURE_TRAIN").is_none() {
        return;
    }
    let libtorch = std::env::var("LIBTORCH").unwrap_or_default();
    let libraries = Path::new(&libtorch).join("lib");
    if !libraries.join("libtorch_cpu.so").exists() {
        eprintln!(
            "The feature `train` needs libtorch 2.13.0, and LIBTORCH ({libtorch:?}) does not name a folder with \
             lib/libtorch_cpu.so.\nRun `make trainer`, which fetches it, or set LIBTORCH to the `torch` folder of an \
             installed PyTorch 2.13.0."
        );
        std::process::exit(1);
    }
    let built = std::fs::canonicalize(&libraries).unwrap_or(libraries);
    println!("cargo:rustc-link-arg-bin=fcdd-trainer=-Wl,-rpath,{INSTALLED}:{}", built.display());
}
