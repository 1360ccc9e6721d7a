//! What reporting hands to delivery: finished DICOM files.

use std::path::PathBuf;

use crate::dicom::Uid;

/// The kind of a result object; destinations choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// One overview picture.
    Card,
    /// Heatmap over the T1 series, one object per source slice.
    HeatmapT1,
    /// Heatmap over the FLAIR series.
    HeatmapFlair,
    /// The structured report.
    Report,
}

impl ObjectKind {
    /// Every kind, in the order of delivery: the report last, so that what it describes is already there.
    pub const ALL: [ObjectKind; 4] =
        [ObjectKind::HeatmapT1, ObjectKind::HeatmapFlair, ObjectKind::Card, ObjectKind::Report];

    /// The name used in configuration, ledger and file names.
    pub fn name(self) -> &'static str {
        match self {
            ObjectKind::Card => "card",
            ObjectKind::HeatmapT1 => "heatmap-t1",
            ObjectKind::HeatmapFlair => "heatmap-flair",
            ObjectKind::Report => "report",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<ObjectKind> {
        ObjectKind::ALL.into_iter().find(|k| k.name() == name)
    }
}

/// A result object that is on disk, synced, and will never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedObject {
    /// What it is.
    pub kind: ObjectKind,
    /// SOP class.
    pub sop_class_uid: Uid,
    /// SOP instance, deterministic.
    pub sop_instance_uid: Uid,
    /// Series, deterministic.
    pub series_uid: Uid,
    /// The file (Explicit VR Little Endian with file meta).
    pub path: PathBuf,
}
