//! Files that hold a secret: only their owner may read them.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;

/// The permission bits of a file that others than its owner may use in any way; `None` for one that is its owner's own.
pub fn open_to_others(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}
