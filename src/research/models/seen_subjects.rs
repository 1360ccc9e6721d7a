//! Whom a model has seen, and which of its networks may score whom.
//!
//! A model names the subjects of its training by hashes ([`SUBJECTS`]), and says which fold's network tested each
//! ([`OUT_OF_FOLD`]). Who is not among them may be scored by all networks; who is, only by the one that tested it.
//! Where that network is not in the model, nobody may.
//!
//! A subject is known again by its identifier and the content of its scan: the same scan stored anew, or under another
//! name, is not recognised.
//!
//! [`SUBJECTS`]: crate::network::manifest::SUBJECTS

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::export::{OUT_OF_FOLD, OutOfFold, Subject};
use crate::network::{ModelFolder, ModelFolderError};

/// How many names an error tells.
const NAMED: usize = 10;

/// Who may score a subject.
#[derive(Debug, Clone, PartialEq)]
pub enum Scorer {
    /// All networks together: none has seen it.
    Ensemble,
    /// The network that tested it.
    Fold {
        /// Its fold in the cross-validation.
        fold: usize,
        /// Its place among the model's files.
        file: usize,
        /// The logit that was recorded then.
        recorded: OutOfFold,
    },
}

/// A model that may not score some subjects, or does not say whom it has seen.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// A file of the model.
    #[error(transparent)]
    Model(#[from] ModelFolderError),
    /// A record that is no table of ours.
    #[error("{path}: {message}; export the model again")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A trained model without records.
    #[error(
        "{path} was trained, but does not say on whom: it cannot be told whether it has seen these subjects; export it anew from its run"
    )]
    Unsaid {
        /// The model's folder.
        path: PathBuf,
    },
    /// Nobody may score them.
    #[error(
        "{path} was trained on {count} of these subjects, and no network in it tested them out of fold: {names}; take \
         them out of the archive, or export all folds of the run"
    )]
    Seen {
        /// The model's folder.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Their names, as a list.
        names: String,
    },
}

/// For each subject, in order, who may score it.
///
/// # Errors
/// When somebody may be scored by nobody, or the model does not say whom it has seen.
pub fn scorers(model: &ModelFolder, subjects: &[Subject]) -> Result<Vec<Scorer>, SeenError> {
    let manifest = model.manifest();
    let Some(training) = &manifest.training else {
        if manifest.trained {
            return Err(SeenError::Unsaid { path: model.path().to_owned() });
        }
        return Ok(subjects.iter().map(|_| Scorer::Ensemble).collect());
    };
    let unsaid = || SeenError::Unsaid { path: model.path().to_owned() };
    let seen = model.record(&training.subjects)?.ok_or_else(unsaid)?;
    let seen = String::from_utf8_lossy(&seen);
    let seen: BTreeSet<&str> = seen.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tested = out_of_fold(model)?;
    let numbers: BTreeSet<usize> = tested.values().map(|row| row.fold).collect();
    // Files are in the order of the folds, and every fold tests somebody: as many folds as files are the same ones.
    let files: BTreeMap<usize, usize> =
        if numbers.len() == model.folds() { numbers.into_iter().zip(0..).collect() } else { BTreeMap::new() };

    let mut scorers = Vec::with_capacity(subjects.len());
    let mut nobody = Vec::new();
    for subject in subjects {
        let hash = subject.hash();
        let tested = tested.get(&hash);
        if !seen.contains(hash.as_str()) && tested.is_none() {
            scorers.push(Scorer::Ensemble);
            continue;
        }
        match tested.and_then(|row| Some((row, *files.get(&row.fold)?))) {
            Some((row, file)) => scorers.push(Scorer::Fold { fold: row.fold, file, recorded: row.clone() }),
            None => nobody.push(subject.id.as_str()),
        }
    }
    if nobody.is_empty() {
        return Ok(scorers);
    }
    Err(SeenError::Seen { path: model.path().to_owned(), count: nobody.len(), names: listed(&nobody) })
}

/// The first names, and how many more there are.
pub(super) fn listed(names: &[&str]) -> String {
    let more = if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
    format!("{}{more}", names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "))
}

/// The record of out-of-fold logits, by hash; empty where the model has none.
fn out_of_fold(model: &ModelFolder) -> Result<BTreeMap<String, OutOfFold>, SeenError> {
    let Some(bytes) = model.record(OUT_OF_FOLD)? else { return Ok(BTreeMap::new()) };
    csv::Reader::from_reader(bytes.as_slice())
        .deserialize::<OutOfFold>()
        .map(|row| row.map(|row| (row.subject.clone(), row)))
        .collect::<Result<_, _>>()
        .map_err(|e| SeenError::Record { path: model.path().join(OUT_OF_FOLD), message: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::manifest::SUBJECTS;
    use crate::network::manifest::tests::example;

    fn subject(id: &str) -> Subject {
        Subject { id: id.to_owned(), content: "c".repeat(64) }
    }

    /// A model of folds 0 and 2 of three that was trained on sub-0 to sub-2, of which each fold tested one; fold 1 was
    /// left out.
    fn model(folder: &std::path::Path, records: &[(&str, Vec<u8>)]) -> ModelFolder {
        let mut manifest = example();
        if let Some(training) = &mut manifest.training {
            training.folds = 3;
        }
        ModelFolder::write_with_records(folder, manifest, &[b"first".to_vec(), b"second".to_vec()], records).unwrap()
    }

    fn table(rows: &[(&str, usize)]) -> Vec<u8> {
        let mut text = "subject,fcd,fold,logit\n".to_owned();
        for (id, fold) in rows {
            text += &format!("{},true,{fold},0.25\n", subject(id).hash());
        }
        text.into_bytes()
    }

    fn hashes() -> Vec<u8> {
        ["sub-0", "sub-1", "sub-2"].map(|id| subject(id).hash() + "\n").concat().into_bytes()
    }

    #[test]
    fn who_was_trained_on_is_scored_by_who_tested_it_or_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let records = [(SUBJECTS, hashes()), (OUT_OF_FOLD, table(&[("sub-0", 0), ("sub-2", 2)]))];
        let model = model(&folder.path().join("m"), &records);
        let found = scorers(&model, &[subject("sub-2"), subject("sub-9"), subject("sub-0")]).unwrap();
        assert!(
            matches!(&found[0], Scorer::Fold { fold: 2, file: 1, recorded } if recorded.logit == 0.25),
            "{found:?}"
        );
        assert_eq!(found[1], Scorer::Ensemble);
        assert!(matches!(&found[2], Scorer::Fold { fold: 0, file: 0, .. }));
        // Tested by the fold that was left out: both networks trained on it.
        let error = scorers(&model, &[subject("sub-9"), subject("sub-1")]).unwrap_err();
        assert!(matches!(&error, SeenError::Seen { count: 1, names, .. } if names == "sub-1"), "{error}");
        // Another scan under the same name is another subject.
        let other = Subject { content: "d".repeat(64), ..subject("sub-1") };
        assert_eq!(scorers(&model, &[other]).unwrap(), [Scorer::Ensemble]);
    }

    #[test]
    fn records_that_do_not_say_which_network_it_was_let_nobody_score() {
        let folder = tempfile::tempdir().unwrap();
        // One fold in the table, two files: whose is which?
        let unclear = [(SUBJECTS, hashes()), (OUT_OF_FOLD, table(&[("sub-0", 0)]))];
        let unclear = model(&folder.path().join("a"), &unclear);
        assert!(matches!(scorers(&unclear, &[subject("sub-0")]), Err(SeenError::Seen { .. })));
        let no_table = model(&folder.path().join("b"), &[(SUBJECTS, hashes())]);
        assert!(matches!(scorers(&no_table, &[subject("sub-0")]), Err(SeenError::Seen { .. })));
        assert_eq!(scorers(&no_table, &[subject("sub-9")]).unwrap(), [Scorer::Ensemble]);
        let broken = [(SUBJECTS, hashes()), (OUT_OF_FOLD, b"subject\nx\n".to_vec())];
        let broken = model(&folder.path().join("c"), &broken);
        assert!(matches!(scorers(&broken, &[subject("sub-0")]), Err(SeenError::Record { .. })));

        let mut manifest = example();
        (manifest.trained, manifest.training) = (true, None);
        let unsaid = ModelFolder::write(&folder.path().join("d"), manifest, &[b"x".to_vec()]).unwrap();
        assert!(matches!(scorers(&unsaid, &[subject("sub-0")]), Err(SeenError::Unsaid { .. })));
    }
}
