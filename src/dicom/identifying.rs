//! The four UIDs that say where an object belongs, read from the first bytes of a dataset as they come in.
//!
//! This is the only parsing on the way from the network to the disk, so it is small, bounded and cannot
//! panic: elements are walked over without being kept (`element_walk`), of the values only the four UIDs are, and
//! nothing after Series Instance UID (0020,000E) is looked at. A reader needs under 1 KiB, whatever is sent to it
//! (with a deflated dataset 45 KiB: the inflater's window).

use flate2::{Decompress, FlushDecompress, Status};

use super::element_walk::{ElementWalk, Encoding, Fault, MAX_DEPTH, Sight, Tag};
use super::uid::{InvalidUid, Uid};

/// Implicit VR Little Endian.
pub const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
/// Explicit VR Little Endian.
pub const EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
/// Deflated Explicit VR Little Endian.
pub const DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1.99";
/// Explicit VR Big Endian (retired, still sent).
pub const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// How much of a dataset is looked at, inflated. Only referenced-image lists of huge multi-frame objects come before
/// group 0020, and those stay well below this.
pub const MAX_PREFIX_BYTES: usize = 4 << 20;

/// Longest value that is read as a UID: 64 characters, and some padding.
const MAX_UID_VALUE_BYTES: u32 = 128;

const SERIES_INSTANCE_UID: Tag = Tag(0x0020, 0x000E);

/// The elements that are wanted, in the order in which they come.
const WANTED: [(Tag, &str); 4] = [
    (Tag(0x0008, 0x0016), "SOP Class UID (0008,0016)"),
    (Tag(0x0008, 0x0018), "SOP Instance UID (0008,0018)"),
    (Tag(0x0020, 0x000D), "Study Instance UID (0020,000D)"),
    (SERIES_INSTANCE_UID, "Series Instance UID (0020,000E)"),
];

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
    /// The dataset ended before the identifiers were seen.
    #[error("the data set ends before {missing}")]
    EndsTooEarly {
        /// The first element that was not seen.
        missing: &'static str,
    },
    /// The identifiers are not where they should be.
    #[error("the data set has no {missing} within its first {MAX_PREFIX_BYTES} bytes")]
    NotInPrefix {
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
    /// A value that is far too long for a UID.
    #[error("{element} is wrong: it claims {bytes} bytes, a UID has at most 64")]
    TooLongForAUid {
        /// The element.
        element: &'static str,
        /// Length that it claims.
        bytes: u32,
    },
}

/// Reads the identifiers of one dataset (without file meta) while it comes in.
#[derive(Debug)]
pub struct IdentifierReader {
    transfer_syntax: String,
    inflater: Option<Inflater>,
    walk: ElementWalk,
    /// Values as they came, in the order of [`WANTED`].
    values: [Option<Value>; 4],
    /// Index of the value under way, where it is a wanted one.
    current: Option<usize>,
}

/// The value of a wanted element.
#[derive(Debug)]
struct Value {
    bytes: Vec<u8>,
    announced: usize,
}

impl Value {
    fn is_whole(&self) -> bool {
        self.bytes.len() == self.announced
    }
}

impl IdentifierReader {
    /// A reader that has seen nothing of its dataset yet.
    pub fn new(transfer_syntax: &str) -> IdentifierReader {
        let is_deflated = transfer_syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;
        IdentifierReader {
            transfer_syntax: transfer_syntax.to_owned(),
            inflater: is_deflated.then(Inflater::new),
            walk: ElementWalk::new(Encoding::of(transfer_syntax)),
            values: [const { None }; 4],
            current: None,
        }
    }

    /// Takes the next bytes of the dataset, cut anywhere. `None`: more of it is needed. Not to be called again once it
    /// has answered anything else.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Identifiers>, IdentifyingError> {
        let Some(mut inflater) = self.inflater.take() else { return self.read_elements(bytes) };
        let mut deflated = bytes;
        let mut inflated = [0; 4096];
        loop {
            let part =
                inflater.inflate(&mut deflated, &mut inflated).map_err(|Broken| self.fault(Fault::NotEncodedSo))?;
            if part.is_empty() {
                self.inflater = Some(inflater);
                return Ok(None);
            }
            if let Some(identifiers) = self.read_elements(part)? {
                return Ok(Some(identifiers));
            }
        }
    }

    /// What is to be said if nothing comes after what was read.
    pub fn at_the_end(&self) -> IdentifyingError {
        IdentifyingError::EndsTooEarly { missing: self.first_missing() }
    }

    fn read_elements(&mut self, bytes: &[u8]) -> Result<Option<Identifiers>, IdentifyingError> {
        let within = MAX_PREFIX_BYTES.saturating_sub(self.walk.position());
        let (mut rest, beyond) = bytes.split_at_checked(within).unwrap_or((bytes, &[]));
        while let Some(sight) = self.walk.next(&mut rest).map_err(|fault| self.fault(fault))? {
            match sight {
                Sight::Element { tag, .. } if tag > SERIES_INSTANCE_UID => return self.identifiers().map(Some),
                Sight::Element { tag, value_bytes } => self.begin(tag, value_bytes)?,
                Sight::Value(part) => {
                    if let Some(value) = self.current_value() {
                        value.bytes.extend_from_slice(part);
                    }
                }
            }
            if let [.., Some(series)] = &self.values
                && series.is_whole()
            {
                return self.identifiers().map(Some);
            }
        }
        match beyond {
            [] => Ok(None),
            _ => Err(IdentifyingError::NotInPrefix { missing: self.first_missing() }),
        }
    }

    fn begin(&mut self, tag: Tag, value_bytes: Option<u32>) -> Result<(), IdentifyingError> {
        self.current = WANTED.iter().position(|(wanted, _)| *wanted == tag);
        let (Some(index), Some(bytes)) = (self.current, value_bytes) else { return Ok(()) };
        if bytes > MAX_UID_VALUE_BYTES {
            let element = WANTED.get(index).map_or("", |(_, name)| name);
            return Err(IdentifyingError::TooLongForAUid { element, bytes });
        }
        if let Some(value) = self.values.get_mut(index) {
            let announced = bytes as usize;
            *value = Some(Value { bytes: Vec::with_capacity(announced), announced });
        }
        Ok(())
    }

    fn current_value(&mut self) -> Option<&mut Value> {
        self.values.get_mut(self.current?)?.as_mut()
    }

    fn fault(&self, fault: Fault) -> IdentifyingError {
        match fault {
            Fault::TooDeep => IdentifyingError::TooDeep,
            Fault::NotEncodedSo => IdentifyingError::NotEncodedSo {
                transfer_syntax: self.transfer_syntax.clone(),
                position: self.walk.position(),
            },
        }
    }

    fn first_missing(&self) -> &'static str {
        let is_missing = |value: &Option<Value>| !value.as_ref().is_some_and(Value::is_whole);
        WANTED.iter().zip(&self.values).find(|(_, value)| is_missing(value)).map_or("its end", |((_, name), _)| name)
    }

    fn identifiers(&self) -> Result<Identifiers, IdentifyingError> {
        let uid = |index: usize| {
            let element = WANTED.get(index).map_or("", |(_, name)| name);
            let value = self.values.get(index).and_then(Option::as_ref).map(|value| value.bytes.as_slice());
            let text = String::from_utf8_lossy(value.unwrap_or_default());
            if text.trim_matches(['\0', ' ']).is_empty() {
                return Err(IdentifyingError::Missing { missing: element });
            }
            Uid::parse(&text).map_err(|source| IdentifyingError::NotAUid { element, source })
        };
        Ok(Identifiers { sop_class_uid: uid(0)?, sop_instance_uid: uid(1)?, study_uid: uid(2)?, series_uid: uid(3)? })
    }
}

/// Reads the identifiers of a dataset, of which at least the beginning is at hand.
pub fn read_identifiers(dataset: &[u8], transfer_syntax: &str) -> Result<Identifiers, IdentifyingError> {
    let mut reader = IdentifierReader::new(transfer_syntax);
    reader.read(dataset)?.ok_or_else(|| reader.at_the_end())
}

/// Inflates piece by piece (RFC 1951, without a header: PS3.5 annex A.5).
#[derive(Debug)]
struct Inflater {
    state: Decompress,
    /// How the stream ended, once it has.
    end: Option<Result<(), Broken>>,
}

/// The stream cannot be inflated any further.
#[derive(Debug, Clone, Copy)]
struct Broken;

impl Inflater {
    fn new() -> Inflater {
        Inflater { state: Decompress::new(false), end: None }
    }

    /// As much as fits into `room`, and `deflated` without what was used for it; nothing when more is needed. What
    /// comes out before a break is given before the break is told.
    fn inflate<'a>(&mut self, deflated: &mut &[u8], room: &'a mut [u8]) -> Result<&'a [u8], Broken> {
        loop {
            if let Some(end) = self.end {
                return end.map(|()| [].as_slice());
            }
            let (used_before, made_before) = (self.state.total_in(), self.state.total_out());
            self.end = match self.state.decompress(deflated, room, FlushDecompress::None) {
                Ok(Status::StreamEnd) => Some(Ok(())),
                Ok(_) => None,
                Err(_) => Some(Err(Broken)),
            };
            let used = (self.state.total_in() - used_before) as usize;
            let made = (self.state.total_out() - made_before) as usize;
            *deflated = deflated.get(used..).unwrap_or_default();
            if made > 0 || (used == 0 && self.end.is_none()) {
                return Ok(room.get(..made).unwrap_or_default());
            }
        }
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
        let undefined = u32::MAX;
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

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The dataset in every encoding.
    fn datasets() -> Vec<(&'static str, Vec<u8>)> {
        let mut all: Vec<_> = ENCODINGS.map(|(syntax, explicit, end)| (syntax, dataset(explicit, end))).into();
        all.push((DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, deflate(&dataset(true, false))));
        all
    }

    /// Reads pieces one after the other, as they would come from a peer.
    fn read_pieces<'a>(
        syntax: &str,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Identifiers, IdentifyingError> {
        let mut reader = IdentifierReader::new(syntax);
        for piece in pieces {
            if let Some(identifiers) = reader.read(piece)? {
                return Ok(identifiers);
            }
        }
        Err(reader.at_the_end())
    }

    #[test]
    fn every_encoding_is_read_wherever_it_is_cut() {
        for (syntax, bytes) in datasets() {
            assert_eq!(read_identifiers(&bytes, syntax), Ok(expected()), "{syntax}");
            assert_eq!(read_pieces(syntax, bytes.chunks(1)), Ok(expected()), "{syntax}, byte by byte");
            for position in 0..=bytes.len() {
                let (first, second) = bytes.split_at(position);
                assert_eq!(read_pieces(syntax, [first, &[], second]), Ok(expected()), "{syntax}, cut at {position}");
            }
        }
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
    fn changed_bytes_are_judged_alike_wherever_they_are_cut() {
        for (syntax, whole) in datasets() {
            for position in 0..whole.len() {
                for value in [0x00, 0x7F, 0xFE, 0xFF] {
                    let mut bytes = whole.clone();
                    bytes[position] = value;
                    let at_once = read_identifiers(&bytes, syntax);
                    assert_eq!(read_pieces(syntax, bytes.chunks(1)), at_once, "{syntax}, {value:02x} at {position}");
                }
            }
        }
    }

    /// An element in Implicit VR Little Endian without its value.
    fn implicit_header(group: u16, element: u16, length: u32) -> Vec<u8> {
        [&group.to_le_bytes()[..], &element.to_le_bytes(), &length.to_le_bytes()].concat()
    }

    #[test]
    fn a_length_of_4_gib_costs_nothing() {
        let series = implicit_header(0x0020, 0x000E, 0xFFFF_FFFE);
        let element = "Series Instance UID (0020,000E)";
        let too_long = IdentifyingError::TooLongForAUid { element, bytes: 0xFFFF_FFFE };
        assert_eq!(read_identifiers(&series, IMPLICIT_VR_LITTLE_ENDIAN), Err(too_long));

        let mut reader = IdentifierReader::new(IMPLICIT_VR_LITTLE_ENDIAN);
        assert_eq!(reader.read(&implicit_header(0x0009, 0x1001, 0xFFFF_FFFE)), Ok(None));
        let mut read = 8;
        let error = loop {
            match reader.read(&[0; 65_536]) {
                Ok(None) => read += 65_536,
                other => break other,
            }
        };
        assert_eq!(error, Err(IdentifyingError::NotInPrefix { missing: "SOP Class UID (0008,0016)" }));
        assert!(read <= MAX_PREFIX_BYTES && read + 65_536 > MAX_PREFIX_BYTES, "{read}");
    }

    #[test]
    fn a_large_element_before_the_uids_is_passed_over() {
        let mut bytes = implicit_header(0x0008, 0x0001, 3 << 20);
        bytes.resize(bytes.len() + (3 << 20), 0x20);
        bytes.extend(dataset(false, false));
        assert_eq!(read_pieces(IMPLICIT_VR_LITTLE_ENDIAN, bytes.chunks(10_000)), Ok(expected()));
    }

    #[test]
    fn inflating_ends_where_looking_ends() {
        let mut bomb = vec![0x09, 0x00, 0x01, 0x10, b'O', b'B', 0, 0, 0xFE, 0xFF, 0xFF, 0xFF];
        bomb.resize(200 << 20, 0);
        let bomb = deflate(&bomb);
        // How well it is packed depends on the library that packs; a bomb it is with any.
        assert!(bomb.len() < 4 << 20, "{}", bomb.len());
        let mut reader = IdentifierReader::new(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
        assert!(matches!(reader.read(&bomb), Err(IdentifyingError::NotInPrefix { .. })));
        assert_eq!(reader.walk.position(), MAX_PREFIX_BYTES);
    }

    #[test]
    fn what_cannot_be_inflated_is_not_encoded_so() {
        let read = read_identifiers(&[0xFF; 100], DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
        assert!(matches!(read, Err(IdentifyingError::NotEncodedSo { position: 0, .. })), "{read:?}");
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
