//! The four UIDs that say where an object belongs, read from the first bytes of a dataset.
//!
//! This is the only parsing on the way from the network to the disk, so it is small, bounded and cannot
//! panic: elements are walked one by one without being kept, sequences are skipped to a fixed depth, and
//! nothing after Series Instance UID (0020,000E) is looked at.

use std::io::Read;

use super::uid::{InvalidUid, Uid};

/// Implicit VR Little Endian.
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// Deflated Explicit VR Little Endian.
pub const DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1.99";
/// Explicit VR Big Endian (retired, still sent).
pub const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// How much of a dataset is looked at. Only referenced-image lists of huge multi-frame objects come before
/// group 0020, and those stay well below this.
pub const MAX_PREFIX_BYTES: usize = 4 << 20;

/// Deepest nesting of sequences that is followed.
const MAX_DEPTH: usize = 32;

const SOP_CLASS_UID: Tag = Tag(0x0008, 0x0016);
const SOP_INSTANCE_UID: Tag = Tag(0x0008, 0x0018);
const STUDY_INSTANCE_UID: Tag = Tag(0x0020, 0x000D);
const SERIES_INSTANCE_UID: Tag = Tag(0x0020, 0x000E);
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = Tag(0xFFFE, 0xE0DD);
const UNDEFINED_LENGTH: u32 = 0xFFFF_FFFF;

/// Where an object belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifiers {
    /// SOP Class UID (0008,0016).
    pub sop_class_uid: Uid,
    /// SOP Instance UID (0008,0018).
    pub sop_instance_uid: Uid,
    /// Study Instance UID (0020,000D).
    pub study_uid: Uid,
    /// Series Instance UID (0020,000E).
    pub series_uid: Uid,
}

/// Why the identifiers could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyingError {
    /// The bytes end before the identifiers were seen; with more of the dataset it may work.
    #[error("the data set ends before {missing}")]
    EndsTooEarly {
        /// The first element that was not seen.
        missing: &'static str,
    },
    /// An element is not there, or empty.
    #[error("the data set has no {missing}")]
    Missing {
        /// The element.
        missing: &'static str,
    },
    /// The bytes are not encoded as the transfer syntax says.
    #[error("the data set is not encoded as transfer syntax {transfer_syntax} says (at byte {position})")]
    NotEncodedSo {
        /// The negotiated transfer syntax.
        transfer_syntax: String,
        /// Where reading failed, counted in inflated bytes.
        position: usize,
    },
    /// Sequences within sequences, too deep.
    #[error("the data set nests sequences deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A value that is no UID.
    #[error("{element} is wrong: {source}")]
    NotAUid {
        /// The element.
        element: &'static str,
        /// Why.
        source: InvalidUid,
    },
}

/// Reads the identifiers from the beginning of a dataset (without file meta) in the given transfer syntax.
/// All of `prefix` is considered; give at most [`MAX_PREFIX_BYTES`].
pub fn read_identifiers(prefix: &[u8], transfer_syntax: &str) -> Result<Identifiers, IdentifyingError> {
    let (explicit, big_endian) = match transfer_syntax {
        IMPLICIT_VR_LITTLE_ENDIAN => (false, false),
        EXPLICIT_VR_BIG_ENDIAN => (true, true),
        DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
            let inflated = inflate_prefix(prefix);
            return Walk { rest: &inflated, total: inflated.len(), explicit: true, big_endian: false }
                .identifiers(transfer_syntax);
        }
        // Every encapsulated transfer syntax is Explicit VR Little Endian outside the pixel data (PS3.5 annex A.4).
        _ => (true, false),
    };
    Walk { rest: prefix, total: prefix.len(), explicit, big_endian }.identifiers(transfer_syntax)
}

/// What can be inflated of a dataset that may be cut off, at most [`MAX_PREFIX_BYTES`].
fn inflate_prefix(deflated: &[u8]) -> Vec<u8> {
    let mut inflated = Vec::new();
    // A cut or broken stream ends in an error; what came out before it is kept and judged by the walk.
    let _ = flate2::read::DeflateDecoder::new(deflated).take(MAX_PREFIX_BYTES as u64).read_to_end(&mut inflated);
    inflated
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tag(u16, u16);

/// Why a step could not be made; turned into an [`IdentifyingError`] where the context is known.
enum Stop {
    OutOfBytes,
    NotEncodedSo,
    TooDeep,
}

/// The bytes that are still ahead.
struct Walk<'a> {
    rest: &'a [u8],
    total: usize,
    explicit: bool,
    big_endian: bool,
}

struct Header {
    tag: Tag,
    length: u32,
    /// UN with undefined length holds Implicit VR Little Endian, whatever surrounds it (PS3.5 section 6.2.2).
    is_un: bool,
}

impl<'a> Walk<'a> {
    fn identifiers(mut self, transfer_syntax: &str) -> Result<Identifiers, IdentifyingError> {
        let mut found = Found::default();
        match self.collect(&mut found) {
            Ok(()) => found.complete(),
            Err(Stop::OutOfBytes) => Err(IdentifyingError::EndsTooEarly { missing: found.first_missing() }),
            Err(Stop::TooDeep) => Err(IdentifyingError::TooDeep),
            Err(Stop::NotEncodedSo) => Err(IdentifyingError::NotEncodedSo {
                transfer_syntax: transfer_syntax.to_owned(),
                position: self.total - self.rest.len(),
            }),
        }
    }

    fn collect(&mut self, found: &mut Found<'a>) -> Result<(), Stop> {
        loop {
            let header = self.header()?;
            if header.tag > SERIES_INSTANCE_UID {
                return Ok(());
            }
            if header.length == UNDEFINED_LENGTH {
                self.skip_sequence(header.is_un, 0)?;
                continue;
            }
            let value = self.take(header.length)?;
            found.note(header.tag, value);
            if header.tag == SERIES_INSTANCE_UID {
                return Ok(());
            }
        }
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], Stop> {
        let (value, rest) = self.rest.split_at_checked(length as usize).ok_or(Stop::OutOfBytes)?;
        self.rest = rest;
        Ok(value)
    }

    fn u16(&mut self) -> Result<u16, Stop> {
        let (bytes, rest) = self.rest.split_first_chunk::<2>().ok_or(Stop::OutOfBytes)?;
        self.rest = rest;
        Ok(if self.big_endian { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) })
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>().ok_or(Stop::OutOfBytes)?;
        self.rest = rest;
        Ok(if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) })
    }

    fn header(&mut self) -> Result<Header, Stop> {
        let tag = Tag(self.u16()?, self.u16()?);
        // Item tags never have a VR (PS3.5 section 7.5).
        if !self.explicit || tag.0 == 0xFFFE {
            return Ok(Header { tag, length: self.u32()?, is_un: false });
        }
        let vr = self.take(2)?;
        match vr {
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FL" | b"FD" | b"IS" | b"LO" | b"LT" | b"PN"
            | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => {
                Ok(Header { tag, length: u32::from(self.u16()?), is_un: false })
            }
            // Every other VR, also one of the future, has two reserved bytes and a long length (PS3.5 section 7.1.2).
            _ if vr.iter().all(u8::is_ascii_uppercase) => {
                self.u16()?;
                Ok(Header { tag, length: self.u32()?, is_un: vr == b"UN" })
            }
            _ => Err(Stop::NotEncodedSo),
        }
    }

    /// Skips a sequence of undefined length, up to and including its delimiter.
    fn skip_sequence(&mut self, is_un: bool, depth: usize) -> Result<(), Stop> {
        if depth >= MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        let outside = (self.explicit, self.big_endian);
        if is_un {
            (self.explicit, self.big_endian) = (false, false);
        }
        loop {
            let header = self.header()?;
            match header.tag {
                SEQUENCE_DELIMITATION => break,
                ITEM if header.length == UNDEFINED_LENGTH => self.skip_item(depth)?,
                ITEM => {
                    self.take(header.length)?;
                }
                _ => return Err(Stop::NotEncodedSo),
            }
        }
        (self.explicit, self.big_endian) = outside;
        Ok(())
    }

    /// Skips the elements of an item of undefined length, up to and including its delimiter.
    fn skip_item(&mut self, depth: usize) -> Result<(), Stop> {
        loop {
            let header = self.header()?;
            if header.tag == ITEM_DELIMITATION {
                return Ok(());
            }
            if header.length == UNDEFINED_LENGTH {
                self.skip_sequence(header.is_un, depth + 1)?;
            } else {
                self.take(header.length)?;
            }
        }
    }
}

/// Values as they came.
#[derive(Default)]
struct Found<'a> {
    sop_class: Option<&'a [u8]>,
    sop_instance: Option<&'a [u8]>,
    study: Option<&'a [u8]>,
    series: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn note(&mut self, tag: Tag, value: &'a [u8]) {
        match tag {
            SOP_CLASS_UID => self.sop_class = Some(value),
            SOP_INSTANCE_UID => self.sop_instance = Some(value),
            STUDY_INSTANCE_UID => self.study = Some(value),
            SERIES_INSTANCE_UID => self.series = Some(value),
            _ => {}
        }
    }

    fn named(&self) -> [(&'static str, Option<&'a [u8]>); 4] {
        [
            ("SOP Class UID (0008,0016)", self.sop_class),
            ("SOP Instance UID (0008,0018)", self.sop_instance),
            ("Study Instance UID (0020,000D)", self.study),
            ("Series Instance UID (0020,000E)", self.series),
        ]
    }

    fn first_missing(&self) -> &'static str {
        self.named().iter().find(|(_, value)| value.is_none()).map_or("its end", |(name, _)| *name)
    }

    fn complete(&self) -> Result<Identifiers, IdentifyingError> {
        let [sop_class_uid, sop_instance_uid, study_uid, series_uid] = self.named().map(|(element, value)| {
            let text = String::from_utf8_lossy(value.unwrap_or_default());
            if text.trim_matches(['\0', ' ']).is_empty() {
                return Err(IdentifyingError::Missing { missing: element });
            }
            Uid::parse(&text).map_err(|source| IdentifyingError::NotAUid { element, source })
        });
        Ok(Identifiers {
            sop_class_uid: sop_class_uid?,
            sop_instance_uid: sop_instance_uid?,
            study_uid: study_uid?,
            series_uid: series_uid?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The beginning of a dataset: SOP class, instance, a sequence of undefined length with nested items, study, series.
    fn dataset(explicit: bool, big_endian: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let n16 = |v: u16| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        let n32 = |v: u32| if big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut element = |group: u16, number: u16, vr: &[u8; 2], length: u32, value: &[u8]| {
            bytes.extend(n16(group));
            bytes.extend(n16(number));
            if group == 0xFFFE || !explicit {
                bytes.extend(n32(length));
            } else if vr == b"SQ" {
                bytes.extend(vr);
                bytes.extend([0, 0]);
                bytes.extend(n32(length));
            } else {
                bytes.extend(vr);
                bytes.extend(n16(length as u16));
            }
            bytes.extend(value);
        };
        let undefined = UNDEFINED_LENGTH;
        element(0x0008, 0x0016, b"UI", 6, b"1.2.3\0");
        element(0x0008, 0x0018, b"UI", 8, b"1.2.3.4\0");
        element(0x0008, 0x1140, b"SQ", undefined, b"");
        element(0xFFFE, 0xE000, b"  ", undefined, b"");
        element(0x0008, 0x1150, b"UI", 4, b"9.9\0"); // must not be taken for ours
        element(0x0008, 0x0018, b"UI", 4, b"8.8\0");
        element(0x0040, 0xA170, b"SQ", undefined, b"");
        element(0xFFFE, 0xE0DD, b"  ", 0, b"");
        element(0xFFFE, 0xE00D, b"  ", 0, b"");
        element(0xFFFE, 0xE000, b"  ", 4, b"\xFF\xFF\xFF\xFF");
        element(0xFFFE, 0xE0DD, b"  ", 0, b"");
        element(0x0020, 0x000D, b"UI", 4, b"1.5\0");
        element(0x0020, 0x000E, b"UI", 4, b"1.6\0");
        element(0x0020, 0x0010, b"SH", 0, b"");
        bytes
    }

    fn expected() -> Identifiers {
        let uid = |text| Uid::parse(text).unwrap();
        Identifiers {
            sop_class_uid: uid("1.2.3"),
            sop_instance_uid: uid("1.2.3.4"),
            study_uid: uid("1.5"),
            series_uid: uid("1.6"),
        }
    }

    const ENCODINGS: [(&str, bool, bool); 3] = [
        (IMPLICIT_VR_LITTLE_ENDIAN, false, false),
        (EXPLICIT_VR_LITTLE_ENDIAN, true, false),
        (EXPLICIT_VR_BIG_ENDIAN, true, true),
    ];

    #[test]
    fn every_encoding_is_read() {
        for (syntax, explicit, big_endian) in ENCODINGS {
            assert_eq!(read_identifiers(&dataset(explicit, big_endian), syntax), Ok(expected()), "{syntax}");
        }
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&dataset(true, false)).unwrap();
        let deflated = encoder.finish().unwrap();
        assert_eq!(read_identifiers(&deflated, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), Ok(expected()));
    }

    #[test]
    fn a_cut_dataset_asks_for_more() {
        let whole = dataset(true, false);
        let end_of_series = whole.len() - 8;
        for length in 0..end_of_series {
            let read = read_identifiers(&whole[..length], EXPLICIT_VR_LITTLE_ENDIAN);
            assert!(matches!(read, Err(IdentifyingError::EndsTooEarly { .. })), "{length}: {read:?}");
        }
        assert_eq!(read_identifiers(&whole[..end_of_series], EXPLICIT_VR_LITTLE_ENDIAN), Ok(expected()));
    }

    #[test]
    fn changed_bytes_never_panic() {
        for (syntax, explicit, big_endian) in ENCODINGS {
            let whole = dataset(explicit, big_endian);
            for position in 0..whole.len() {
                for value in [0x00, 0x7F, 0xFE, 0xFF] {
                    let mut bytes = whole.clone();
                    bytes[position] = value;
                    let _ = read_identifiers(&bytes, syntax);
                }
            }
        }
    }

    #[test]
    fn endless_nesting_ends() {
        let mut bytes = Vec::new();
        for _ in 0..100_000 {
            bytes.extend([0x08, 0x00, 0x40, 0x11, 0xFF, 0xFF, 0xFF, 0xFF]);
            bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        assert_eq!(read_identifiers(&bytes, IMPLICIT_VR_LITTLE_ENDIAN), Err(IdentifyingError::TooDeep));
    }

    #[test]
    fn what_is_missing_or_no_uid_is_named() {
        let later = [0x28, 0x00, 0x10, 0x00, b'U', b'S', 0x02, 0x00, 0x01, 0x00];
        let error = read_identifiers(&later, EXPLICIT_VR_LITTLE_ENDIAN).unwrap_err();
        assert_eq!(error.to_string(), "the data set has no SOP Class UID (0008,0016)");
        let mut tricked = dataset(true, false);
        let position = tricked.windows(3).position(|w| w == b"1.5").unwrap();
        tricked[position..position + 3].copy_from_slice(b"../");
        let error = read_identifiers(&tricked, EXPLICIT_VR_LITTLE_ENDIAN).unwrap_err();
        assert!(error.to_string().contains("Study Instance UID"), "{error}");
    }

    #[test]
    fn implicit_bytes_are_not_taken_for_explicit_ones() {
        let read = read_identifiers(&dataset(false, false), EXPLICIT_VR_LITTLE_ENDIAN);
        assert!(matches!(read, Err(IdentifyingError::NotEncodedSo { .. })), "{read:?}");
    }
}
