//! A study's results are numbered. Whatever says something else than the last one (images came late, another model,
//! a retry after a failure) is the next revision, and its report names the one before.

use serde::{Deserialize, Serialize};

use crate::dicom::Uid;

/// A report as another one refers to it (PS3.3 C.17.2.1, Predecessor Documents Sequence).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReference {
    /// Its series.
    pub series_uid: Uid,
    /// Its SOP class.
    pub sop_class_uid: Uid,
    /// Its SOP instance.
    pub sop_instance_uid: Uid,
}

/// Which of a study's results this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// 1 for the first result.
    pub number: u32,
    /// The report of the revision before; `None` for the first.
    pub predecessor: Option<ReportReference>,
}

impl Revision {
    /// A study's first result.
    pub fn first() -> Revision {
        Revision { number: 1, predecessor: None }
    }

    /// `rev 2` of everything that replaces something; nothing of the first.
    pub fn label(&self) -> Option<String> {
        (self.number > 1).then(|| format!("rev {}", self.number))
    }
}
