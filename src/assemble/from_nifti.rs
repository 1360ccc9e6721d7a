//! A study from NIfTI volumes on the command line: there is no DICOM header, so no DICOM result can be made.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{AssembleError, NO_USABLE_SERIES};
use crate::dicom::{Dataset, Uid};
use crate::study::{AssembledStudy, InputDigest, Reason, Sequence, SeriesVerdict, SourceVolume, Stack};
use crate::volume::nifti::{self, NiftiError};

/// Reads a T1 and/or a FLAIR volume as a study. The UIDs are derived from the files' digests; headers are
/// empty, [`SourceVolume::slices`] is empty.
pub fn from_nifti(
    t1: Option<&Path>,
    flair: Option<&Path>,
    minimum_slices: usize,
) -> Result<AssembledStudy, AssembleError> {
    let mut stacks = Vec::new();
    let mut inputs = Vec::new();
    let mut newest = jiff::Timestamp::UNIX_EPOCH;
    let empty = Arc::new(Dataset::new_empty());
    for (path, sequence) in [(t1, Sequence::T1), (flair, Sequence::Flair)] {
        let Some(path) = path else { continue };
        let io = |source| NiftiError::Io { doing: "read", path: path.to_owned(), source };
        let sha256: [u8; 32] = Sha256::digest(std::fs::read(path).map_err(io)?).into();
        let modified = std::fs::metadata(path).and_then(|m| m.modified()).map_err(io)?;
        newest = newest.max(jiff::Timestamp::try_from(modified).unwrap_or(newest));
        let volume = nifti::read(path)?;
        let series_uid = derived_uid(&[sequence.label().as_bytes(), &sha256]);
        inputs.push(InputDigest { sop_instance_uid: series_uid.clone(), sha256 });
        let slices = volume.data.dim().0;
        // Any axis may be the slice axis of a NIfTI file, so the shortest one counts.
        let shortest = volume.data.shape().iter().copied().min().unwrap_or(0);
        let verdict = if shortest < minimum_slices {
            SeriesVerdict::TooFewSlices { slices: shortest, needed: minimum_slices }
        } else {
            SeriesVerdict::Ok
        };
        stacks.push(Stack {
            series_uid,
            series_number: None,
            description: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            index_in_series: 0,
            images: slices,
            sequence,
            sequence_because: "given as such on the command line".to_owned(),
            verdict,
            volume: Some(Arc::new(SourceVolume { volume, slices: Vec::new() })),
            header: empty.clone(),
        });
    }
    let study_uid = derived_uid(&inputs.iter().map(|i| i.sha256.as_slice()).collect::<Vec<_>>());
    inputs.sort();
    let usable = |sequence| stacks.iter().position(|s: &Stack| s.sequence == sequence && s.verdict.is_ok());
    let (t1, flair) = (usable(Sequence::T1), usable(Sequence::Flair));
    let mut problems = Vec::new();
    if t1.is_none() && flair.is_none() {
        problems.push(Reason::new(NO_USABLE_SERIES, "no volume of enough slices was given"));
    }
    Ok(AssembledStudy { study_uid, received_at: newest, stacks, t1, flair, problems, header: empty, inputs })
}

/// A UID that is always the same for the same bytes.
fn derived_uid(parts: &[&[u8]]) -> Uid {
    Uid::from_uuid(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &parts.concat()))
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;
    use crate::volume::{Affine, Volume};

    #[test]
    fn the_same_files_make_the_same_study() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t1.nii.gz");
        let axes = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]];
        let data = Array3::from_elem((20, 18, 17), 3.0);
        nifti::write(&path, &Volume { data, affine: Affine::from_axes(axes, [0.0; 3]) }).unwrap();
        let first = from_nifti(Some(&path), None, 16).unwrap();
        let second = from_nifti(Some(&path), None, 16).unwrap();
        assert_eq!(first.study_uid, second.study_uid);
        assert_eq!((first.t1, first.flair), (Some(0), None));
        assert!(first.problems.is_empty());
        let refused = from_nifti(Some(&path), None, 18).unwrap();
        assert_eq!(refused.stacks[0].verdict, SeriesVerdict::TooFewSlices { slices: 17, needed: 18 });
        assert_eq!(refused.problems[0].code, NO_USABLE_SERIES);
    }
}
