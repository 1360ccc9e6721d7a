//! `RUN/splits.json`: who is tested, who validates and who is trained on in each fold. Written once, then reused.
//!
//! - Everybody is tested in exactly one fold. Subjects are dealt one by one to the fold that has the fewest of their
//!   stratum (label × scanner / protocol), then of their label, then of all.
//! - Of the others of a fold, a share validates, chosen evenly within each stratum; both labels are in it.
//! - T1 and FLAIR share one file: it is about subjects, and each modality takes those whom it has.
//! - A subject is in the file once, so all its scans are in one part. When the archive grows, old subjects keep their
//!   fold ([`Splits::grow`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::folder::{Part, RunFolderError, write_durably};
use crate::study::Group;

/// Format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// Somebody to be split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `sub-…`
    pub id: String,
    /// Patient or control.
    pub group: Group,
    /// Scanner and protocol, as text.
    pub stratum: String,
}

/// Where one subject is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Patient or control.
    pub group: Group,
    /// Scanner and protocol.
    pub stratum: String,
    /// The fold that tests it.
    pub test_fold: usize,
    /// The folds in which it validates; it is trained on in the others.
    pub validation_folds: BTreeSet<usize>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// [`FORMAT`].
    pub format: u32,
    /// What the choices follow from.
    pub seed: u64,
    /// Number of folds.
    pub folds: usize,
    /// Share of the training part that validates.
    pub validation_share: f64,
    /// By id.
    pub subjects: BTreeMap<String, Place>,
}

/// Splits that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SplitsError {
    /// Not every fold can test both labels.
    #[error(
        "{found} subjects are {group}, too few for {folds} folds: each tests at least one; use fewer folds or add subjects"
    )]
    TooFew {
        /// `fcd` or `hc`.
        group: &'static str,
        /// How many there are.
        found: usize,
        /// How many folds.
        folds: usize,
    },
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is none, or of another format, or made for other folds.
    #[error("{path} is no splits file of this run: {message}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] RunFolderError),
}

impl Splits {
    /// Splits everybody anew; the order of the candidates does not matter.
    ///
    /// # Errors
    /// When there are fewer patients or controls than folds.
    pub fn new(candidates: &[Candidate], seed: u64, folds: usize, validation_share: f64) -> Result<Self, SplitsError> {
        Splits { format: FORMAT, seed, folds, validation_share, subjects: BTreeMap::new() }.grow(candidates)
    }

    /// The same splits with newcomers: old subjects keep the fold that tests them and their part in the others.
    ///
    /// # Errors
    /// When there are fewer patients or controls than folds.
    pub fn grow(mut self, candidates: &[Candidate]) -> Result<Self, SplitsError> {
        let mut newcomers: Vec<&Candidate> =
            candidates.iter().filter(|candidate| !self.subjects.contains_key(&candidate.id)).collect();
        newcomers.sort_by_cached_key(|new| (new.group, new.stratum.clone(), self.lot("test", 0, &new.id)));
        newcomers.dedup_by(|a, b| a.id == b.id);
        for new in &newcomers {
            let count = |fold: usize, of: &dyn Fn(&Place) -> bool| {
                self.subjects.values().filter(|place| place.test_fold == fold && of(place)).count()
            };
            let fullness = |fold: &usize| {
                (
                    count(*fold, &|place| place.group == new.group && place.stratum == new.stratum),
                    count(*fold, &|place| place.group == new.group),
                    count(*fold, &|_| true),
                )
            };
            let test_fold = (0..self.folds).min_by_key(fullness).unwrap_or(0);
            let (group, stratum) = (new.group, new.stratum.clone());
            self.subjects
                .insert(new.id.clone(), Place { group, stratum, test_fold, validation_folds: BTreeSet::new() });
        }
        for group in [Group::Fcd, Group::Hc] {
            let found = self.subjects.values().filter(|place| place.group == group).count();
            if found < self.folds {
                return Err(SplitsError::TooFew { group: group.name(), found, folds: self.folds });
            }
        }
        let newcomers: BTreeSet<String> = newcomers.into_iter().map(|new| new.id.clone()).collect();
        for fold in 0..self.folds {
            for group in [Group::Fcd, Group::Hc] {
                self.choose_validation(fold, group, &newcomers);
            }
        }
        Ok(self)
    }

    /// Of the newcomers of a label whom a fold does not test, every so-many-th validates, stratum by stratum.
    fn choose_validation(&mut self, fold: usize, group: Group, newcomers: &BTreeSet<String>) {
        let mut others: Vec<(String, u64, String)> = self
            .subjects
            .iter()
            .filter(|(id, place)| newcomers.contains(*id) && place.group == group && place.test_fold != fold)
            .map(|(id, place)| (place.stratum.clone(), self.lot("validation", fold, id), id.clone()))
            .collect();
        others.sort();
        let has_one =
            self.subjects.values().any(|place| place.group == group && place.validation_folds.contains(&fold));
        // The first is taken when the running share passes one half; never none, so that both labels validate.
        let mut share = if has_one || self.validation_share * others.len() as f64 >= 0.5 { 0.5 } else { 1.0 };
        for (_, _, id) in others {
            share += self.validation_share;
            if share >= 1.0 {
                share -= 1.0;
                if let Some(place) = self.subjects.get_mut(&id) {
                    place.validation_folds.insert(fold);
                }
            }
        }
    }

    /// A subject's lot: what order follows from instead of chance.
    fn lot(&self, purpose: &str, fold: usize, id: &str) -> u64 {
        let mut hash = Sha256::new();
        hash.update(purpose);
        hash.update(self.seed.to_le_bytes());
        hash.update((fold as u64).to_le_bytes());
        hash.update(id);
        hash.finalize().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// A subject's part in a fold; none when it is not in the file.
    pub fn part(&self, fold: usize, id: &str) -> Option<Part> {
        let place = self.subjects.get(id)?;
        Some(if place.test_fold == fold {
            Part::Test
        } else if place.validation_folds.contains(&fold) {
            Part::Validation
        } else {
            Part::Train
        })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Self, SplitsError> {
        let text = fs::read(path).map_err(|source| SplitsError::File { path: path.to_owned(), source })?;
        let wrong = |message: String| SplitsError::Wrong { path: path.to_owned(), message };
        let splits: Splits = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if splits.format != FORMAT {
            return Err(wrong(format!("its format is {}, expected {FORMAT}", splits.format)));
        }
        let folds = splits.folds;
        let outside = |place: &Place| place.test_fold >= folds || place.validation_folds.iter().any(|f| *f >= folds);
        if let Some((id, _)) = splits.subjects.iter().find(|(_, place)| outside(place)) {
            return Err(wrong(format!("{id} is in a fold outside 0 to {}", folds.saturating_sub(1))));
        }
        Ok(splits)
    }

    /// Writes the file durably, always the same bytes for the same splits.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SplitsError> {
        let wrong = |message: String| SplitsError::Wrong { path: path.to_owned(), message };
        let text = serde_json::to_vec_pretty(self).map_err(|e| wrong(e.to_string()))?;
        Ok(write_durably(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ds004199's: 42 patients and 85 controls on one scanner, 43 patients on another.
    fn bonn() -> Vec<Candidate> {
        (0..170)
            .map(|n| Candidate {
                id: format!("sub-{n:05}"),
                group: if n < 85 { Group::Fcd } else { Group::Hc },
                stratum: if n < 43 { "20619" } else { "35083" }.to_owned(),
            })
            .collect()
    }

    fn count(splits: &Splits, fold: usize, part: Part, group: Group, stratum: &str) -> usize {
        let of = |(id, place): &(&String, &Place)| {
            splits.part(fold, id) == Some(part) && place.group == group && place.stratum == stratum
        };
        splits.subjects.iter().filter(of).count()
    }

    #[test]
    fn every_fold_holds_its_share_of_every_stratum() {
        let splits = Splits::new(&bonn(), 7, 5, 0.2).unwrap();
        assert_eq!(splits.subjects.len(), 170);
        for fold in 0..5 {
            for (group, stratum, all) in
                [(Group::Fcd, "20619", 43.0), (Group::Fcd, "35083", 42.0), (Group::Hc, "35083", 85.0)]
            {
                let tested = count(&splits, fold, Part::Test, group, stratum) as f64;
                let validates = count(&splits, fold, Part::Validation, group, stratum) as f64;
                assert!((tested - all / 5.0).abs() < 1.0, "fold {fold}: {tested} of {all}");
                assert!((validates - 0.2 * (all - tested)).abs() <= 1.0, "fold {fold}: {validates} of {all}");
            }
        }
    }

    #[test]
    fn order_changes_nothing_and_the_seed_does() {
        let mut candidates = bonn();
        let splits = Splits::new(&candidates, 7, 5, 0.2).unwrap();
        candidates.reverse();
        assert_eq!(splits, Splits::new(&candidates, 7, 5, 0.2).unwrap());
        assert_ne!(splits.subjects, Splits::new(&candidates, 8, 5, 0.2).unwrap().subjects);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("splits.json");
        splits.write(&path).unwrap();
        assert_eq!(Splits::read(&path).unwrap(), splits);
    }

    #[test]
    fn old_subjects_keep_their_places_when_the_archive_grows() {
        let all = bonn();
        let few: Vec<Candidate> = all.iter().step_by(3).cloned().collect();
        let old = Splits::new(&few, 7, 5, 0.2).unwrap();
        let new = old.clone().grow(&all).unwrap();
        assert_eq!(new.subjects.len(), 170);
        assert!(old.subjects.iter().all(|(id, place)| new.subjects[id] == *place));
        for fold in 0..5 {
            assert!((16..=18).contains(&count(&new, fold, Part::Test, Group::Hc, "35083")));
        }
    }

    #[test]
    fn even_the_smallest_fold_validates_both_labels() {
        let candidates: Vec<Candidate> = bonn().into_iter().skip(83).take(4).collect();
        let splits = Splits::new(&candidates, 1, 2, 0.2).unwrap();
        for fold in 0..2 {
            for group in [Group::Fcd, Group::Hc] {
                assert_eq!(count(&splits, fold, Part::Test, group, "35083"), 1);
                assert_eq!(count(&splits, fold, Part::Validation, group, "35083"), 1);
            }
        }
        let error = Splits::new(&candidates, 1, 3, 0.2).unwrap_err().to_string();
        assert!(error.contains("2 subjects are fcd") && error.contains("3 folds"), "{error}");
    }
}
