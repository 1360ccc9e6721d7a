//! Which volumes a result is about: what tells whether images that came late change anything.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{AssembledStudy, Sequence, Stack};
use crate::dicom::Uid;
use crate::volume::Volume;

/// The T1 and the FLAIR that were chosen, by content, and what stood against the study as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The T1, if there was one.
    pub t1: Option<SelectedVolume>,
    /// The FLAIR, if there was one.
    pub flair: Option<SelectedVolume>,
    /// Codes of the [problems](AssembledStudy::problems).
    pub problems: Vec<String>,
}

/// A chosen volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectedVolume {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// Position of the stack within its series.
    pub stack: usize,
    /// Number of slices.
    pub slices: usize,
    /// SHA-256 of shape, affine and rescaled values, hexadecimal. Not of the files: the same slices that came again
    /// in another transfer syntax, or for a patient whose name was corrected, are the same volume.
    pub sha256: String,
}

/// What images that came late did to a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the result stands.
    None,
    /// A volume is another one, or there is one more, or a problem came or went.
    Changed,
    /// A chosen volume would lose slices, in words. After the files of a delivered study were removed this is how a
    /// part of it that was sent again looks: no reason to replace the result of the whole.
    Less(String),
}

impl Selection {
    /// What was selected in a study.
    pub fn of(study: &AssembledStudy) -> Selection {
        let selected = |sequence| study.chosen(sequence).and_then(SelectedVolume::of);
        Selection {
            t1: selected(Sequence::T1),
            flair: selected(Sequence::Flair),
            problems: study.problems.iter().map(|problem| problem.code.clone()).collect(),
        }
    }

    /// The volume of a sequence.
    pub fn volume(&self, sequence: Sequence) -> Option<&SelectedVolume> {
        match sequence {
            Sequence::T1 => self.t1.as_ref(),
            Sequence::Flair => self.flair.as_ref(),
            Sequence::Other => None,
        }
    }

    /// How `later` differs from this one. `files_were_removed`: it was made without the files of this one.
    pub fn change_to(&self, later: &Selection, files_were_removed: bool) -> Change {
        if self == later {
            return Change::None;
        }
        if files_were_removed {
            for sequence in [Sequence::T1, Sequence::Flair] {
                let Some(before) = self.volume(sequence) else { continue };
                let now = later.volume(sequence).map_or(0, |volume| volume.slices);
                if now < before.slices {
                    let label = sequence.label();
                    return Change::Less(format!("{now} of the {} slices of its {label}", before.slices));
                }
            }
        }
        Change::Changed
    }
}

impl SelectedVolume {
    fn of(stack: &Stack) -> Option<SelectedVolume> {
        let source = stack.volume.as_ref()?;
        Some(SelectedVolume {
            series_uid: stack.series_uid.clone(),
            stack: stack.index_in_series,
            slices: source.slices.len(),
            sha256: digest(&source.volume),
        })
    }
}

fn digest(volume: &Volume) -> String {
    const VALUES_AT_ONCE: usize = 1 << 14;
    let mut hasher = Sha256::new();
    for edge in volume.data.shape() {
        hasher.update((*edge as u64).to_le_bytes());
    }
    for number in volume.affine.rows.as_flattened() {
        hasher.update(number.to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(4 * VALUES_AT_ONCE);
    for value in &volume.data {
        bytes.extend_from_slice(&value.to_le_bytes());
        if bytes.len() == 4 * VALUES_AT_ONCE {
            hasher.update(&bytes);
            bytes.clear();
        }
    }
    hasher.update(&bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Affine;

    fn volume(value: f32) -> Volume {
        let affine = Affine::from_axes([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0.0; 3]);
        Volume { data: ndarray::Array3::from_elem((2, 3, 4), value), affine }
    }

    fn selected(slices: usize, sha256: &str) -> SelectedVolume {
        SelectedVolume { series_uid: Uid::parse("1.2").unwrap(), stack: 0, slices, sha256: sha256.into() }
    }

    #[test]
    fn the_digest_is_of_values_and_place() {
        let mut moved = volume(1.0);
        moved.affine.rows[2][3] = 0.5;
        assert_eq!(digest(&volume(1.0)), digest(&volume(1.0)));
        assert_ne!(digest(&volume(1.0)), digest(&volume(2.0)));
        assert_ne!(digest(&volume(1.0)), digest(&moved));
    }

    #[test]
    fn a_part_of_a_removed_study_changes_nothing() {
        let whole = Selection { t1: Some(selected(160, "a")), flair: Some(selected(120, "b")), problems: Vec::new() };
        let part = Selection { flair: None, t1: Some(selected(12, "c")), ..whole.clone() };
        let more = Selection { t1: Some(selected(161, "d")), ..whole.clone() };
        assert_eq!(whole.change_to(&whole, true), Change::None);
        assert_eq!(whole.change_to(&part, true), Change::Less("12 of the 160 slices of its T1".into()));
        assert_eq!(whole.change_to(&part, false), Change::Changed, "its files were all there");
        assert_eq!(whole.change_to(&more, true), Change::Changed);
        let two_patients = Selection { problems: vec!["several_patients".into()], ..whole.clone() };
        assert_eq!(whole.change_to(&two_patients, false), Change::Changed);
    }
}
