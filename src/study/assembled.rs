//! What assembly hands to analysis: the study's stacks of slices as volumes, each with its verdict.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Reason, SeriesVerdict};
use crate::dicom::{Dataset, Uid};
use crate::volume::Volume;

/// The kind of MR contrast that a series was classified as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sequence {
    /// T1-weighted, 3D gradient echo with or without inversion preparation.
    T1,
    /// T2-weighted with suppressed fluid.
    Flair,
    /// Anything else.
    Other,
}

impl Sequence {
    /// `T1`, `FLAIR` or `other`, as people write it.
    pub fn label(self) -> &'static str {
        match self {
            Sequence::T1 => "T1",
            Sequence::Flair => "FLAIR",
            Sequence::Other => "other",
        }
    }
}

/// Where one slice lies: PS3.3 C.7.6.2 Image Plane, or the per-frame functional groups.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePlane {
    /// Image Position (Patient): centre of the first pixel, LPS mm.
    pub position_mm: [f64; 3],
    /// Image Orientation (Patient): direction of increasing column index, then of increasing row index.
    pub orientation: [f64; 6],
    /// Pixel Spacing: between rows, between columns, mm.
    pub pixel_spacing_mm: [f64; 2],
    /// Slice Thickness where the source states it.
    pub slice_thickness_mm: Option<f64>,
    /// Number of pixel rows.
    pub rows: usize,
    /// Number of pixel columns.
    pub columns: usize,
}

/// One slice of a stack and the object it came from.
#[derive(Debug, Clone)]
pub struct SliceSource {
    /// The file in the spool, or the file given on the command line.
    pub path: PathBuf,
    /// SOP class of the object.
    pub sop_class_uid: Uid,
    /// SOP instance of the object.
    pub sop_instance_uid: Uid,
    /// One-based frame number in a multi-frame object, `None` in a single-frame one.
    pub frame_number: Option<u32>,
    /// Instance Number, where it is there and a number.
    pub instance_number: Option<i64>,
    /// Where the slice lies.
    pub plane: ImagePlane,
}

/// A stack that became a volume.
#[derive(Debug, Clone)]
pub struct SourceVolume {
    /// Rescaled values; axes `[slice, row, column]`, index to LPS mm.
    pub volume: Volume,
    /// The slices in the order of array axis 0.
    pub slices: Vec<SliceSource>,
}

/// One stack: the images of a series that belong together by orientation, echo, acquisition and image type.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Series Instance UID.
    pub series_uid: Uid,
    /// Series Number, where stated.
    pub series_number: Option<i64>,
    /// Series Description, leniently decoded; may be empty.
    pub description: String,
    /// Position of this stack within its series, from 0; a series with one stack has only 0.
    pub index_in_series: usize,
    /// Number of images (frames) in the stack, whether or not they could be used.
    pub images: usize,
    /// T1, FLAIR or other.
    pub sequence: Sequence,
    /// The rule that decided the sequence, in words.
    pub sequence_because: String,
    /// Whether the stack is a usable volume, and if not, why.
    pub verdict: SeriesVerdict,
    /// The volume: only with the verdict [`SeriesVerdict::Ok`], or [`SeriesVerdict::TooFewSlices`] (regular and
    /// readable, but never analyzed); `None` also where it was not asked for (the daemon decodes no other
    /// pixels than those of the T1 and the FLAIR that were chosen).
    pub volume: Option<Arc<SourceVolume>>,
    /// Header of the stack's first image, without pixel data and large private elements: report copies the modules
    /// it needs.
    pub header: Arc<Dataset>,
}

/// Identity and content of one input object: SHA-256 over its dataset bytes (after the file meta group).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputDigest {
    /// SOP Instance UID.
    pub sop_instance_uid: Uid,
    /// SHA-256 of the dataset as received.
    pub sha256: [u8; 32],
}

/// A study whose series were turned into volumes, as far as they deserved it.
#[derive(Debug, Clone)]
pub struct AssembledStudy {
    /// Study Instance UID.
    pub study_uid: Uid,
    /// When the newest of the [inputs](Self::inputs) reached this machine. Results carry it as their content date,
    /// so that rendering twice gives the same bytes.
    pub received_at: jiff::Timestamp,
    /// Every stack, in the order of series number, series UID and stack index.
    pub stacks: Vec<Stack>,
    /// Index into `stacks` of the T1 volume that was chosen.
    pub t1: Option<usize>,
    /// Index into `stacks` of the FLAIR volume that was chosen.
    pub flair: Option<usize>,
    /// Why the whole study cannot be assessed (several patients in one study, no usable series ...); empty when it can.
    pub problems: Vec<Reason>,
    /// Header of one image of the study, without pixel data: source of the patient and study modules.
    pub header: Arc<Dataset>,
    /// The objects that results rest on, sorted by SOP instance UID: those of the chosen T1 and FLAIR, or every object
    /// of the study when none was chosen.
    pub inputs: Vec<InputDigest>,
}

impl AssembledStudy {
    /// The stack chosen for a sequence, if any.
    pub fn chosen(&self, sequence: Sequence) -> Option<&Stack> {
        let index = match sequence {
            Sequence::T1 => self.t1,
            Sequence::Flair => self.flair,
            Sequence::Other => None,
        };
        index.and_then(|i| self.stacks.get(i))
    }
}
