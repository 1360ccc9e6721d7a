//! Compressed pixel data taken apart: fragments, the frames they belong to, and what a codestream says of
//! itself (PS3.5 annex A.4 and section 8.2).
//!
//! The decoders trust the header's Rows and Columns where they should not, and return whatever they have of
//! a stream that was cut short. So a codestream is read here first: its size must be the header's, and it
//! must have an end.

use std::ops::Range;

/// The byte ranges of one frame's fragments.
pub type Fragments = Vec<Range<usize>>;

/// What a codestream's own header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codestream {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Samples per pixel.
    pub components: usize,
    /// Bits per sample.
    pub precision: u32,
    /// Whether samples have a sign, where the codestream says.
    pub is_signed: Option<bool>,
}

/// The byte ranges of each frame's fragments.
///
/// `value` starts at the offset table's item. With as many fragments as frames each is a frame; otherwise
/// the basic offset table decides, then the codestreams' start markers.
pub fn frames(bytes: &[u8], value: usize, frames: usize) -> Result<Vec<Fragments>, String> {
    let (offsets, fragments) = fragments(bytes, value)?;
    if frames == 1 {
        return Ok(vec![fragments]);
    }
    if fragments.len() == frames {
        return Ok(fragments.into_iter().map(|f| vec![f]).collect());
    }
    let Some(first) = fragments.first().map(|f| f.start - 8) else {
        return Err("the compressed pixel data is empty".to_owned());
    };
    let has_table = offsets.len() == frames;
    let is_start = |f: &Range<usize>| match has_table {
        true => offsets.contains(&(f.start - 8 - first)),
        false => matches!(bytes.get(f.start..f.start + 2), Some([0xFF, 0xD8] | [0xFF, 0x4F])),
    };
    let mut grouped: Vec<Fragments> = Vec::with_capacity(frames);
    for fragment in fragments {
        match grouped.last_mut() {
            Some(frame) if !is_start(&fragment) => frame.push(fragment),
            _ => grouped.push(vec![fragment]),
        }
    }
    if grouped.len() == frames {
        Ok(grouped)
    } else {
        Err(format!("the compressed pixel data holds {} frames, the header says {frames}", grouped.len()))
    }
}

/// Basic offset table and fragments.
fn fragments(bytes: &[u8], value: usize) -> Result<(Vec<usize>, Vec<Range<usize>>), String> {
    let long = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let mut items = Vec::new();
    let mut at = value;
    loop {
        let (Some(tag), Some(length)) = (long(at), long(at + 4)) else {
            return Err(format!("the compressed pixel data is cut short after {} fragments", items.len()));
        };
        match tag {
            0xE000_FFFE => {}
            0xE0DD_FFFE => break,
            other => return Err(format!("the compressed pixel data has the bytes {other:08x} where an item begins")),
        }
        let start = at + 8;
        let end = start.checked_add(length as usize).filter(|e| *e <= bytes.len());
        let Some(end) = end else {
            return Err(format!("fragment {} of the compressed pixel data is cut short", items.len()));
        };
        items.push(start..end);
        at = end;
    }
    if items.is_empty() {
        return Err("the compressed pixel data is empty".to_owned());
    }
    let table = items.remove(0);
    let offsets = bytes[table].chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]) as usize).collect();
    Ok((offsets, items))
}

/// Whether this syntax' frames are JPEG or JPEG 2000 codestreams that carry their own size.
pub fn has_codestream(transfer_syntax: &str) -> bool {
    transfer_syntax.starts_with("1.2.840.10008.1.2.4.")
}

/// Reads a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream's size and checks that it has an end.
pub fn inspect(stream: &[u8]) -> Result<Codestream, String> {
    let body = match stream.iter().rposition(|b| !matches!(b, 0 | 0xFF)) {
        Some(last) => &stream[..=last],
        None => return Err("the codestream is empty".to_owned()),
    };
    if !body.ends_with(&[0xFF, 0xD9]) {
        return Err("the codestream is cut short (no end marker)".to_owned());
    }
    match stream {
        [0xFF, 0xD8, ..] => inspect_jpeg(stream),
        [0xFF, 0x4F, ..] => inspect_jpeg2000(stream),
        [0, 0, 0, 12, b'j', b'P', ..] => {
            let start = stream.windows(4).position(|w| w == [0xFF, 0x4F, 0xFF, 0x51]);
            inspect_jpeg2000(&stream[start.ok_or("a JP2 file without codestream")?..])
        }
        _ => Err("the codestream has no start marker".to_owned()),
    }
}

/// Checks an RLE frame (PS3.5 annex G): one segment per byte of a pixel, each of exactly `pixels` bytes but for
/// one byte of padding. The decoder itself drops what is too much and panics on what is too little.
pub fn check_rle(stream: &[u8], segments: usize, pixels: usize) -> Result<(), String> {
    let long = |at: usize| stream.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    if stream.len() < 64 || long(0) != Some(segments as u32) || segments > 15 {
        return Err(format!("the RLE header does not say {segments} segments"));
    }
    for segment in 0..segments {
        let start = long(4 + 4 * segment).unwrap_or(0) as usize;
        let next = if segment + 1 < segments { long(8 + 4 * segment).unwrap_or(0) as usize } else { stream.len() };
        let runs = stream.get(start..next).filter(|_| start >= 64).ok_or("the RLE segments are damaged")?;
        let length = rle_length(runs, pixels);
        if length != Some(pixels) {
            let found = length.map_or("other than".to_owned(), |n| format!("{n} instead of"));
            return Err(format!("RLE segment {segment} holds {found} {pixels} bytes"));
        }
    }
    Ok(())
}

/// Decoded length of PackBits runs; what follows `pixels` bytes may only be one byte of padding.
fn rle_length(runs: &[u8], pixels: usize) -> Option<usize> {
    let (mut at, mut length) = (0, 0);
    while at < runs.len() {
        if length == pixels && runs.len() - at == 1 {
            break;
        }
        let control = runs[at] as i8;
        let (taken, given) = match control {
            0.. => (2 + control as usize, 1 + control as usize),
            -127.. => (2, 1 + control.unsigned_abs() as usize),
            i8::MIN => (1, 0),
        };
        at += taken;
        length += given;
        if at > runs.len() {
            return None;
        }
    }
    Some(length)
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?) as usize)
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

/// ITU-T T.81 annex B and T.87 annex C: the frame header after the start of image.
fn inspect_jpeg(stream: &[u8]) -> Result<Codestream, String> {
    let broken = || "the JPEG header is damaged".to_owned();
    let mut at = 2;
    loop {
        let marker = match (stream.get(at), stream.get(at + 1)) {
            (Some(0xFF), Some(0xFF)) => {
                at += 1;
                continue;
            }
            (Some(0xFF), Some(marker)) => *marker,
            _ => return Err(broken()),
        };
        let length = be16(stream, at + 2).filter(|l| *l >= 2).ok_or_else(broken)?;
        let is_frame_header = matches!(marker, 0xC0..=0xCF | 0xF7) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if is_frame_header {
            let read = || {
                Some(Codestream {
                    precision: u32::from(*stream.get(at + 4)?),
                    rows: be16(stream, at + 5)?,
                    columns: be16(stream, at + 7)?,
                    components: usize::from(*stream.get(at + 9)?),
                    is_signed: None,
                })
            };
            return read().ok_or_else(broken);
        }
        at += 2 + length;
    }
}

/// ITU-T T.800 annex A.5.1: SIZ follows the start of codestream.
fn inspect_jpeg2000(stream: &[u8]) -> Result<Codestream, String> {
    let read = || {
        (stream.get(2..4)? == [0xFF, 0x51]).then_some(())?;
        // The decoder leaves the rest of the pixels at 0 where a component has fewer samples.
        (stream.get(43..45)? == [1, 1]).then_some(())?;
        Some(Codestream {
            columns: be32(stream, 8)?.checked_sub(be32(stream, 16)?)?,
            rows: be32(stream, 12)?.checked_sub(be32(stream, 20)?)?,
            components: be16(stream, 40)?,
            precision: u32::from(*stream.get(42)? & 0x7F) + 1,
            is_signed: Some(*stream.get(42)? & 0x80 != 0),
        })
    };
    read().ok_or_else(|| "the JPEG 2000 header is damaged".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(tag: u32, content: &[u8]) -> Vec<u8> {
        let mut out = tag.to_le_bytes().to_vec();
        out.extend((content.len() as u32).to_le_bytes());
        out.extend(content);
        out
    }

    fn encapsulate(table: &[u8], fragments: &[&[u8]]) -> Vec<u8> {
        let mut out = item(0xE000_FFFE, table);
        for f in fragments {
            out.extend(item(0xE000_FFFE, f));
        }
        out.extend(item(0xE0DD_FFFE, &[]));
        out
    }

    #[test]
    fn two_frames_in_three_fragments_are_told_apart_by_table_or_by_markers() {
        let parts: [&[u8]; 3] = [&[0xFF, 0xD8, 1, 1], &[2, 2], &[0xFF, 0xD8, 3, 3]];
        for table in [vec![], [0u32.to_le_bytes(), 22u32.to_le_bytes()].concat()] {
            let bytes = encapsulate(&table, &parts);
            let frames = frames(&bytes, 0, 2).unwrap();
            assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1], "table {table:?}");
        }
    }

    #[test]
    fn a_cut_fragment_is_said() {
        let mut bytes = encapsulate(&[], &[&[1, 2, 3, 4]]);
        bytes.truncate(18);
        assert!(frames(&bytes, 0, 1).unwrap_err().contains("cut short"));
    }

    #[test]
    fn an_rle_segment_has_exactly_its_pixels() {
        let frame = |runs: &[u8]| {
            let mut out = vec![0u8; 64];
            (out[0], out[4]) = (1, 64);
            out.extend(runs);
            out
        };
        // Three literal bytes and a run of two.
        let runs = [2, 1, 2, 3, 255, 9];
        assert_eq!(check_rle(&frame(&runs), 1, 5), Ok(()));
        assert_eq!(check_rle(&frame(&[&runs[..], &[0]].concat()), 1, 5), Ok(()), "padded");
        assert!(check_rle(&frame(&runs), 1, 4).is_err(), "more than the header's rows");
        assert!(check_rle(&frame(&runs[..5]), 1, 5).is_err(), "cut short");
        assert!(check_rle(&frame(&runs), 2, 5).is_err());
    }

    #[test]
    fn a_jpeg_says_its_size_and_whether_it_ends() {
        let mut stream = vec![0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 12, 1, 0, 0, 200, 1, 0, 0, 0];
        assert!(inspect(&stream).unwrap_err().contains("no end"));
        stream.extend([0xFF, 0xD9, 0]);
        assert_eq!(
            inspect(&stream).unwrap(),
            Codestream { rows: 256, columns: 200, components: 1, precision: 12, is_signed: None }
        );
    }

    #[test]
    fn a_jpeg_2000_says_its_sign_and_has_a_sample_for_each_pixel() {
        // SIZ: 200 x 256, one component of 12 signed bits.
        let mut stream = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0, 0, 0, 0, 200, 0, 0, 1, 0];
        stream.resize(40, 0);
        stream.extend([0, 1, 0x8B, 1, 1, 0xFF, 0xD9]);
        let due = Codestream { rows: 256, columns: 200, components: 1, precision: 12, is_signed: Some(true) };
        assert_eq!(inspect(&stream).unwrap(), due);
        stream[43] = 2;
        assert!(inspect(&stream).unwrap_err().contains("damaged"));
    }
}
