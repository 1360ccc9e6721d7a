//! Where targets that need a disk put their files.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static SCRATCH: OnceLock<PathBuf> = OnceLock::new();

/// Names the folder for files under way; before the first input, by whoever removes it afterwards. In memory
/// (`/dev/shm`) is best.
pub fn use_scratch(folder: &Path) {
    let _ = SCRATCH.set(folder.to_owned());
}

/// A folder of this process below it.
pub(super) fn folder(name: &str) -> PathBuf {
    let root = SCRATCH.get_or_init(std::env::temp_dir);
    root.join(format!("fcdd-fuzz-{name}-{}", std::process::id()))
}
