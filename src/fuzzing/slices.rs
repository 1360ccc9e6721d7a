//! Small MR slices that a fuzzer can take to pieces: elements with their bytes, and files made of them.
//!
//! The elements are written by hand rather than through an object model, so that a length may lie, a VR may be
//! nonsense and an element may come twice.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::dicom::Uid;
use crate::dicom::identifying::{
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN,
};
use crate::spool::received_file::ReceivedHeader;

pub(super) const MR_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
pub(super) const STUDY_UID: &str = "1.2.826.0.1.3680043.8.498.77";
/// Rows and columns of every slice.
pub(super) const EDGE: u16 = 6;
/// Group of the pixels.
const PIXELS: (u16, u16) = (0x7FE0, 0x0010);
const UNDEFINED: u32 = u32::MAX;

/// An element as it will stand in the file.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) tag: (u16, u16),
    pub(super) vr: [u8; 2],
    pub(super) value: Vec<u8>,
    /// The length that is written, where it is not the value's.
    pub(super) claimed: Option<u32>,
}

/// A slice's elements, in order.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) transfer_syntax: &'static str,
    pub(super) elements: Vec<Element>,
}

pub(super) fn text(tag: (u16, u16), vr: &[u8; 2], value: &str) -> Element {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == b"UI" { 0 } else { b' ' });
    }
    Element { tag, vr: *vr, value, claimed: None }
}

fn number(tag: (u16, u16), value: u16) -> Element {
    Element { tag, vr: *b"US", value: value.to_le_bytes().into(), claimed: None }
}

/// Slice `index` of a T1 (series 1) or FLAIR (series 2), axial, 1 mm apart.
pub(super) fn slice(series: u8, index: u8) -> Slice {
    let number_of_slice = u16::from(index) + 1;
    let sop_instance = format!("{STUDY_UID}.{series}.{number_of_slice}");
    let pixels: Vec<u8> =
        (0..EDGE * EDGE).flat_map(|pixel| (pixel * 3 + u16::from(index) * 100).to_le_bytes()).collect();
    let elements = vec![
        text((0x0008, 0x0008), b"CS", "ORIGINAL\\PRIMARY\\M"),
        text((0x0008, 0x0016), b"UI", MR_IMAGE_STORAGE),
        text((0x0008, 0x0018), b"UI", &sop_instance),
        text((0x0008, 0x0020), b"DA", "20260102"),
        text((0x0008, 0x0060), b"CS", "MR"),
        text((0x0008, 0x103E), b"LO", if series == 1 { "t1 3d" } else { "t2 flair" }),
        text((0x0010, 0x0010), b"PN", "FUZZ^NOBODY"),
        text((0x0010, 0x0020), b"LO", "F1"),
        text((0x0018, 0x0020), b"CS", "GR\\IR"),
        text((0x0018, 0x0023), b"CS", "3D"),
        text((0x0018, 0x0050), b"DS", "1"),
        text((0x0018, 0x0080), b"DS", "2000"),
        text((0x0018, 0x0081), b"DS", "2.5"),
        text((0x0018, 0x0082), b"DS", "900"),
        text((0x0018, 0x0086), b"IS", "1"),
        text((0x0020, 0x000D), b"UI", STUDY_UID),
        text((0x0020, 0x000E), b"UI", &format!("{STUDY_UID}.{series}")),
        text((0x0020, 0x0011), b"IS", &series.to_string()),
        text((0x0020, 0x0012), b"IS", "1"),
        text((0x0020, 0x0013), b"IS", &number_of_slice.to_string()),
        text((0x0020, 0x0032), b"DS", &format!("-3\\-2.5\\{index}")),
        text((0x0020, 0x0037), b"DS", "1\\0\\0\\0\\1\\0"),
        text((0x0020, 0x0052), b"UI", &format!("{STUDY_UID}.9")),
        number((0x0028, 0x0002), 1),
        text((0x0028, 0x0004), b"CS", "MONOCHROME2"),
        number((0x0028, 0x0010), EDGE),
        number((0x0028, 0x0011), EDGE),
        text((0x0028, 0x0030), b"DS", "1.5\\0.75"),
        number((0x0028, 0x0100), 16),
        number((0x0028, 0x0101), 12),
        number((0x0028, 0x0102), 11),
        number((0x0028, 0x0103), 0),
        text((0x0028, 0x1052), b"DS", "-5"),
        text((0x0028, 0x1053), b"DS", "0.5"),
        Element { tag: PIXELS, vr: *b"OW", value: pixels, claimed: None },
    ];
    Slice { transfer_syntax: EXPLICIT_VR_LITTLE_ENDIAN, elements }
}

/// The same slices as frames of one object, with functional groups per frame.
pub(super) fn multi_frame(frames: u8) -> Slice {
    let mut object = slice(1, 0);
    let mut groups = Vec::new();
    let mut pixels = Vec::new();
    for frame in 0..frames {
        let position = text((0x0020, 0x0032), b"DS", &format!("-3\\-2.5\\{frame}"));
        let scale = [text((0x0028, 0x1052), b"DS", "0"), text((0x0028, 0x1053), b"DS", &(frame + 1).to_string())];
        let group = [sequence((0x0020, 0x9113), &[&[position]]), sequence((0x0028, 0x9145), &[&scale])];
        groups.push(group);
        pixels.extend((0..EDGE * EDGE).flat_map(|pixel| (pixel + u16::from(frame)).to_le_bytes()));
    }
    let groups: Vec<&[Element]> = groups.iter().map(|group| group.as_slice()).collect();
    object.elements.retain(|e| !matches!(e.tag, (0x0020, 0x0032) | (0x0028, 0x1052 | 0x1053) | PIXELS));
    object.elements.extend([
        text((0x0028, 0x0008), b"IS", &frames.to_string()),
        sequence((0x5200, 0x9230), &groups),
        Element { tag: PIXELS, vr: *b"OW", value: pixels, claimed: None },
    ]);
    object.elements.sort_by_key(|element| element.tag);
    object
}

fn sequence(tag: (u16, u16), items: &[&[Element]]) -> Element {
    let mut value = Vec::new();
    for item in items {
        let mut content = Vec::new();
        item.iter().for_each(|element| element.write(true, &mut content));
        write_item_header(&mut value, 0xE000, content.len() as u32);
        value.extend(content);
    }
    Element { tag, vr: *b"SQ", value, claimed: None }
}

fn write_item_header(out: &mut Vec<u8>, element: u16, length: u32) {
    out.extend(0xFFFE_u16.to_le_bytes());
    out.extend(element.to_le_bytes());
    out.extend(length.to_le_bytes());
}

impl Slice {
    /// The same slice with its pixels RLE compressed (PS3.5 annex G): two segments of literal bytes.
    pub(super) fn into_rle(mut self) -> Slice {
        for element in self.elements.iter_mut().filter(|element| element.tag == PIXELS) {
            let plane = |at: usize| -> Vec<u8> {
                let bytes: Vec<u8> = element.value.iter().skip(at).step_by(2).copied().collect();
                [&[bytes.len() as u8 - 1], bytes.as_slice()].concat()
            };
            let (high, low) = (plane(1), plane(0));
            let mut frame: Vec<u8> = [2, 64, 64 + high.len() as u32].map(u32::to_le_bytes).concat();
            frame.resize(64, 0);
            frame.extend([high, low].concat());
            frame.resize(frame.len().next_multiple_of(2), 0);
            element.value = encapsulated(&frame);
            (element.vr, element.claimed) = (*b"OB", Some(UNDEFINED));
        }
        Slice { transfer_syntax: "1.2.840.10008.1.2.5", ..self }
    }

    /// The same slice with the beginning and the end of a JPEG Lossless stream of its size for pixels.
    pub(super) fn into_jpeg(mut self) -> Slice {
        for element in self.elements.iter_mut().filter(|element| element.tag == PIXELS) {
            let edge = EDGE.to_be_bytes();
            let stream = [
                &[0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 12][..], // start of image, lossless frame, 12 bits
                &edge,
                &edge,
                &[1, 1, 0x11, 0, 0, 0, 0xFF, 0xD9],
            ];
            element.value = encapsulated(&stream.concat());
            (element.vr, element.claimed) = (*b"OB", Some(UNDEFINED));
        }
        Slice { transfer_syntax: "1.2.840.10008.1.2.4.70", ..self }
    }

    /// The dataset's bytes, in its transfer syntax.
    pub(super) fn dataset(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let is_explicit = self.transfer_syntax != IMPLICIT_VR_LITTLE_ENDIAN;
        self.elements.iter().for_each(|element| element.write(is_explicit, &mut out));
        if self.transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
            return deflated.write_all(&out).and_then(|()| deflated.finish()).unwrap_or_default();
        }
        out
    }

    /// A file of it, as the spool writes one.
    pub(super) fn file(&self) -> Vec<u8> {
        let uid = |text: &str| Uid::parse(text).unwrap_or_else(|e| panic!("{e}"));
        let header = ReceivedHeader {
            sop_class_uid: uid(MR_IMAGE_STORAGE),
            sop_instance_uid: uid(STUDY_UID),
            transfer_syntax: self.transfer_syntax.to_owned(),
            source_ae: "FUZZ".to_owned(),
        };
        [header.encode(), self.dataset()].concat()
    }
}

fn encapsulated(stream: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    write_item_header(&mut value, 0xE000, 0);
    write_item_header(&mut value, 0xE000, stream.len() as u32);
    value.extend(stream);
    value.resize(value.len().next_multiple_of(2), 0);
    write_item_header(&mut value, 0xE0DD, 0);
    value
}

impl Element {
    fn write(&self, is_explicit: bool, out: &mut Vec<u8>) {
        let length = self.claimed.unwrap_or(self.value.len() as u32);
        out.extend(self.tag.0.to_le_bytes());
        out.extend(self.tag.1.to_le_bytes());
        if !is_explicit {
            out.extend(length.to_le_bytes());
        } else if matches!(&self.vr, b"OB" | b"OW" | b"SQ" | b"UN" | b"UT" | b"UC" | b"OF" | b"OD") {
            out.extend(self.vr);
            out.extend([0, 0]);
            out.extend(length.to_le_bytes());
        } else {
            out.extend(self.vr);
            out.extend((length as u16).to_le_bytes());
        }
        out.extend(&self.value);
    }
}
