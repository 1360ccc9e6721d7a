//! Where things lie in the bytes of a DICOM file: file meta group, dataset, pixel data (PS3.10 section 7,
//! PS3.5 section 7).
//!
//! The walk checks every length of the dataset against the bytes that are there, before a parser allocates
//! or indexes by them; what comes after this module may trust the structure. A file without preamble or
//! file meta group is tried as a bare dataset, as other converters do.

use std::io::Read;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dicom_core::Tag;
use dicom_core::VR;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};

/// Retired, yet still met in archives.
pub const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// Sequences nested deeper than this are taken for an attack on the stack.
const MAX_DEPTH: usize = 64;
/// Private elements beyond this (bytes) are not parsed: vendors keep whole protocols in them.
const LARGE_PRIVATE: usize = 128;
/// A deflated dataset may not grow beyond this (bytes): twice a head of 512 slices with 512 x 512 pixels each. Deflate
/// makes a thousand bytes of one.
const MAX_INFLATED: u64 = 512 << 20;
/// Only one dataset at a time may grow beyond this (bytes), so that files that were made to grow cannot do it together.
const LARGE_INFLATED: u64 = 64 << 20;

/// What says where an object belongs.
const IDENTIFIERS: [Tag; 4] =
    [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID];

/// The file cannot be taken apart at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// Neither a DICOM file nor a bare dataset.
    #[error("not a DICOM file (no DICM prefix, and the first bytes are no dataset)")]
    NotDicom,
    /// The file meta group is damaged.
    #[error("the file meta group is damaged at byte {at}")]
    Meta {
        /// Offset in the file.
        at: usize,
    },
    /// Deflated data that does not inflate.
    #[error("the deflated dataset cannot be inflated: {why}")]
    Inflate {
        /// The decompressor's reason.
        why: String,
    },
}

/// A pixel data element's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelElement {
    /// Offset of the value in [`FileStructure::bytes`].
    pub offset: usize,
    /// Length in bytes; `None` when it is encapsulated (undefined length).
    pub length: Option<usize>,
    /// True for Float or Double Float Pixel Data.
    pub floating: bool,
}

/// A file taken apart.
#[derive(Debug)]
pub struct FileStructure {
    /// Transfer syntax from the file meta group, or the one that was guessed.
    pub transfer_syntax: String,
    /// The file's bytes, or the inflated dataset of a deflated file.
    pub bytes: Vec<u8>,
    /// The parts of the header that the parser gets: without large private elements, which nothing here needs, and
    /// without elements that it reads otherwise than PS3.5 says (it would take values for lengths): implicit items or
    /// fragments in unusual places, numbers whose length is no multiple of their size.
    pub header: Vec<Range<usize>>,
    /// The pixel data element, if there is one.
    pub pixels: Option<PixelElement>,
    /// The UIDs that say where the object belongs, as they stand: for headers that the parser refuses.
    pub identifiers: Vec<(Tag, String)>,
    /// What is wrong with the structure, if anything; `header` is sound all the same.
    pub damage: Option<String>,
    /// Held while `bytes` are large and inflated.
    _turn: Option<MutexGuard<'static, ()>>,
}

/// How elements are encoded.
#[derive(Debug, Clone, Copy)]
struct Encoding {
    explicit: bool,
    big_endian: bool,
}

struct Element {
    tag: Tag,
    vr: Option<VR>,
    length: Option<usize>,
    value: usize,
}

/// Where the dataset begins in the file's bytes, after the file meta group.
pub fn dataset_start(bytes: &[u8]) -> Result<usize, StructureError> {
    file_meta(bytes).map(|(_, start)| start)
}

/// Takes the bytes of a file apart.
pub fn take_apart(bytes: Vec<u8>) -> Result<FileStructure, StructureError> {
    let (transfer_syntax, dataset_start) = file_meta(&bytes)?;
    let mut bytes = bytes;
    let mut start = dataset_start;
    let mut turn = None;
    if transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        let (inflated, taken) = inflate(bytes.get(dataset_start..).unwrap_or_default())?;
        (bytes, start, turn) = (inflated, 0, taken);
    }
    let encoding = Encoding {
        explicit: transfer_syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN,
        big_endian: transfer_syntax == EXPLICIT_VR_BIG_ENDIAN,
    };
    let walk = walk_top_level(&bytes, start, encoding);
    Ok(FileStructure {
        transfer_syntax,
        bytes,
        header: walk.header,
        pixels: walk.pixels,
        identifiers: walk.identifiers,
        damage: walk.damage,
        _turn: turn,
    })
}

/// Inflates a dataset; with it, where it is large, the turn that large ones take: to be held as long as the bytes are
/// in nobody's budget.
pub fn inflate(deflated: &[u8]) -> Result<(Vec<u8>, Option<MutexGuard<'static, ()>>), StructureError> {
    inflate_within(deflated, LARGE_INFLATED, MAX_INFLATED)
}

fn inflate_within(
    deflated: &[u8],
    large: u64,
    longest: u64,
) -> Result<(Vec<u8>, Option<MutexGuard<'static, ()>>), StructureError> {
    static LARGE: Mutex<()> = Mutex::new(());
    let failed = |e: std::io::Error| StructureError::Inflate { why: e.to_string() };
    let mut decoder = flate2::read::DeflateDecoder::new(deflated);
    let mut inflated = Vec::new();
    decoder.by_ref().take(large).read_to_end(&mut inflated).map_err(failed)?;
    if (inflated.len() as u64) < large {
        return Ok((inflated, None));
    }
    let turn = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
    // One byte more than is allowed tells what is too long.
    decoder.take(longest.saturating_sub(large) + 1).read_to_end(&mut inflated).map_err(failed)?;
    if inflated.len() as u64 > longest {
        return Err(StructureError::Inflate { why: format!("it grows beyond {} MiB", longest >> 20) });
    }
    Ok((inflated, Some(turn)))
}

/// Transfer syntax and start of the dataset.
fn file_meta(bytes: &[u8]) -> Result<(String, usize), StructureError> {
    let mut at = if bytes.get(128..132) == Some(b"DICM") {
        132
    } else if bytes.starts_with(b"DICM") {
        4
    } else {
        0
    };
    let meta_encoding = Encoding { explicit: true, big_endian: false };
    let mut syntax = None;
    while bytes.get(at..at + 2) == Some(&[2, 0]) {
        let element = read_element(bytes, at, bytes.len(), meta_encoding).ok_or(StructureError::Meta { at })?;
        let length = element.length.ok_or(StructureError::Meta { at })?;
        let value = bytes.get(element.value..element.value + length).ok_or(StructureError::Meta { at })?;
        if element.tag == tags::TRANSFER_SYNTAX_UID {
            syntax = Some(String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned());
        }
        at = element.value + length;
    }
    match syntax {
        Some(syntax) if !syntax.is_empty() => Ok((syntax, at)),
        _ => Ok((guess_syntax(bytes.get(at..).unwrap_or_default()).ok_or(StructureError::NotDicom)?, at)),
    }
}

/// The encoding of a bare dataset: its first element must be of a group that datasets begin with.
fn guess_syntax(dataset: &[u8]) -> Option<String> {
    let head: [u8; 8] = dataset.get(..8)?.try_into().ok()?;
    let group = u16::from_le_bytes([head[0], head[1]]);
    if !(1..=0x20).contains(&group) {
        return None;
    }
    if VR::from_binary([head[4], head[5]]).is_some() {
        return Some(uids::EXPLICIT_VR_LITTLE_ENDIAN.to_owned());
    }
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    (length == u32::MAX || (length as usize) <= dataset.len() - 8).then(|| uids::IMPLICIT_VR_LITTLE_ENDIAN.to_owned())
}

#[derive(Default)]
struct Walk {
    /// How far it went.
    at: usize,
    header: Vec<Range<usize>>,
    identifiers: Vec<(Tag, String)>,
    pixels: Option<PixelElement>,
    damage: Option<String>,
}

fn walk_top_level(bytes: &[u8], start: usize, encoding: Encoding) -> Walk {
    let mut walk = Walk { at: start, ..Walk::default() };
    let mut last_tag = Tag(0, 0);
    while walk.at < bytes.len() {
        let at = walk.at;
        let Some(element) = read_element(bytes, at, bytes.len(), encoding) else {
            // Zeros after the last element are padding, not damage.
            if !bytes[at..].iter().all(|b| *b == 0) {
                walk.damage = Some(format!("the file ends within an element header, after {last_tag}"));
            }
            return walk;
        };
        let tag = element.tag;
        if matches!(tag, tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA) {
            let available = bytes.len().saturating_sub(element.value);
            walk.damage = element
                .length
                .filter(|l| *l > available)
                .map(|l| format!("the pixel data is cut short: {available} of {l} bytes are there"));
            let length = element.length.map(|l| l.min(available));
            walk.pixels = Some(PixelElement { offset: element.value, length, floating: tag != tags::PIXEL_DATA });
            return walk;
        }
        // A run of zeros reads as elements of group 0: padding again.
        if tag < last_tag && tag.group() == 0 {
            return walk;
        }
        let mut is_foreign = false;
        let Some(next) = skip_value(bytes, &element, bytes.len(), encoding, 0, &mut is_foreign) else {
            walk.damage = Some(format!("the file is cut short or damaged in element {tag}"));
            return walk;
        };
        if IDENTIFIERS.contains(&tag) {
            let value = String::from_utf8_lossy(&bytes[element.value..next]);
            walk.identifiers.push((tag, value.trim_end_matches(['\0', ' ']).to_owned()));
        }
        let is_large_private = tag.group() % 2 == 1 && next - at > LARGE_PRIVATE;
        if !is_foreign && !is_large_private {
            match walk.header.last_mut() {
                Some(part) if part.end == at => part.end = next,
                _ => walk.header.push(at..next),
            }
        }
        walk.at = next;
        last_tag = tag;
    }
    walk
}

/// The element header at `at`, without checking that its value is there.
fn read_element(bytes: &[u8], at: usize, end: usize, encoding: Encoding) -> Option<Element> {
    let head: [u8; 8] = bytes.get(at..at.checked_add(8)?.min(end))?.try_into().ok()?;
    let short = |a: usize| match encoding.big_endian {
        true => u16::from_be_bytes([head[a], head[a + 1]]),
        false => u16::from_le_bytes([head[a], head[a + 1]]),
    };
    let long = |b: [u8; 4]| match encoding.big_endian {
        true => u32::from_be_bytes(b),
        false => u32::from_le_bytes(b),
    };
    let defined = |l: u32| (l != u32::MAX).then_some(l as usize);
    let tag = Tag(short(0), short(2));
    if !encoding.explicit || tag.group() == 0xFFFE {
        let length = long([head[4], head[5], head[6], head[7]]);
        return Some(Element { tag, vr: None, length: defined(length), value: at + 8 });
    }
    let vr = VR::from_binary([head[4], head[5]]).unwrap_or(VR::UN);
    if has_short_length(vr) {
        return Some(Element { tag, vr: Some(vr), length: Some(short(6) as usize), value: at + 8 });
    }
    let length: [u8; 4] = bytes.get(at + 8..(at + 12).min(end))?.try_into().ok()?;
    Some(Element { tag, vr: Some(vr), length: defined(long(length)), value: at + 12 })
}

/// PS3.5 table 7.1-2.
fn has_short_length(vr: VR) -> bool {
    use VR::*;
    matches!(vr, AE | AS | AT | CS | DA | DS | DT | FL | FD | IS | LO | LT | PN | SH | SL | SS | ST | TM | UI | UL | US)
}

/// The offset after an element's value, or nothing when a length does not fit. `is_foreign` is set when the
/// value holds what dicom-object reads differently than PS3.5 says.
fn skip_value(
    bytes: &[u8],
    element: &Element,
    end: usize,
    encoding: Encoding,
    depth: usize,
    is_foreign: &mut bool,
) -> Option<usize> {
    // Items and delimiters belong to sequences, which take them before they come here.
    if depth > MAX_DEPTH || element.tag.group() == 0xFFFE {
        return None;
    }
    let implicit = Encoding { explicit: false, big_endian: false };
    let Some(length) = element.length else {
        let (inner, is_fragments) = match element.vr {
            None | Some(VR::SQ) => (encoding, false),
            // PS3.5 section 6.2.2 note 2: UN of undefined length holds items in implicit VR little endian.
            Some(VR::UN) => (implicit, false),
            Some(VR::OB | VR::OW) => (encoding, true),
            Some(_) => return None,
        };
        // The parser takes Pixel Data of undefined length for fragments, and nothing else.
        *is_foreign |= element.vr == Some(VR::UN) || is_fragments != (element.tag == tags::PIXEL_DATA);
        let items = Items { from: element.value, end, until: None, is_fragments };
        return skip_items(bytes, items, inner, depth, is_foreign);
    };
    let value_end = element.value.checked_add(length).filter(|e| *e <= end)?;
    let vr = element.vr.unwrap_or_else(|| dictionary_vr(element.tag));
    // The parser would leave the last bytes of such a value and go on in the middle of it.
    *is_foreign |= !length.is_multiple_of(value_bytes(vr));
    if vr == VR::SQ && length > 0 {
        let items = Items { from: element.value, end: value_end, until: Some(value_end), is_fragments: false };
        skip_items(bytes, items, encoding, depth, is_foreign)?;
    }
    Some(value_end)
}

/// What an implicit element is, as the parser sees it.
fn dictionary_vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// Size of one value, where values have one (PS3.5 table 6.2-1).
fn value_bytes(vr: VR) -> usize {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Where a sequence's items are.
struct Items {
    from: usize,
    end: usize,
    /// Where a sequence of defined length ends.
    until: Option<usize>,
    is_fragments: bool,
}

/// Items up to the sequence delimiter, or up to the end of a sequence of defined length.
fn skip_items(bytes: &[u8], items: Items, encoding: Encoding, depth: usize, is_foreign: &mut bool) -> Option<usize> {
    let Items { from: mut at, end, until, is_fragments } = items;
    loop {
        if Some(at) == until {
            return Some(at);
        }
        let item = read_element(bytes, at, end, encoding)?;
        match item.tag {
            Tag(0xFFFE, 0xE0DD) => return Some(item.value),
            Tag(0xFFFE, 0xE000) => {}
            _ => return None,
        }
        at = match item.length {
            Some(length) => {
                let item_end = item.value.checked_add(length).filter(|e| *e <= end)?;
                if !is_fragments {
                    let mut inside = item.value;
                    while inside < item_end {
                        let element = read_element(bytes, inside, item_end, encoding)?;
                        inside = skip_value(bytes, &element, item_end, encoding, depth + 1, is_foreign)?;
                    }
                }
                item_end
            }
            None => {
                let mut inside = item.value;
                loop {
                    let element = read_element(bytes, inside, end, encoding)?;
                    if element.tag == Tag(0xFFFE, 0xE00D) {
                        break element.value;
                    }
                    inside = skip_value(bytes, &element, end, encoding, depth + 1, is_foreign)?;
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(tag.0.to_le_bytes());
        out.extend(tag.1.to_le_bytes());
        out.extend(vr);
        if has_short_length(VR::from_binary(*vr).unwrap()) {
            out.extend((value.len() as u16).to_le_bytes());
        } else {
            out.extend([0, 0]);
            out.extend((value.len() as u32).to_le_bytes());
        }
        out.extend(value);
        out
    }

    #[test]
    fn a_bare_dataset_is_taken_for_what_it_is() {
        let mut bytes = explicit((8, 0x60), b"CS", b"MR");
        bytes.extend(explicit((0x7FE0, 0x10), b"OW", &[1, 2, 3, 4]));
        let file = take_apart(bytes).unwrap();
        assert_eq!(file.transfer_syntax, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!(file.header, vec![0..10]);
        assert_eq!(file.pixels.unwrap().length, Some(4));
        assert_eq!(file.damage, None);
    }

    #[test]
    fn a_length_beyond_the_file_is_damage_not_an_allocation() {
        let mut bytes = explicit((8, 0x60), b"CS", b"MR");
        bytes.extend([8, 0, 0x70, 0, b'O', b'B', 0, 0, 0xF0, 0xFF, 0xFF, 0xFF, 1, 2]);
        let file = take_apart(bytes).unwrap();
        assert_eq!(file.header, vec![0..10]);
        assert!(file.damage.unwrap().contains("(0008,0070)"));
    }

    #[test]
    fn nesting_without_end_does_not_overflow_the_stack() {
        let mut bytes = Vec::new();
        for _ in 0..200_000 {
            bytes.extend([8, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
            bytes.extend([0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        assert!(take_apart(bytes).unwrap().damage.is_some());
    }

    #[test]
    fn what_the_parser_would_misread_is_kept_from_it() {
        let mut bytes = explicit((8, 0x60), b"CS", b"MR");
        // Fragments under a tag that is not Pixel Data, with a length's look-alike inside.
        bytes.extend([0x11, 0, 0x10, 0, b'O', b'W', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        bytes.extend([0xFE, 0xFF, 0, 0xE0, 4, 0, 0, 0, 0x45, 0xD4, 0x78, 0x48]);
        bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        let foreign_end = bytes.len();
        bytes.extend(explicit((0x20, 0x10), b"SH", b"1 "));
        let file = take_apart(bytes).unwrap();
        assert_eq!((file.damage, file.header), (None, vec![0..10, foreign_end..foreign_end + 10]));
    }

    #[test]
    fn numbers_of_a_broken_length_are_kept_from_the_parser_too() {
        let mut bytes = explicit((8, 0x60), b"CS", b"MR");
        bytes.extend(explicit((8, 0x9999), b"UL", &[1, 0, 0, 0, 8, 0]));
        let after = bytes.len();
        bytes.extend(explicit((0x20, 0x10), b"SH", b"1 "));
        let file = take_apart(bytes).unwrap();
        assert_eq!((file.damage, file.header), (None, vec![0..10, after..after + 10]));

        // Implicit: the dictionary says that Rows is a number.
        let mut bytes = vec![8, 0, 0x60, 0, 2, 0, 0, 0, b'M', b'R'];
        bytes.extend([0x28, 0, 0x10, 0, 3, 0, 0, 0, 1, 2, 3]);
        let file = take_apart(bytes).unwrap();
        assert_eq!(file.damage, None);
        assert_eq!(file.header.as_slice(), std::slice::from_ref(&(0..10)));
    }

    #[test]
    fn an_item_without_a_sequence_is_damage() {
        let mut bytes = explicit((8, 0x60), b"CS", b"MR");
        bytes.extend([0xFE, 0xFF, 0, 0xE0, 4, 0, 0, 0, 1, 2, 3, 4]);
        let file = take_apart(bytes).unwrap();
        assert_eq!(file.header, vec![0..10]);
        assert!(file.damage.unwrap().contains("FFFE"));
    }

    #[test]
    fn what_inflates_too_far_is_refused_and_large_ones_take_turns() {
        use std::io::Write;
        use std::time::Duration;
        let deflated = |bytes: usize| {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&vec![0; bytes]).unwrap();
            encoder.finish().unwrap()
        };
        let (small, turn) = inflate_within(&deflated(9_999), 10_000, 20_000).unwrap();
        assert_eq!((small.len(), turn.is_none()), (9_999, true));
        let (large, turn) = inflate_within(&deflated(20_000), 10_000, 20_000).unwrap();
        assert_eq!((large.len(), turn.is_some()), (20_000, true));
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let length = inflate_within(&deflated(15_000), 10_000, 20_000).map(|(bytes, _)| bytes.len());
            done.send(length).unwrap();
        });
        assert!(is_done.recv_timeout(Duration::from_millis(20)).is_err(), "it did not wait for its turn");
        drop(turn);
        assert_eq!(is_done.recv_timeout(Duration::from_secs(20)).unwrap(), Ok(15_000));
        let refused = inflate_within(&deflated(20_001), 10_000, 20_000).unwrap_err();
        assert!(refused.to_string().contains("grows beyond"), "{refused}");
    }

    #[test]
    fn text_is_not_dicom() {
        assert_eq!(take_apart(b"patient_id,age\n1,2\n".to_vec()).unwrap_err(), StructureError::NotDicom);
        assert_eq!(take_apart(Vec::new()).unwrap_err(), StructureError::NotDicom);
    }
}
