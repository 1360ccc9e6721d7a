//! The record of a finished analysis: everything that it leaves in the ledger, as one file beside the result objects.
//!
//! `results/<study uid>/revision-<n>.json` is written, durably, after the objects and before the ledger's rows. A
//! ledger that was lost, or a kill between the two, costs no second analysis: start-up reads the record, and the
//! result stays the one that was rendered, under its own UIDs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StudyState;
use super::studies::SeriesVerdictRow;
use crate::dicom::Uid;
use crate::spool::{SpoolError, write_durably};
use crate::study::{ObjectKind, RenderedObject, Selection};

/// Version of the file's format.
const FORMAT: u32 = 1;
const PREFIX: &str = "revision-";
const SUFFIX: &str = ".json";

/// What an analysis leaves behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Version of this format.
    pub format: u32,
    /// The study.
    pub study_uid: Uid,
    /// Number of this result among the study's results, from 1.
    pub revision: u32,
    /// When the list of the study's objects was read, Unix milliseconds: what came later was not looked at.
    pub looked_at_ms: i64,
    /// Set when a stage failed: the study is `failed` with this reason, and the report that says so is delivered all
    /// the same.
    pub failure: Option<String>,
    /// Code of the verdict.
    pub verdict: String,
    /// Fused probability, when a model ran.
    pub probability: Option<f64>,
    /// The volumes that the result is about.
    pub selection: Selection,
    /// What the result says, without its revision: tells a result that was made again from another one.
    pub content_digest: String,
    /// `result.json`.
    pub result: serde_json::Value,
    /// One row per stack.
    pub series: Vec<SeriesVerdictRow>,
    /// The result objects.
    pub objects: Vec<ResultObject>,
    /// What the rules of delivery ask of a study.
    pub facts: DeliveryFacts,
}

/// A result object, on disk and synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultObject {
    /// What it is.
    pub kind: ObjectKind,
    /// SOP class.
    pub sop_class_uid: Uid,
    /// SOP instance.
    pub sop_instance_uid: Uid,
    /// Series.
    pub series_uid: Uid,
    /// Its file, relative to the spool.
    pub path: PathBuf,
}

/// What a destination's rules look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFacts {
    /// Calling AE title of the study's sender.
    pub calling_ae: String,
    /// Study Description.
    pub study_description: String,
    /// Whether an untrained model took part.
    pub untrained: bool,
}

impl ResultObject {
    /// The objects as the ledger keeps them: with paths relative to the spool's root.
    pub fn of(rendered: &[RenderedObject], spool: &Path) -> Vec<ResultObject> {
        let relative = |object: &RenderedObject| ResultObject {
            kind: object.kind,
            sop_class_uid: object.sop_class_uid.clone(),
            sop_instance_uid: object.sop_instance_uid.clone(),
            series_uid: object.series_uid.clone(),
            // A path outside the spool stays absolute; joining it to the spool's root again gives itself.
            path: object.path.strip_prefix(spool).unwrap_or(&object.path).to_owned(),
        };
        rendered.iter().map(relative).collect()
    }
}

impl ResultRecord {
    /// The version of the format that this program writes.
    pub const FORMAT: u32 = FORMAT;

    /// The state that this result puts its study in.
    pub fn state(&self) -> StudyState {
        if self.failure.is_some() { StudyState::Failed } else { StudyState::Reported }
    }

    /// The objects as delivery knows them.
    pub fn rendered(&self, spool: &Path) -> Vec<RenderedObject> {
        let absolute = |object: &ResultObject| RenderedObject {
            kind: object.kind,
            sop_class_uid: object.sop_class_uid.clone(),
            sop_instance_uid: object.sop_instance_uid.clone(),
            series_uid: object.series_uid.clone(),
            path: spool.join(&object.path),
        };
        self.objects.iter().map(absolute).collect()
    }

    /// Writes the record into the study's results directory, durably.
    pub fn write(&self, directory: &Path) -> Result<(), SpoolError> {
        let path = directory.join(format!("{PREFIX}{}{SUFFIX}", self.revision));
        let text = serde_json::to_vec_pretty(self).map_err(|error| SpoolError::Io {
            doing: "encode",
            path: path.clone(),
            source: error.into(),
        })?;
        write_durably(&path, &text)
    }

    /// Reads a record; the error is a sentence.
    pub fn read(path: &Path) -> Result<ResultRecord, String> {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        let record: ResultRecord = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if record.format != FORMAT {
            return Err(format!("format {} of a result record; this fcdd knows {FORMAT}", record.format));
        }
        Ok(record)
    }

    /// The study and the revision that a file of `results/` is the record of, from its path; `None` of other files.
    pub fn of_path(path: &Path) -> Option<(Uid, u32)> {
        let revision = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
        let study_uid = Uid::parse(path.parent()?.file_name()?.to_str()?).ok()?;
        Some((study_uid, revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_by_its_path_and_reads_back() {
        let uid = |text: &str| Uid::parse(text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results/1.2.3");
        std::fs::create_dir_all(&results).unwrap();
        let record = ResultRecord {
            format: FORMAT,
            study_uid: uid("1.2.3"),
            revision: 2,
            looked_at_ms: 5,
            failure: None,
            verdict: "suspected".into(),
            probability: Some(0.75),
            selection: Selection::default(),
            content_digest: "ab".into(),
            result: serde_json::json!({ "revision": 2 }),
            series: Vec::new(),
            objects: ResultObject::of(
                &[RenderedObject {
                    kind: ObjectKind::Report,
                    sop_class_uid: uid("1.1"),
                    sop_instance_uid: uid("1.4"),
                    series_uid: uid("1.5"),
                    path: results.join("1.4.dcm"),
                }],
                folder.path(),
            ),
            facts: DeliveryFacts { calling_ae: "MR1".into(), study_description: String::new(), untrained: false },
        };
        record.write(&results).unwrap();
        let path = results.join("revision-2.json");
        assert_eq!(ResultRecord::read(&path).unwrap(), record);
        assert_eq!(record.objects[0].path, Path::new("results/1.2.3/1.4.dcm"), "relative to the spool");
        assert_eq!(record.rendered(folder.path())[0].path, results.join("1.4.dcm"));
        assert_eq!(ResultRecord::of_path(&path), Some((uid("1.2.3"), 2)));
        assert_eq!(ResultRecord::of_path(&results.join("1.4.dcm")), None);
        std::fs::write(&path, "{").unwrap();
        assert!(ResultRecord::read(&path).is_err());
    }
}
