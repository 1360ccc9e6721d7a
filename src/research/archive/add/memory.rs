//! What the archive remembers of studies, in its three tables, and what contradicts it.

use std::path::Path;

use super::error::{AddError, io};
use super::site_secret::SiteSecret;
use super::{Label, Request};
use crate::research::archive::table::{ADDED, EXCLUDED, NOT_AVAILABLE, PARTICIPANTS, Table, TableError};

/// Columns of a new [`PARTICIPANTS`].
const PARTICIPANT_COLUMNS: [&str; 6] = ["participant_id", "group", "sex", "age_scan", "scanner", "consent"];
/// Of a new [`ADDED`].
const ADDED_COLUMNS: [&str; 5] = ["study", "patient", "participant_id", "group", "roi"];
/// Of a new [`EXCLUDED`].
const EXCLUDED_COLUMNS: [&str; 3] = ["study", "participant_id", "why"];

/// The names under which the archive knows a study.
pub(super) struct Known {
    pub study: String,
    pub patient: String,
    pub participant_id: String,
    pub roi: Option<String>,
}

/// The key of a mask: of its file and of the segment asked for.
pub(super) fn roi_key(path: &Path, segment: Option<u32>, secret: &SiteSecret) -> Result<String, AddError> {
    let mut bytes = std::fs::read(path).map_err(|e| io("read", path, e))?;
    bytes.extend(segment.unwrap_or(0).to_le_bytes());
    Ok(secret.content_key(&bytes))
}

/// The archive's tables.
pub(super) struct Tables {
    pub participants: Table,
    pub added: Table,
    pub excluded: Table,
}

impl Tables {
    /// Reads them; those that are not there are empty.
    pub(super) fn read(archive: &Path) -> Result<Tables, TableError> {
        Ok(Tables {
            participants: Table::read_or_new(&archive.join(PARTICIPANTS), &PARTICIPANT_COLUMNS, "participant_id")?,
            added: Table::read_or_new(&archive.join(ADDED), &ADDED_COLUMNS, "study")?,
            excluded: Table::read_or_new(&archive.join(EXCLUDED), &EXCLUDED_COLUMNS, "study")?,
        })
    }

    /// Whether there is nothing to do; what contradicts the archive is an error.
    pub(super) fn has_already(&self, request: &Request<'_>, known: &Known) -> Result<bool, AddError> {
        let Request { label, archive, .. } = *request;
        let (archive, participant_id) = (archive.to_owned(), known.participant_id.clone());
        let other_label = |found: &str| AddError::OtherLabel {
            archive: archive.clone(),
            participant_id: participant_id.clone(),
            found: found.to_owned(),
            wanted: label.name(),
        };
        if self.excluded.find("study", &known.study, "study").is_some() {
            return if label == Label::Exclude { Ok(true) } else { Err(other_label("exclude")) };
        }
        if let Some(found) = self.added.find("study", &known.study, "group") {
            if found != label.name() {
                return Err(other_label(found));
            }
            let roi = self.added.find("study", &known.study, "roi").filter(|r| *r != NOT_AVAILABLE);
            if known.roi.is_some() && roi != known.roi.as_deref() {
                let found = if roi.is_some() { "another mask" } else { "no mask" };
                return Err(AddError::OtherRoi { archive, participant_id, found });
            }
            return Ok(true);
        }
        if label == Label::Exclude {
            return Ok(false);
        }
        if let Some(patient) = self.added.find("participant_id", &known.participant_id, "patient") {
            if patient != known.patient {
                return Err(AddError::Collision { archive, participant_id });
            }
            let found = self.added.find("participant_id", &known.participant_id, "group").unwrap_or_default();
            if found == label.name() {
                return Err(AddError::OtherStudy { archive, participant_id });
            }
            let (found, wanted) = (found.to_owned(), label.name());
            return Err(AddError::OtherGroup { archive, participant_id, found, wanted });
        }
        // A row without a study is what a kill left behind, or the work of other hands.
        match self.participants.find("participant_id", &known.participant_id, "group") {
            Some(found) if found != label.name() => {
                let (found, wanted) = (found.to_owned(), label.name());
                Err(AddError::OtherGroup { archive, participant_id, found, wanted })
            }
            _ => Ok(false),
        }
    }
}
