//! `excluded.tsv`: studies that must not be used, by `fcdd admin archive add --label exclude` or by hand.
//!
//! A patient may have an excluded study and another one that is used: `added-studies.tsv` says which one that is.
//! Whoever is in both tables without such a witness would be trained on against somebody's will: that is an error.

use std::path::Path;

use serde::Serialize;

use super::table::{ADDED, EXCLUDED, NOT_AVAILABLE, Table};
use super::{ArchiveError, Participant, participants};

/// A study that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Whose it is, `sub-…`.
    pub subject: String,
    /// Why, where that is stated.
    pub why: Option<String>,
}

impl Excluded {
    /// Why, in words.
    pub fn reason(&self) -> &str {
        self.why.as_deref().unwrap_or("no reason is stated")
    }
}

/// The excluded studies, in the table's order; none where there is no table.
///
/// # Errors
/// When a table cannot be read, or the images of somebody who is listed in participants.tsv are those of an excluded
/// study, or may be.
pub(super) fn read(archive: &Path, listed: &[Participant]) -> Result<Vec<Excluded>, ArchiveError> {
    let read =
        |name: &str, key: &str| Table::read_or_new(&archive.join(name), &[key], key).map_err(ArchiveError::Table);
    let (table, added) = (read(EXCLUDED, "participant_id")?, read(ADDED, "study")?);
    let mut all = Vec::new();
    for [cell, study, why] in table.cells(["participant_id", "study", "why"]) {
        let subject = participants::subject_id(cell).unwrap_or_else(|| cell.to_owned());
        let why = Some(why).filter(|why| participants::is_said(why)).map(str::to_owned);
        let excluded = Excluded { subject, why };
        let used = added.find("participant_id", &excluded.subject, "study");
        let is_another = study != NOT_AVAILABLE && used.is_some_and(|used| used != NOT_AVAILABLE && used != study);
        if !is_another && listed.iter().any(|participant| participant.id == excluded.subject) {
            let why = excluded.reason().to_owned();
            return Err(ArchiveError::ExcludedAndListed {
                archive: archive.to_owned(),
                subject: excluded.subject,
                why,
            });
        }
        all.push(excluded);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::research::archive::Archive;

    fn archive(tables: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("participants.tsv", "participant_id\tgroup\nsub-A\tfcd\nsub-B\thc\n")].iter().chain(tables)
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn excluded(tables: &[(&str, &str)]) -> Result<Vec<(String, Option<String>)>, String> {
        let folder = archive(tables);
        let read = Archive::read(folder.path()).map_err(|error| error.to_string())?;
        Ok(read.excluded.into_iter().map(|excluded| (excluded.subject, excluded.why)).collect())
    }

    #[test]
    fn every_excluded_study_is_listed_with_its_reason() {
        assert_eq!(excluded(&[]), Ok(Vec::new()));
        let ours = "study\tparticipant_id\twhy\nk1\tsub-C\tmotion\nk2\tsub-D\tn/a\nk3\tsub-C\tanother motion\n";
        let said = |id: &str, why: &str| (id.to_owned(), Some(why.to_owned()));
        let expected = vec![said("sub-C", "motion"), ("sub-D".to_owned(), None), said("sub-C", "another motion")];
        assert_eq!(excluded(&[("excluded.tsv", ours)]), Ok(expected));
        // By hand, in Windows, without the prefix.
        let by_hand = "\u{feff}participant_id\twhy\r\nC\tmoved a lot\r\n";
        assert_eq!(excluded(&[("excluded.tsv", by_hand)]), Ok(vec![said("sub-C", "moved a lot")]));
    }

    #[test]
    fn who_is_excluded_and_listed_is_named() {
        let both = excluded(&[("excluded.tsv", "participant_id\twhy\nsub-C\tx\nB\tmotion\n")]).unwrap_err();
        for word in ["sub-B", "motion", "excluded.tsv", "participants.tsv"] {
            assert!(both.contains(word), "{word}: {both}");
        }
        assert!(excluded(&[("excluded.tsv", "study\twhy\nk1\tx\n")]).unwrap_err().contains("participant_id"));
    }

    #[test]
    fn an_excluded_study_beside_the_one_that_is_used_harms_nobody() {
        let row = ("excluded.tsv", "study\tparticipant_id\twhy\nk2\tsub-A\tmotion\n");
        let added = |study: &str| format!("study\tpatient\tparticipant_id\tgroup\troi\n{study}\tp\tsub-A\tfcd\tn/a\n");
        let seen = excluded(&[row, ("added-studies.tsv", &added("k1"))]);
        assert_eq!(seen, Ok(vec![("sub-A".to_owned(), Some("motion".to_owned()))]));
        // The very study that is used, and one of which nobody knows.
        for tables in [vec![row, ("added-studies.tsv", added("k2").as_str())], vec![row]] {
            assert!(excluded(&tables).unwrap_err().contains("sub-A"));
        }
        let no_study = ("excluded.tsv", "study\tparticipant_id\twhy\nn/a\tsub-A\tmotion\n");
        assert!(excluded(&[no_study, ("added-studies.tsv", &added("k1"))]).unwrap_err().contains("sub-A"));
    }

    #[test]
    fn the_folder_of_an_excluded_subject_is_called_excluded() {
        let folder = archive(&[("excluded.tsv", "participant_id\twhy\nsub-C\tmotion\n")]);
        fs::create_dir(folder.path().join("sub-C")).unwrap();
        fs::create_dir(folder.path().join("sub-D")).unwrap();
        let read = Archive::read(folder.path()).unwrap();
        let code = |id: &str| read.unusable.iter().find(|f| f.subject == id).map(|f| f.reason.code.clone());
        assert_eq!([code("sub-C").as_deref(), code("sub-D").as_deref()], [Some("excluded"), Some("not_listed")]);
    }
}
