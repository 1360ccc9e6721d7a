//! Scans that are byte for byte another subject's: one person under two names would be trained on and tested at once,
//! and nobody knows which name is right.

use std::collections::BTreeMap;
use std::io;

use super::{Scan, Subject};
use crate::study::Reason;

/// Why each of `scans` cannot be used, where its file is another's too. `digests` are those of the files, in the same
/// order; one that could not be read is nobody's.
pub fn find(scans: &[(&Subject, &Scan)], digests: &[io::Result<String>]) -> Vec<Option<Reason>> {
    let mut of_digest: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ((subject, _), digest) in scans.iter().zip(digests) {
        if let Ok(digest) = digest {
            of_digest.entry(digest).or_default().push(&subject.id);
        }
    }
    let all = scans.iter().zip(digests);
    all.map(|((subject, scan), digest)| {
        let same = of_digest.get(digest.as_ref().ok()?.as_str())?;
        let twin = same.iter().find(|id| **id != subject.id)?;
        let path = scan.path.display();
        let text = format!("{path} is byte for byte the scan of {twin}: take one of the two out of the archive");
        Some(Reason::new("same_scan", text))
    })
    .collect()
}
