//! One scan from its file to what a network sees: what `archive check` looks at and what the cache keeps.

use super::Scan;
use crate::analyze::gates::{self, GateInput};
use crate::analyze::preprocess::{self, InputSpec, Prepared};
use crate::study::Reason;
use crate::volume::nifti;

/// A scan that was preprocessed.
#[derive(Debug)]
pub struct Examined {
    /// The tensor, its place and the head.
    pub prepared: Prepared,
    /// Gates that stay shut: serving would withhold a verdict for these reasons.
    pub gates: Vec<Reason>,
}

/// Reads and preprocesses a scan as serving does.
///
/// # Errors
/// Why it cannot be used: unreadable, cut short, not finite, empty, constant, no head.
pub fn examine(scan: &Scan, spec: &InputSpec) -> Result<Examined, Reason> {
    let volume = nifti::read(&scan.path).map_err(|e| Reason::new("unreadable", e.to_string()))?;
    let prepared = preprocess::prepare(&volume, spec).map_err(|e| e.reason())?;
    let (header, grid) = (scan.sidecar.header(), volume.grid());
    let input = GateInput { sequence: scan.sequence, header: &header, grid: &grid, head: &prepared.measures };
    let gates = gates::check(&input);
    Ok(Examined { prepared, gates })
}
