//! Reads every file once: identity, its frames, where the pixels are, the digest.
//!
//! Headers are reduced to what grouping, geometry and classification need; the pixel bytes stay in memory up
//! to a budget, beyond it they are read again from their place in the file when a volume needs them. A file
//! that cannot be read becomes a [`Leftover`] or an unreadable image of its series: never nothing.

use std::borrow::Cow;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::file_structure::{self, EXPLICIT_VR_BIG_ENDIAN, FileStructure, PixelElement};
use super::frames::{Image, MAX_FRAMES, images};
use super::pixels::PixelFormat;
use crate::dicom::attributes::{Attributes, items};
use crate::dicom::{Dataset, Uid, identity};

/// Pixel bytes that may stay in memory between scanning and assembling, for all files together: those of a T1 and a FLAIR
/// and what usually comes with them. Of a study of thousands of slices most are of no series that is analyzed, and what
/// is needed and lies beyond this is read once more.
const RETAINED_BYTES: u64 = 256 << 20;

/// A file that belongs to no series, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Leftover {
    /// The file.
    pub path: PathBuf,
    /// Why it was left out.
    pub why: String,
}

/// A file that belongs to a series.
#[derive(Debug)]
pub struct ScannedFile {
    pub path: PathBuf,
    pub study_uid: Uid,
    pub series_uid: Uid,
    pub sop_class_uid: Uid,
    pub sop_instance_uid: Uid,
    pub patient_id: String,
    pub series_number: Option<i64>,
    pub description: String,
    pub is_own_result: bool,
    pub transfer_syntax: String,
    pub format: Option<PixelFormat>,
    pub pixels: Option<PixelElement>,
    pub content: Content,
    pub images: Vec<Image>,
    pub digest: Option<[u8; 32]>,
    pub modified: SystemTime,
    /// What is wrong with the file, if anything: its images cannot be used.
    pub damage: Option<String>,
    /// Slices tiled into one image; `Some(0)` when it is a mosaic of unknown count.
    pub mosaic_tiles: Option<usize>,
    /// Whether the pixels were compressed with loss, now or earlier.
    pub is_lossy: bool,
    header: Vec<Range<usize>>,
}

/// Where the file's bytes are now.
#[derive(Debug)]
pub enum Content {
    /// In memory (inflated where it was deflated).
    Retained(Vec<u8>),
    /// In the file, at the offsets of [`PixelElement`]; those of a deflated file count its inflated bytes.
    OnDisk,
}

/// What scanning a list of files gave.
#[derive(Debug, Default)]
pub struct Scan {
    pub files: Vec<ScannedFile>,
    pub leftovers: Vec<Leftover>,
}

/// Reads all files, in parallel; the order of `paths` decides nothing.
pub fn scan(paths: &[PathBuf], with_digests: bool, on_file: Option<&(dyn Fn() + Sync)>) -> Scan {
    let budget = Budget { left: AtomicU64::new(RETAINED_BYTES) };
    let read: Vec<Result<ScannedFile, Leftover>> = paths
        .par_iter()
        .map(|path| {
            let scanned = scan_file(path, with_digests, &budget);
            if let Some(on_file) = on_file {
                on_file();
            }
            scanned
        })
        .collect();
    sorted(read)
}

/// Files whose bytes are at hand already; the paths only name them. All of them stay in memory.
pub fn scan_contents(contents: Vec<(PathBuf, Vec<u8>)>, with_digests: bool) -> Scan {
    let budget = Budget { left: AtomicU64::new(u64::MAX) };
    let scan_one =
        |(path, bytes): (PathBuf, Vec<u8>)| scan_bytes(&path, bytes, SystemTime::UNIX_EPOCH, with_digests, &budget);
    sorted(contents.into_iter().map(scan_one).collect())
}

fn sorted(read: Vec<Result<ScannedFile, Leftover>>) -> Scan {
    let mut scan = Scan::default();
    for result in read {
        match result {
            Ok(file) => scan.files.push(file),
            Err(leftover) => scan.leftovers.push(leftover),
        }
    }
    scan.files.sort_by(|a, b| (&a.sop_instance_uid, &a.path).cmp(&(&b.sop_instance_uid, &b.path)));
    scan
}

fn scan_file(path: &Path, with_digests: bool, budget: &Budget) -> Result<ScannedFile, Leftover> {
    let bytes =
        std::fs::read(path).map_err(|e| Leftover { path: path.to_owned(), why: format!("cannot be read: {e}") })?;
    let modified = std::fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    scan_bytes(path, bytes, modified, with_digests, budget)
}

fn scan_bytes(
    path: &Path,
    bytes: Vec<u8>,
    modified: SystemTime,
    with_digests: bool,
    budget: &Budget,
) -> Result<ScannedFile, Leftover> {
    let leftover = |why: String| Leftover { path: path.to_owned(), why };
    let digest = if with_digests {
        let start = file_structure::dataset_start(&bytes).map_err(|e| leftover(e.to_string()))?;
        Some(Sha256::digest(bytes.get(start..).unwrap_or_default()).into())
    } else {
        None
    };
    let structure = file_structure::take_apart(bytes).map_err(|e| leftover(e.to_string()))?;
    let mut damage = structure.damage.clone();
    let header = parse_header(&structure).unwrap_or_else(|why| {
        // The object still belongs to its series, which is incomplete without it.
        damage.get_or_insert(why);
        Dataset::from_element_iter(
            structure
                .identifiers
                .iter()
                .map(|(tag, uid)| DataElement::new(*tag, VR::UI, PrimitiveValue::from(uid.as_str()))),
        )
    });
    let attributes = Attributes::of(&header);
    let identity_of = Attributes::top_level(&header);
    let uid = |tag: Tag, name: &str| {
        Uid::parse(&identity_of.text(tag)).map_err(|e| leftover(format!("no usable {name} ({e})")))
    };
    let study_uid = uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")?;
    let series_uid = uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?;
    let sop_class_uid = uid(tags::SOP_CLASS_UID, "SOP Class UID")?;
    let sop_instance_uid = uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?;
    let format = structure.pixels.and_then(|_| pixel_format(&attributes, &structure.transfer_syntax));
    if structure.pixels.is_some() && damage.is_none() {
        damage = pixel_damage(&structure, format.as_ref()).or_else(|| frames_damage(&header, format.as_ref()));
    }
    let images = images(&header, &attributes, format.as_ref());
    let header_parts = structure.header.clone();
    let pixels = structure.pixels;
    let content = retain(structure, budget);
    Ok(ScannedFile {
        path: path.to_owned(),
        study_uid,
        series_uid,
        sop_class_uid,
        sop_instance_uid,
        patient_id: identity_of.text(tags::PATIENT_ID),
        series_number: identity_of.integer(tags::SERIES_NUMBER),
        description: identity_of.text(tags::SERIES_DESCRIPTION),
        is_own_result: identity::is_own_result(&header),
        is_lossy: is_lossy(&attributes, &content.1),
        transfer_syntax: content.1,
        mosaic_tiles: mosaic_tiles(&header, &attributes),
        format,
        pixels,
        content: content.0,
        images,
        digest,
        modified,
        damage,
        header: header_parts,
    })
}

/// Bytes that may still be kept in memory.
struct Budget {
    left: AtomicU64,
}

impl Budget {
    fn takes(&self, bytes: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// Keeps the bytes while the budget lasts.
fn retain(structure: FileStructure, budget: &Budget) -> (Content, String) {
    let is_kept = budget.takes(structure.bytes.len() as u64);
    let content = if is_kept { Content::Retained(structure.bytes) } else { Content::OnDisk };
    (content, structure.transfer_syntax)
}

impl ScannedFile {
    /// The bytes that [`PixelElement`] points into.
    pub fn bytes(&self) -> std::io::Result<Cow<'_, [u8]>> {
        match &self.content {
            Content::Retained(bytes) => Ok(bytes.into()),
            Content::OnDisk if self.is_deflated() => {
                let file = std::fs::read(&self.path)?;
                let start = file_structure::dataset_start(&file).map_err(std::io::Error::other)?;
                let deflated = file.get(start..).unwrap_or_default();
                let (inflated, _turn) = file_structure::inflate(deflated).map_err(std::io::Error::other)?;
                Ok(inflated.into())
            }
            Content::OnDisk => Ok(std::fs::read(&self.path)?.into()),
        }
    }

    fn is_deflated(&self) -> bool {
        self.transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    }

    /// The header without pixel data, as a dataset.
    pub fn header(&self) -> Result<Dataset, String> {
        let bytes = self.bytes().map_err(|e| e.to_string())?;
        parse_dataset(&bytes, &self.header, &self.transfer_syntax)
    }

    /// The value bytes of the pixel data from `offset`, `length` bytes, without reading the rest of the file.
    pub fn pixel_bytes(&self, offset: usize, length: usize) -> Result<Cow<'_, [u8]>, String> {
        let place = self.pixels.map(|p| p.offset + offset).ok_or("no pixel data")?;
        let part = |bytes: &[u8]| {
            let end = place.checked_add(length).filter(|e| *e <= bytes.len());
            end.map(|end| place..end).ok_or("the pixel data is cut short")
        };
        match &self.content {
            Content::Retained(bytes) => Ok(Cow::Borrowed(&bytes[part(bytes)?])),
            Content::OnDisk if self.is_deflated() => {
                let bytes = self.bytes().map_err(|e| format!("{} cannot be read: {e}", self.path.display()))?;
                Ok(Cow::Owned(bytes[part(&bytes)?].to_vec()))
            }
            Content::OnDisk => {
                let mut buffer = vec![0; length];
                std::fs::File::open(&self.path)
                    .and_then(|f| f.read_exact_at(&mut buffer, place as u64))
                    .map_err(|e| format!("{} cannot be read: {e}", self.path.display()))?;
                Ok(Cow::Owned(buffer))
            }
        }
    }

    /// True when the pixels are encapsulated, so that a decoder is needed.
    pub fn is_compressed(&self) -> bool {
        self.pixels.is_some_and(|p| p.length.is_none())
    }
}

fn parse_header(structure: &FileStructure) -> Result<Dataset, String> {
    parse_dataset(&structure.bytes, &structure.header, &structure.transfer_syntax)
}

fn parse_dataset(bytes: &[u8], parts: &[Range<usize>], transfer_syntax: &str) -> Result<Dataset, String> {
    // What is compressed or deflated is explicit VR little endian here.
    let encoding = match transfer_syntax {
        uids::IMPLICIT_VR_LITTLE_ENDIAN | EXPLICIT_VR_BIG_ENDIAN => transfer_syntax,
        _ => uids::EXPLICIT_VR_LITTLE_ENDIAN,
    };
    let syntax = TransferSyntaxRegistry.get(encoding).ok_or("the encoding is not known")?;
    let header: Cow<[u8]> = match parts {
        [whole] => Cow::Borrowed(bytes.get(whole.clone()).unwrap_or_default()),
        parts => parts.iter().flat_map(|p| bytes.get(p.clone()).unwrap_or_default()).copied().collect(),
    };
    // The parser is not ours: a panic in it is this file's problem alone.
    std::panic::catch_unwind(AssertUnwindSafe(|| Dataset::read_dataset_with_ts(header.as_ref(), syntax)))
        .map_err(|_| "the header cannot be parsed (the parser gave up)".to_owned())?
        .map_err(|e| {
            let cause = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
            format!("the header cannot be parsed: {e}{cause}")
        })
}

fn pixel_format(attributes: &Attributes, transfer_syntax: &str) -> Option<PixelFormat> {
    // More than there are integers of would only be multiplied below.
    let bits_allocated = attributes.size(tags::BITS_ALLOCATED).filter(|bits| *bits <= 64)?;
    let bits_stored = attributes.size(tags::BITS_STORED).unwrap_or(bits_allocated);
    Some(PixelFormat {
        rows: attributes.size(tags::ROWS).filter(|n| (1..=65_535).contains(n))?,
        columns: attributes.size(tags::COLUMNS).filter(|n| (1..=65_535).contains(n))?,
        frames: attributes.size(tags::NUMBER_OF_FRAMES).unwrap_or(1).max(1),
        bits_allocated: u32::try_from(bits_allocated).ok()?,
        bits_stored: u32::try_from(bits_stored).ok()?,
        high_bit: attributes.size(tags::HIGH_BIT).unwrap_or(bits_stored.saturating_sub(1)).try_into().ok()?,
        representation: attributes.integer(tags::PIXEL_REPRESENTATION),
        samples: attributes.size(tags::SAMPLES_PER_PIXEL).unwrap_or(1).try_into().ok()?,
        photometric: attributes.text(tags::PHOTOMETRIC_INTERPRETATION),
        big_endian: transfer_syntax == EXPLICIT_VR_BIG_ENDIAN,
    })
}

fn pixel_damage(structure: &FileStructure, format: Option<&PixelFormat>) -> Option<String> {
    let pixels = structure.pixels?;
    let Some(format) = format else {
        return Some("Rows, Columns or Bits Allocated are missing or no numbers".to_owned());
    };
    if pixels.floating {
        return Some("floating point pixel data".to_owned());
    }
    if format.frames > MAX_FRAMES {
        return Some(format!("Number of Frames is {}", format.frames));
    }
    let due = format.frame_bytes().checked_mul(format.frames)?;
    let length = pixels.length?;
    if length < due {
        return Some(format!("the pixel data is cut short: {length} of {due} bytes are there"));
    }
    // Some writers pad with zeros, a row at most. Anything else are pixels that Rows, Columns, Bits Allocated or Number
    // of Frames deny: then those that they name are the wrong ones too.
    let excess = structure.bytes.get(pixels.offset + due..pixels.offset + length).unwrap_or_default();
    let row = format.frame_bytes() / format.rows.max(1);
    let is_padding = excess.len() <= row.max(1) && excess.iter().all(|byte| *byte == 0);
    (!is_padding).then(|| {
        let PixelFormat { rows, columns, frames, bits_allocated, .. } = format;
        format!(
            "the pixel data has {length} bytes, {rows} x {columns} pixels of {bits_allocated} bits in {frames} frame(s) \
             have {due}"
        )
    })
}

/// A functional group that is missing shifts all that follow to the wrong frames.
fn frames_damage(header: &Dataset, format: Option<&PixelFormat>) -> Option<String> {
    let groups = items(header, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len();
    let frames = format?.frames;
    (groups > 0 && groups != frames)
        .then(|| format!("there are functional groups for {groups} frames, the object has {frames}"))
}

/// PS3.3 C.7.6.1.1.5, and syntaxes that can be nothing else.
fn is_lossy(attributes: &Attributes, transfer_syntax: &str) -> bool {
    let lossy_only = [uids::JPEG_BASELINE8_BIT, uids::JPEG_EXTENDED12_BIT, uids::JPEGLS_NEAR_LOSSLESS];
    attributes.text(tags::LOSSY_IMAGE_COMPRESSION) == "01" || lossy_only.contains(&transfer_syntax)
}

fn mosaic_tiles(header: &Dataset, attributes: &Attributes) -> Option<usize> {
    let image_type = attributes.texts(tags::IMAGE_TYPE);
    // The tile counts are private: Siemens (0019,100A), UIH (0065,1050).
    let private = |tag: Tag| {
        header.get(tag).and_then(|e| e.to_str().ok()).and_then(|t| t.trim().parse::<f64>().ok()).unwrap_or(0.0)
    };
    if image_type.iter().any(|v| v == "MOSAIC") {
        Some(private(Tag(0x0019, 0x100A)) as usize)
    } else if image_type.iter().any(|v| v == "VFRAME") {
        Some(private(Tag(0x0065, 0x1050)) as usize)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of explicit VR elements: identity and four 8-bit pixels.
    fn file(directory: &Path) -> PathBuf {
        let mut bytes = Vec::new();
        let mut element = |group: u16, number: u16, vr: &[u8; 2], value: &[u8]| {
            bytes.extend(group.to_le_bytes());
            bytes.extend(number.to_le_bytes());
            bytes.extend(vr);
            if vr == b"OB" {
                bytes.extend([0, 0]);
                bytes.extend((value.len() as u32).to_le_bytes());
            } else {
                bytes.extend((value.len() as u16).to_le_bytes());
            }
            bytes.extend(value);
        };
        element(0x08, 0x16, b"UI", b"1.2\0");
        element(0x08, 0x18, b"UI", b"1.2.3\0");
        element(0x20, 0x0D, b"UI", b"1.4\0");
        element(0x20, 0x0E, b"UI", b"1.5\0");
        element(0x28, 0x10, b"US", &[2, 0]);
        element(0x28, 0x11, b"US", &[2, 0]);
        element(0x28, 0x100, b"US", &[8, 0]);
        element(0x7FE0, 0x10, b"OB", &[1, 2, 3, 4]);
        let path = directory.join("bare");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn pixels_beyond_the_memory_budget_come_from_their_place_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path());
        for (left, is_kept) in [(1 << 20, true), (10, false)] {
            let scanned = scan_file(&path, true, &Budget { left: AtomicU64::new(left) }).unwrap();
            assert_eq!(matches!(scanned.content, Content::Retained(_)), is_kept);
            assert_eq!(scanned.pixel_bytes(1, 2).unwrap().as_ref(), [2, 3]);
            assert!(scanned.pixel_bytes(2, 3).is_err());
            assert_eq!(scanned.header().unwrap().element(tags::ROWS).unwrap().to_int::<u16>().unwrap(), 2);
            assert_eq!(scanned.digest.unwrap(), <[u8; 32]>::from(Sha256::digest(std::fs::read(&path).unwrap())));
        }
    }
}
