//! DICOM segmentation objects (PS3.3 A.51, C.8.20): one segment as a volume of 0 and 1.
//!
//! Frames of a segment are placed by Plane Position, Plane Orientation and Pixel Measures, each per frame or
//! shared. Empty frames may be left out, so frames lie at whole multiples of the slice distance, not at every one.
//! BINARY frames are single bits, least significant first, without padding between frames (PS3.5 section 8.2);
//! FRACTIONAL ones count from half of Maximum Fractional Value; LABELMAP ones hold the segment's number.

use std::path::{Path, PathBuf};

use dicom_dictionary_std::{tags, uids};
use ndarray::{Array3, ArrayViewMut2, Axis};

use super::roi::Target;
use crate::dicom::Dataset;
use crate::dicom::attributes::{Attributes, items, text};
use crate::volume::{Affine, Volume};

/// Label Map Segmentation Storage.
const LABEL_MAP_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.66.7";
/// Frames of one orientation agree within this.
const SAME_DIRECTION: f64 = 1e-3;
/// Frames lie on their line and at multiples of the distance within this, mm.
const OFF_GRID_MM: f64 = 0.1;
/// More voxels than this are not believed.
const MAX_VOXELS: usize = 1 << 29;

/// A segmentation object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentationError {
    /// The file is no DICOM file that can be read.
    #[error("{path} cannot be read as DICOM: {why} (a mask is a .nii.gz file or a DICOM segmentation)")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Another kind of object.
    #[error("{path} is no segmentation object (SOP class {sop_class})")]
    OtherClass {
        /// The file.
        path: PathBuf,
        /// SOP Class UID.
        sop_class: String,
    },
    /// Segments to choose from.
    #[error("{path}: {problem}; it has {segments}; choose with --segment N")]
    Which {
        /// The file.
        path: PathBuf,
        /// What is wrong with the choice.
        problem: String,
        /// Numbers and labels.
        segments: String,
    },
    /// Drawn on something else.
    #[error(
        "{path} does not belong to the study's {image}: neither its frame of reference nor its referenced series is that of the image; draw it on the {image}"
    )]
    OtherImage {
        /// The file.
        path: PathBuf,
        /// `FLAIR` or `T1`.
        image: &'static str,
    },
    /// Pixels or geometry that make no volume.
    #[error("{path} cannot be used: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
}

/// Reads one segment of an object that was drawn on `target`; axes `[slice, row, column]`.
///
/// # Errors
/// See [`SegmentationError`].
pub fn read(path: &Path, segment: Option<u32>, target: &Target<'_>) -> Result<Volume, SegmentationError> {
    let unreadable = |why: String| SegmentationError::Unreadable { path: path.to_owned(), why };
    // The parser is not ours: a panic in it is this file's problem alone.
    let opened = std::panic::catch_unwind(|| dicom_object::open_file(path))
        .map_err(|_| unreadable("the parser gave up".to_owned()))?
        .map_err(|e| unreadable(e.to_string()))?;
    let transfer_syntax = opened.meta().transfer_syntax().trim_end_matches('\0').to_owned();
    let object: Dataset = opened.into_inner();
    let sop_class = text(&object, tags::SOP_CLASS_UID);
    if ![uids::SEGMENTATION_STORAGE, LABEL_MAP_STORAGE].contains(&sop_class.as_str()) {
        return Err(SegmentationError::OtherClass { path: path.to_owned(), sop_class });
    }
    if !belongs_to(&object, target) {
        return Err(SegmentationError::OtherImage { path: path.to_owned(), image: target.name });
    }
    let number = choose_segment(&object, segment, path)?;
    let unusable = |why: String| SegmentationError::Unusable { path: path.to_owned(), why };
    volume_of(&object, number, &transfer_syntax, target).map_err(unusable)
}

/// The frame of reference decides; where one of them has none, the referenced series.
fn belongs_to(object: &Dataset, target: &Target<'_>) -> bool {
    let frame = text(object, tags::FRAME_OF_REFERENCE_UID);
    if !frame.is_empty() && !target.frame_of_reference.is_empty() {
        return frame == target.frame_of_reference;
    }
    let series = items(object, tags::REFERENCED_SERIES_SEQUENCE);
    series.iter().any(|item| text(item, tags::SERIES_INSTANCE_UID) == target.series_uid.as_str())
}

fn choose_segment(object: &Dataset, wanted: Option<u32>, path: &Path) -> Result<u32, SegmentationError> {
    let number = |item: &Dataset| item.element(tags::SEGMENT_NUMBER).ok().and_then(|e| e.to_int::<u32>().ok());
    let segments: Vec<(u32, String)> = items(object, tags::SEGMENT_SEQUENCE)
        .iter()
        .filter_map(|item| Some((number(item)?, text(item, tags::SEGMENT_LABEL))))
        // Label maps list their background.
        .filter(|(number, _)| *number > 0)
        .collect();
    let which = |problem: String| SegmentationError::Which {
        path: path.to_owned(),
        problem,
        segments: segments.iter().map(|(n, label)| format!("{n} ({label})")).collect::<Vec<_>>().join(", "),
    };
    match (wanted, segments.as_slice()) {
        (Some(n), _) if segments.iter().any(|(number, _)| *number == n) => Ok(n),
        (Some(n), _) => Err(which(format!("there is no segment {n}"))),
        (None, [(only, _)]) => Ok(*only),
        (None, _) => Err(which(format!("it has {} segments", segments.len()))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Binary,
    Fractional { from: u16 },
    LabelMap { number: u32 },
}

/// Sizes and bytes of the pixel data.
struct Frames<'a> {
    bytes: &'a [u8],
    rows: usize,
    columns: usize,
    bits: usize,
    kind: Kind,
}

impl Frames<'_> {
    /// Sets the marked pixels of one frame in a slice.
    fn mark(&self, frame: usize, mut slice: ArrayViewMut2<'_, f32>) -> Result<(), String> {
        let pixels = self.rows * self.columns;
        let first = frame * pixels;
        for (pixel, value) in slice.iter_mut().enumerate() {
            let at = first + pixel;
            let cell = |byte: usize| self.bytes.get(byte).copied().ok_or("the pixel data is cut short");
            let stored = match self.bits {
                1 => u32::from(cell(at / 8)? >> (at % 8) & 1),
                8 => u32::from(cell(at)?),
                _ => u32::from(u16::from_le_bytes([cell(2 * at)?, cell(2 * at + 1)?])),
            };
            let is_marked = match self.kind {
                Kind::Binary => stored == 1,
                Kind::Fractional { from } => stored >= u32::from(from),
                Kind::LabelMap { number } => stored == number,
            };
            if is_marked {
                *value = 1.0;
            }
        }
        Ok(())
    }
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    frame: usize,
    position_mm: [f64; 3],
}

fn volume_of(object: &Dataset, number: u32, syntax: &str, target: &Target<'_>) -> Result<Volume, String> {
    let integer = |tag| object.element(tag).ok().and_then(|e| e.to_int::<usize>().ok());
    let size = |tag, name: &str| integer(tag).filter(|n| (1..=65_535).contains(n)).ok_or(format!("{name} is missing"));
    let (rows, columns) = (size(tags::ROWS, "Rows")?, size(tags::COLUMNS, "Columns")?);
    let bits = size(tags::BITS_ALLOCATED, "Bits Allocated")?;
    let frame_count = integer(tags::NUMBER_OF_FRAMES).unwrap_or(1);
    let kind = match text(object, tags::SEGMENTATION_TYPE).as_str() {
        "BINARY" if matches!(bits, 1 | 8) => Kind::Binary,
        "FRACTIONAL" if bits == 8 => {
            let most = integer(tags::MAXIMUM_FRACTIONAL_VALUE).and_then(|n| u16::try_from(n).ok()).unwrap_or(255);
            Kind::Fractional { from: most.div_ceil(2).max(1) }
        }
        "LABELMAP" if matches!(bits, 8 | 16) => Kind::LabelMap { number },
        other => return Err(format!("Segmentation Type {other:?} with {bits} bits is not known")),
    };
    let plain =
        [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN];
    if !plain.contains(&syntax) {
        return Err(format!("its pixels are compressed (transfer syntax {syntax}); export it uncompressed"));
    }
    let bytes = object.element(tags::PIXEL_DATA).ok().and_then(|e| e.to_bytes().ok()).ok_or("it has no pixel data")?;
    let frames = Frames { bytes: &bytes, rows, columns, bits, kind };

    let of_segment: Vec<usize> = (0..frame_count)
        .filter(|frame| matches!(kind, Kind::LabelMap { .. }) || segment_of(object, *frame) == Some(number))
        .collect();
    let Some(&first) = of_segment.first() else { return Err(format!("segment {number} has no frame")) };
    let attributes = Attributes::of_frame(object, first);
    let orientation: [f64; 6] =
        attributes.array(tags::IMAGE_ORIENTATION_PATIENT).ok_or("Image Orientation (Patient) is missing")?;
    let [between_rows, between_columns] = attributes
        .array::<2>(tags::PIXEL_SPACING)
        .filter(|s| s.iter().all(|v| *v > 0.0))
        .ok_or("Pixel Spacing is missing")?;
    let mut places = Vec::with_capacity(of_segment.len());
    for frame in of_segment {
        let of_frame = Attributes::of_frame(object, frame);
        let turned: Option<[f64; 6]> = of_frame.array(tags::IMAGE_ORIENTATION_PATIENT);
        if turned.is_none_or(|o| o.iter().zip(orientation).any(|(a, b)| (a - b).abs() > SAME_DIRECTION)) {
            return Err("its frames have different orientations".to_owned());
        }
        let position_mm = of_frame
            .array(tags::IMAGE_POSITION_PATIENT)
            .ok_or_else(|| format!("frame {} has no Image Position (Patient)", frame + 1))?;
        places.push(Place { frame, position_mm });
    }
    let [x0, x1, x2, y0, y1, y2] = orientation;
    let (along_row, along_column) = ([x0, x1, x2], [y0, y1, y2]);
    let normal = [x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0];
    if (dot(normal, normal) - 1.0).abs() > 1e-2 {
        return Err("Image Orientation (Patient) is no pair of unit vectors at right angles".to_owned());
    }
    places.sort_by(|a, b| dot(a.position_mm, normal).total_cmp(&dot(b.position_mm, normal)));
    let stated = attributes.number(tags::SPACING_BETWEEN_SLICES).or_else(|| attributes.number(tags::SLICE_THICKNESS));
    let distance = slice_distance(&places, normal, stated, target);
    let start = places.first().map_or([0.0; 3], |p| p.position_mm);
    let slot = |place: &Place| -> Result<usize, String> {
        let along = dot(place.position_mm, normal) - dot(start, normal);
        let index = (along / distance).round();
        let due = [0, 1, 2].map(|c| start[c] + normal[c] * index * distance);
        let off = [0, 1, 2].map(|c| place.position_mm[c] - due[c]);
        if dot(off, off).sqrt() > OFF_GRID_MM.max(1e-3 * along.abs()) {
            return Err(format!(
                "frame {} lies {:.2} mm beside the grid of the others (slice distance {distance:.3} mm)",
                place.frame + 1,
                dot(off, off).sqrt()
            ));
        }
        Ok(index as usize)
    };
    let slices = places.last().map(slot).transpose()?.unwrap_or(0) + 1;
    if slices.saturating_mul(rows).saturating_mul(columns) > MAX_VOXELS {
        return Err(format!("{slices} x {rows} x {columns} voxels are too many"));
    }
    let mut data = Array3::zeros((slices, rows, columns));
    for place in &places {
        frames.mark(place.frame, data.index_axis_mut(Axis(0), slot(place)?))?;
    }
    let axes =
        [normal.map(|c| c * distance), along_column.map(|c| c * between_rows), along_row.map(|c| c * between_columns)];
    Ok(Volume { data, affine: Affine::from_axes(axes, start) })
}

/// The smallest distance between neighbouring frames; for a single frame what the header states, or the image's.
fn slice_distance(places: &[Place], normal: [f64; 3], stated: Option<f64>, target: &Target<'_>) -> f64 {
    let along: Vec<f64> = places.iter().map(|p| dot(p.position_mm, normal)).collect();
    let nearest = along.windows(2).map(|w| w[1] - w[0]).filter(|d| *d > OFF_GRID_MM).fold(f64::INFINITY, f64::min);
    let stated = stated.filter(|d| *d > OFF_GRID_MM);
    match stated {
        // With gaps everywhere the smallest distance is a multiple of the real one.
        Some(stated) if !nearest.is_finite() || is_multiple(nearest, stated) => {
            if nearest.is_finite() {
                nearest / (nearest / stated).round()
            } else {
                stated
            }
        }
        _ if nearest.is_finite() => nearest,
        _ => target.volume.affine.spacing_mm()[0],
    }
}

fn is_multiple(distance: f64, step: f64) -> bool {
    let times = (distance / step).round();
    times >= 1.0 && (distance - times * step).abs() < OFF_GRID_MM
}

fn segment_of(object: &Dataset, frame: usize) -> Option<u32> {
    Attributes::of_frame(object, frame).element(tags::REFERENCED_SEGMENT_NUMBER)?.to_int().ok()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_run_on_from_frame_to_frame_least_significant_first() {
        // Two frames of 3 x 3: nine bits each, the second begins in the middle of a byte.
        let bytes = [0b0000_0001, 0b0000_0110, 0b0000_0010];
        let frames = Frames { bytes: &bytes, rows: 3, columns: 3, bits: 1, kind: Kind::Binary };
        let marked = |frame| {
            let mut slice = ndarray::Array2::zeros((3, 3));
            frames.mark(frame, slice.view_mut()).unwrap();
            slice.indexed_iter().filter(|(_, v)| **v == 1.0).map(|(i, _)| i).collect::<Vec<_>>()
        };
        // Bits 0, 9, 10 and 17: pixel 0 of frame 0; pixels 0, 1 and 8 of frame 1.
        assert_eq!(marked(0), [(0, 0)]);
        assert_eq!(marked(1), [(0, 0), (0, 1), (2, 2)]);
        let mut third = ndarray::Array2::zeros((3, 3));
        assert!(frames.mark(2, third.view_mut()).is_err());
    }
}
