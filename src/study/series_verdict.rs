//! The closed list of what assembly can say about a stack of images.

use serde::{Deserialize, Serialize};

/// Whether a stack is a usable volume; if not, the one reason that an operator should hear, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum SeriesVerdict {
    /// A regular, complete volume.
    #[error("ok")]
    Ok,
    /// The object carries no pixels (a report, a raw data object, an emptied image).
    #[error("no pixel data")]
    NoPixels,
    /// Not an MR image.
    #[error("modality {modality:?} is not MR")]
    NotMr {
        /// Modality (0008,0060) as found.
        modality: String,
    },
    /// Colour pixels: a screenshot or a fused picture, not a scan.
    #[error("colour image ({photometric}, {samples} samples per pixel)")]
    Colour {
        /// Photometric Interpretation.
        photometric: String,
        /// Samples per Pixel.
        samples: u16,
    },
    /// A scout used for planning.
    #[error("localizer ({because})")]
    Localizer {
        /// What gave it away.
        because: String,
    },
    /// Resampled from another series of the study (MPR, projection), so not the scan itself.
    #[error("derived from another series ({image_type})")]
    Derived {
        /// Image Type as found.
        image_type: String,
    },
    /// Several slices tiled into one image (Siemens mosaic, UIH grid).
    #[error("mosaic: one image holds {tiles} slices")]
    Mosaic {
        /// Number of slices in one image, 0 when the header does not say.
        tiles: usize,
    },
    /// One slice is no volume.
    #[error("a single slice")]
    SingleSlice,
    /// Fewer slices than a head can have.
    #[error("{slices} slices are too few (at least {needed} are needed)")]
    TooFewSlices {
        /// Slices found.
        slices: usize,
        /// Slices needed.
        needed: usize,
    },
    /// The distance between neighbours jumps by whole slices.
    #[error(
        "{missing} slice(s) missing: a gap of {gap_mm:.3} mm after slice {after} where {spacing_mm:.3} mm is usual"
    )]
    MissingSlice {
        /// Zero-based index along the normal of the slice before the first gap.
        after: usize,
        /// Number of slices missing in all gaps.
        missing: usize,
        /// Width of the first gap, mm.
        gap_mm: f64,
        /// Usual distance, mm.
        spacing_mm: f64,
    },
    /// Distances between neighbours vary without pattern.
    #[error("uneven slice distances between {min_mm:.3} and {max_mm:.3} mm")]
    UnevenSpacing {
        /// Smallest distance, mm.
        min_mm: f64,
        /// Largest distance, mm.
        max_mm: f64,
    },
    /// Two or more images lie at the same place.
    #[error("{duplicates} image(s) lie where another one already lies")]
    DuplicatePosition {
        /// Images beyond the first at their position.
        duplicates: usize,
    },
    /// Images of one stack have different orientations.
    #[error("{orientations} orientations in one stack")]
    MixedOrientation {
        /// Number of distinct orientations.
        orientations: usize,
    },
    /// Images differ in matrix or pixel spacing.
    #[error("images of different size in one stack ({sizes})")]
    MixedSize {
        /// The sizes found, in words.
        sizes: String,
    },
    /// Slices are shifted against their normal.
    #[error("gantry tilt of {degrees:.1} degrees")]
    GantryTilt {
        /// Angle between the line of slice origins and the normal.
        degrees: f64,
    },
    /// Position, orientation or spacing is missing or not a number.
    #[error("geometry is missing or unusable: {what}")]
    NoGeometry {
        /// The attribute and what was found.
        what: String,
    },
    /// Magnitude and phase, or several contrasts, in one multi-frame object.
    #[error("several contrasts in one object ({kinds})")]
    MixedContrast {
        /// The kinds found.
        kinds: String,
    },
    /// The pixels were compressed with loss: the values are not the scanner's, and decoders differ in them.
    #[error("lossy compression (transfer syntax {transfer_syntax}): the values are not the scanner's")]
    LossyCompression {
        /// Transfer syntax UID as found; it may be a lossless one when the loss happened earlier.
        transfer_syntax: String,
    },
    /// We have no decoder for this transfer syntax.
    #[error("transfer syntax {transfer_syntax} cannot be decoded here")]
    UndecodableSyntax {
        /// Transfer syntax UID.
        transfer_syntax: String,
    },
    /// The file or its pixels are damaged.
    #[error("unreadable: {why}")]
    Unreadable {
        /// What was tried and what went wrong.
        why: String,
    },
}

impl SeriesVerdict {
    /// True only for a usable volume.
    pub fn is_ok(&self) -> bool {
        matches!(self, SeriesVerdict::Ok)
    }
}
